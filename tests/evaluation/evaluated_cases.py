"""Cases with scores and a true Dice, and the folders that predict and evaluate would leave of them."""

import json

import numpy as np


def cases(n=40, seed=0, of="cycle_correlation") -> list[dict]:
    """Cases of two phases whose Dice follows one score, the other being noise."""
    random = np.random.default_rng(seed)
    true = random.uniform(0.3, 0.9, n)
    result = []
    for k, dice in enumerate(true):
        scores = {"cycle": random.uniform(), "cycle_correlation": random.uniform()} | {
            of: 0.2 + 0.5 * dice + random.normal(0, 0.005)
        }
        result.append({"case": f"c{k}", "patient": f"p{k // 2}", "scores": scores, "dice": float(dice)})
    return result


def _predicted(case, folder):
    stamp = [str(folder / case["case"]), 1, 1]
    return {"case": case["case"], "patient": case["patient"], "frame_scores": [case["scores"]], "stamp": stamp}


EMPTY = dict.fromkeys(("cycle", "cycle_correlation"))


def write(folder, evaluated, sha="a"):
    folder.mkdir(parents=True)
    model = folder.parent / "models" / "model.pt"
    model.parent.mkdir(exist_ok=True)
    model.write_bytes(b"weights")
    (folder / "predictions.json").write_text(
        json.dumps(
            {"model": {"path": str(model), "sha256": sha}, "cases": [_predicted(case, folder) for case in evaluated]}
        )
    )
    rows = [{"tool": "A", "case": case["case"], "dice": {"mean": case["dice"]}} for case in evaluated]
    (folder / "evaluation.json").write_text(json.dumps({"tools": ["A"], "cases": rows}))
    return folder
