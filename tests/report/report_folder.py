"""A folder as predict and evaluate leave it, and what is read off its report."""

import csv
import html
import json
import re
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from acdc_semicycle.datasets import acdc
from acdc_semicycle.imageio import volumes
from acdc_semicycle.report import page as report_page

STRUCTURES = ["RV", "MYO", "LV"]
NASTY = "<b>&\"'</b>"
SCRIPT = "</script><script>document.title = 'caught'</script>"
MADE = {"command": "semicycle predict scans -o OUT", "versions": {"acdc_semicycle": "0.1.0"}, "machine": {"cores": 2}}


def dice(truth, prediction) -> dict[str, float]:
    by_name = {
        name: float(2 * ((truth == k) & (prediction == k)).sum() / ((truth == k).sum() + (prediction == k).sum()))
        for k, name in enumerate(STRUCTURES, start=1)
    }
    return {"mean": float(np.mean(list(by_name.values())))} | by_name


def ml(labels, voxel_ml: float) -> dict[str, float]:
    return {name: float((labels == k).sum() * voxel_ml) for k, name in enumerate(STRUCTURES, start=1)}


def heart(ed: dict[str, float], es: dict[str, float]) -> dict[str, float]:
    result = {"myo_mass_g": 1.05 * ed["MYO"]}
    for name in ("lv", "rv"):
        edv, esv = ed[name.upper()], es[name.upper()]
        result |= {f"{name}_edv_ml": edv, f"{name}_esv_ml": esv, f"{name}_sv_ml": edv - esv}
        result[f"{name}_ef_percent"] = 100 * (edv - esv) / edv
    return result


