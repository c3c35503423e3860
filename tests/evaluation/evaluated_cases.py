"""Cases with scores and a true Dice, and the folders that predict and evaluate would leave of them."""

import json

import numpy as np

from acdc_semicycle.evaluation.trust import TEMPERATURES


def cases(n=40, seed=0, of="cycle_correlation") -> list[dict]:
    """Cases of two phases whose Dice follows one score, the other being noise."""
    random = np.random.default_rng(seed)
    true = random.uniform(0.3, 0.9, n)
    result = []
    for k, dice in enumerate(true):
        scores = {"cycle": random.uniform(), "cycle_correlation": random.uniform()} | {
            of: 0.2 + 0.5 * dice + random.normal(0, 0.005)
        }
        level = np.log(1.02 - dice) - 0.4 + random.normal(0, 0.1)
        evidence = _evidence([level] * 2)
        names = {"case": f"c{k}", "patient": f"p{k // 2}"}
        result.append(names | {"scores": scores, "evidence": evidence, "dice": float(dice)})
    return result


def _predicted(case, folder):
    stamp = [str(folder / case["case"]), 1, 1]
    judged = {"frame_scores": [case["scores"]], "frame_evidence": [case["evidence"]]}
    return {"case": case["case"], "patient": case["patient"], "stamp": stamp} | judged


EMPTY = dict.fromkeys(("cycle", "cycle_correlation"))
NO_EVIDENCE = {"scan": None, "structures": [None], "slices": [None]}


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
    rows = []
    for case in evaluated:
        truth = {"dice": {"mean": case["dice"]}, "dice_by_slice": [case["dice"]], "volume_ratio": [1.1]}
        rows.append({"tool": "A", "case": case["case"]} | truth)
    (folder / "evaluation.json").write_text(json.dumps({"tools": ["A"], "cases": rows}))
    return folder


def trusted(patients=10, seed=0, temperature=2.0, noise=0.3) -> list[dict]:
    """Two cases of each patient whose log(1.02 - Dice) is what this temperature expects, but for each patient's noise.

    The lower the temperature, the surer the network: log(1.02 - e_T) rises with log T.
    """
    random = np.random.default_rng(seed)
    cases = []
    for number in range(patients):
        own = random.normal(0, noise)
        for phase in ("ED", "ES"):
            levels = random.uniform(-2.6, -1.2, 5)  # g(e_T) at T = 1, of the scan and of four slices
            dices = [_truth(level, temperature, own) for level in levels]
            ratio = float(np.exp(own * (1 - dices[0])))
            names = {"case": f"p{number}_{phase}", "patient": f"p{number}", "phase": phase}
            truth = {"dice": dices[0], "dice_by_slice": dices[1:], "volume_ratio": [ratio]}
            cases.append(names | truth | {"evidence": _evidence(levels)})
    return cases


def _evidence(levels) -> dict:
    expected = [_at_temperatures(level) for level in levels]
    return {"scan": expected[0], "structures": [expected[0]], "slices": expected[1:]}


def _at_temperatures(level) -> list[float]:
    return [float(1.02 - np.exp(level + 0.6 * np.log(t))) for t in TEMPERATURES]


def _truth(level, temperature, noise) -> float:
    return float(np.clip(1.02 - np.exp(level + 0.6 * np.log(temperature) + noise), 0, 1))