def panel(path: Path, image, mask) -> None:
    """As predict keeps it: three slices as they are shown, painted smoother than they are."""
    segmented = np.flatnonzero((mask > 0).any((0, 1)))
    indices = [segmented[1], segmented[len(segmented) // 2], segmented[-2]]
    arrays = {"places": np.array(indices), "frame": np.array(0), "turned": np.array(True)}
    for n, z in enumerate(indices):
        low, high = np.percentile(image, (1, 99.5))
        grey = np.clip((image[..., z] - low) / (high - low), 0, 1) * 255
        smooth = gaussian_filter(grey, 2)
        for name, plane in {"image": grey, "prediction": mask[..., z], "painted": smooth}.items():
            arrays[f"{name}_{n}"] = plane.T[::-1, ::-1].astype(np.uint8)  # a phantom has a spacing: it is turned
        arrays[f"difference_{n}"] = np.clip(3 * np.abs(grey - smooth), 0, 255).T[::-1, ::-1].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


class Run:
    """A folder as predict and evaluate leave it, from a phantom whose masks are moved: the later, the further."""

    def __init__(self, phantom: Path, out: Path, patients: int) -> None:
        self.out = out
        self.predictions = {
            "model": {"path": "runs/acdc/models/model.pt", "sha256": "5d1c" * 16, "dataset": "acdc", "epoch": 5},
            "classes": ["background", *STRUCTURES],
            "colours": [list(colour) for colour in acdc.COLOURS],
            "settings": {"flips": False, "largest": True, "holes": True},
            "quality": {"formula": "0.2 + 0.8 cycle", "about": "Spearman 0.71 on 20 patients.", "threshold": 0.75},
            "cases": [], "patients": [], "failures": [], **MADE,
        }  # fmt: skip
        self.evaluation = {
            "truth": str(phantom), "tools": [out.name], "classes": ["background", *STRUCTURES],
            "structures": STRUCTURES, "cases": [], "summary": {}, "patients": [], "agreement": None, "missing": [],
            "failures": [], "notes": [], **MADE,
        }  # fmt: skip
        for number in range(1, patients + 1):
            self._patient(phantom / "training" / f"patient{number:03d}", number)
        self.evaluation["summary"] = {out.name: self._summary()}

    def _patient(self, folder: Path, number: int) -> None:
        entries = [self._case(folder, phase, frame, number) for phase, frame in (("ED", 1), ("ES", 10))]
        predicted, true = (heart(*(e["volumes_ml"][w] for e in entries)) for w in ("prediction", "truth"))
        about = {"patient": folder.name, "ed": entries[0]["case"], "es": entries[1]["case"], "withheld": None}
        self.predictions["patients"].append(about | predicted)
        row = {"tool": self.out.name, "patient": folder.name, "truth": true, "prediction": predicted}
        self.evaluation["patients"].append(row)

    def _case(self, folder: Path, phase: str, frame: int, number: int) -> dict:
        stem = f"{folder.name}_frame{frame:02d}"
        scan, truth = (volumes.read(folder / f"{stem}{end}.nii.gz") for end in ("", "_gt"))
        name = f"{folder.name}/{stem}"
        mask = shift(truth.voxels[..., 0], (0.4 * number, 0.3 * number, 0), order=0).astype(np.uint8)
        volumes.save(self.out / f"{name}_seg.nii.gz", mask, scan)
        image, labels = (scan.layout.apply(v) for v in (scan.voxels[..., 0], mask))
        panel(self.out / ".panels" / f"{name}.npz", image, labels)
        scores = dice(truth.voxels[..., 0], mask)
        volume = {"truth": ml(truth.voxels, truth.voxel_ml), "prediction": ml(mask, scan.voxel_ml)}
        self.predictions["cases"].append({
            "case": name, "scan": str(folder / f"{stem}.nii.gz"), "mask": f"{name}_seg.nii.gz",
            "patient": folder.name, "phase": phase, "frames": 1, "phases": None, "shape": list(mask.shape),
            "spacing_mm": list(scan.spacing_mm), "withheld": None,
            "volumes_ml": {key: [value] for key, value in volume["prediction"].items()},
            "quality": min(0.97, 0.4 + 0.55 * scores["mean"]), "frame_scores": [{"cycle": 0.9, "entropy": 0.07}],
            "slices": {"cycle": [0.9 - 0.01 * z for z in range(mask.shape[2])]},
            "seconds": {"read": 0.02, "network": 0.8 + number / 10, "rest": 0.1}, "panel": f".panels/{name}.npz",
        })  # fmt: skip
        far = dict.fromkeys(scores, 2.0 * number)
        entry = {
            "tool": self.out.name, "case": name, "patient": folder.name, "phase": phase, "unit": "mm",
            "prediction": f"{name}_seg.nii.gz", "truth": str(folder / f"{stem}_gt.nii.gz"),
            "image": str(folder / f"{stem}.nii.gz"), "dice": scores, "iou": scores, "hd95": far, "assd": far,
            "volumes_ml": volume,
        }  # fmt: skip
        self.evaluation["cases"].append(entry)
        return entry

    def _summary(self) -> dict:
        def of(entries: list[dict]) -> dict:
            part: dict = {"volumes": len(entries)}
            for measure in ("dice", "iou", "hd95", "assd"):
                values = {name: [e[measure][name] for e in entries] for name in ("mean", *STRUCTURES)}
                part[measure] = {name: float(np.mean(value)) for name, value in values.items()}
                part[f"{measure}_std"] = {name: float(np.std(value)) for name, value in values.items()}
            return part

        cases = self.evaluation["cases"]
        phases = {phase: of([e for e in cases if e["phase"] == phase]) for phase in ("ED", "ES")}
        return of(cases) | {"by_phase": phases}

    def second_tool(self) -> None:
        """Another tool's masks of the same cases, all of them a little worse."""
        worse = {"tool": "other"}
        for name in ("cases", "patients"):
            self.evaluation[name] += [entry | worse for entry in self.evaluation[name]]
        for entry in self.evaluation["cases"][len(self.evaluation["cases"]) // 2 :]:
            entry["dice"] = {key: value - 0.05 for key, value in entry["dice"].items()}
        for entry in self.evaluation["patients"][len(self.evaluation["patients"]) // 2 :]:
            entry["prediction"] = {key: value + 3 for key, value in entry["prediction"].items()}
        self.evaluation["tools"].append("other")
        self.evaluation["summary"]["other"] = self.evaluation["summary"][self.out.name]
        self.evaluation["agreement"] = {"volumes": 4, "dice": {"mean": 0.9123}, "hd95": None}

    def write(self, predictions: bool = True, evaluation: bool = True, title: str | None = None) -> str:
        """The page as text."""
        for name, wanted in (("predictions", predictions), ("evaluation", evaluation)):
            if wanted:
                (self.out / f"{name}.json").write_text(json.dumps(getattr(self, name)))
        return report_page.write(self.out, title).read_text()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def cards(page: str) -> list[str]:
    return page.split("<article")[1:]


def names(page: str) -> list[str]:
    return [re.search("<h3>(.*?)</h3>", card)[1] for card in cards(page)]


def words(page: str) -> str:
    """What is read: no tags, no styles, no pictures."""
    page = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", page)))


def preview(card: str) -> str:
    """A card without the slices to leaf through."""
    return re.sub('<details class="all">.*?</details>', "", card, flags=re.DOTALL)
