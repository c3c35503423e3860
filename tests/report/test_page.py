"""The report: what the page says, in which order, and how a browser shows it."""

import base64
import copy
import csv
import html
import io
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import compare, evaluation_files
from acdc_semicycle.imageio import volumes
from acdc_semicycle.report import case_images as drawing
from acdc_semicycle.report import page as report_page
from acdc_semicycle.report import plots
from acdc_semicycle.runtime.errors import InputError

STRUCTURES = ["RV", "MYO", "LV"]
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
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
    held = np.flatnonzero((mask > 0).any((0, 1)))
    places = [held[1], held[len(held) // 2], held[-2]]
    arrays = {"places": np.array(places), "frame": np.array(0), "turned": np.array(True)}
    for n, z in enumerate(places):
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

    def write(self, predictions: bool = True, evaluation: bool = True) -> str:
        """The page as text."""
        for name, wanted in (("predictions", predictions), ("evaluation", evaluation)):
            if wanted:
                (self.out / f"{name}.json").write_text(json.dumps(getattr(self, name)))
        return report_page.write(self.out).read_text()


@pytest.fixture(scope="module")
def built(phantom_dir, tmp_path_factory) -> Run:
    """Three patients, predicted and evaluated; each test works on a copy."""
    return Run(phantom_dir, tmp_path_factory.mktemp("report") / "ours", 3)


@pytest.fixture
def plotted(built, tmp_path) -> Run:
    copied = copy.deepcopy(built)
    copied.out = Path(shutil.copytree(built.out, tmp_path / "ours"))
    return copied


@pytest.fixture
def run(plotted) -> Run:
    """Without true indices, whose plots take the most time."""
    plotted.evaluation["patients"] = []
    return plotted


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


def test_a_folder_of_neither_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither predictions\.json nor evaluation\.json: give the folder"):
        report_page.write(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cases": null}', '{"cases": [{"name": 1}]}', '{"cases": [3]}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match=r"evaluation\.json is damaged .*run semicycle evaluate again"):
        report_page.write(tmp_path)


@pytest.mark.parametrize("name", ["report.html", "report.json", "report.csv"])
def test_a_users_file_is_not_overwritten(run, name):
    run.write()
    mine = run.out / name
    mine.write_text('{"cases": "mine"}')
    before = {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{name} is there and is not of this program"):
        run.write()
    assert {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("into", ["elsewhere", "first"])
def test_two_tools_without_a_truth_are_one_against_the_other(tmp_path, into):
    """Also in the folder of the first one's predictions, whose own pictures are no pictures of the second."""
    for tool, cases in (("first", {"a": 9, "b": 9}), ("second", {"a": 9, "b": 5})):
        (tmp_path / tool).mkdir()
        for case, end in cases.items():
            labels = np.zeros((16, 16, 4), np.uint8)
            labels[3:end, 3:9, 1:3] = 1
            affine = np.diag([1.5, 1.5, 8, 1])
            volumes.save(tmp_path / tool / f"{case}_seg.nii.gz", labels, volumes.Volume(labels[..., None], affine))
    entries = [{"case": case, "mask": f"{case}_seg.nii.gz", "quality": 0.123} for case in "ab"]
    sheet = {"cases": entries, "classes": ["background", "LV"], "failures": [], "model": {}} | MADE
    (tmp_path / "first" / "predictions.json").write_text(json.dumps(sheet))
    found = compare.compare([tmp_path / "first", tmp_path / "second"], None, ["background", "LV"])
    evaluation_files.write(found, tmp_path / into)
    page = html.unescape(report_page.write(tmp_path / into).read_text())
    assert names(page) == ["b", "a"] and [row["dice_mean"] for row in rows(tmp_path / into)] == ["0.5", "1.0"]
    assert "mean Dice of second against first</dt><dd>0.750" in page and "<dt>cases</dt><dd>2" in page
    assert (
        page.count('<g class="truth">') == 4
        and "first, ml</th>" in page
        and "true ml" not in page
        and "0.123" not in page
    )
    volumes.save(tmp_path / "second" / "b_seg.nii.gz", labels * 0, volumes.Volume(labels[..., None], affine))
    with pytest.raises(InputError, match="is another than was evaluated"):
        report_page.write(tmp_path / into)


def test_a_card_shows_what_was_judged_without_truth_of_the_worst_frame(run):
    case = run.predictions["cases"][0]
    case["frame_scores"] = [{"cycle": 0.91}, {"cycle": 0.43}, {"cycle": 0.77}]
    run.predictions["quality"] = run.predictions["quality"] | {"weights": {"cycle": 1.0}, "bias": 0.0}
    (card,) = (card for card in cards(run.write()) if case["case"] in card)
    assert "Without truth" in card and "cycle 0.430" in card and "0.910" not in card
    del run.predictions["quality"]["weights"]
    (card,) = (card for card in cards(run.write()) if case["case"] in card)
    assert "cycle 0.910" in card


def test_the_worst_case_comes_first_by_its_true_dice(run):
    page = run.write()
    dices = {entry["case"]: entry["dice"]["mean"] for entry in run.evaluation["cases"]}
    assert names(page) == sorted(dices, key=lambda case: dices[case])
    assert names(page) != sorted(dices)  # so that the above can fail
    assert [row["case"] for row in rows(run.out)] == names(page)


def test_without_truth_the_order_is_by_quality_and_without_that_by_name(run):
    for entry, quality in zip(run.predictions["cases"], (0.9, 0.3, 0.8, 0.1, 0.5, None), strict=True):
        entry["quality"] = quality
    cases = [entry["case"] for entry in run.predictions["cases"]]
    assert names(run.write(evaluation=False)) == [cases[n] for n in (5, 3, 1, 4, 2, 0)]
    for entry in run.predictions["cases"]:
        entry["quality"] = None
    run.predictions["cases"].reverse()
    assert names(run.write(evaluation=False)) == sorted(cases)


def test_a_case_without_a_score_comes_before_the_worst(run):
    entry = run.evaluation["cases"][0]
    entry["dice"] = dict.fromkeys(entry["dice"])
    page = run.write()
    assert names(page)[0] == entry["case"]
    assert rows(run.out)[0]["dice_mean"] == ""
    assert not {"NaN", "nan", "None", "null"} & set(re.findall(r"\w+", words(page)))


def test_a_case_in_which_nothing_was_found_is_to_be_checked(run):
    for entry, found in zip(run.predictions["cases"], (None, 0.9, None, 0.9, 0.9, 0.9), strict=True):
        entry["quality"] = found
    run.predictions["cases"][0]["frame_scores"] = [{"cycle": 0.9}, {"cycle": None}]
    page = run.write(evaluation=False)
    assert "to check (quality under 0.75 or nothing found) 1 " in words(page)
    assert [">to check<" in card for card in cards(page)] == [True, False, False, False, False, False]


def test_a_page_of_nulls_is_a_page(run):
    for entry in run.predictions["cases"]:
        for key in set(entry) - {"case"}:
            entry[key] = None
    for entry in run.evaluation["cases"]:
        for key in set(entry) - {"case", "tool"}:
            entry[key] = None
    for entry in [*run.predictions["patients"], *run.evaluation["patients"]]:
        for key in set(entry) - {"patient", "tool"}:
            entry[key] = None
    for content in (run.predictions, run.evaluation):
        for key in set(content) - {"cases", "tools", "classes", "patients"}:
            content[key] = None
    page = run.write()
    assert len(cards(page)) == 6
    assert "None" not in words(page), words(page)[words(page).index("None") - 80 :][:160]


def test_the_csv_says_what_the_summary_says(run):
    page = run.write()
    first = rows(run.out)[0]
    case = next(entry for entry in run.predictions["cases"] if entry["case"] == first["case"])
    scores = next(entry for entry in run.evaluation["cases"] if entry["case"] == first["case"])
    assert float(first["volume_LV_ml"]) == pytest.approx(case["volumes_ml"]["LV"][0])
    assert float(first["dice_MYO"]) == pytest.approx(scores["dice"]["MYO"])
    assert float(first["hd95_mean"]) == scores["hd95"]["mean"]
    assert float(first["seconds"]) == pytest.approx(sum(case["seconds"].values()))
    body = page[page.index('<tr id="row-1">') : page.index('<tr id="row-2">')]
    assert [float(value) for value in re.findall('data-value="([0-9.e-]+)"', body)] == pytest.approx(
        [float(value) for value in first.values() if re.fullmatch("[0-9.e-]+", value)]
    )
    told = json.loads((run.out / "report.json").read_text())
    assert told["cases"][0]["dice_MYO"] == scores["dice"]["MYO"]
    assert told["patients"][0]["lv_edv_ml"] == run.predictions["patients"][0]["lv_edv_ml"]


def with_names(run: Run, nasty: str) -> str:
    """The page with this text wherever a name or a reason may stand."""
    for content in (run.predictions, run.evaluation):
        content["cases"][0] |= {"case": nasty, "patient": nasty, "phase": nasty}
        content["failures"] = [{"scan": nasty, "case": nasty, "reason": nasty}]
        content["command"] = nasty
    run.evaluation["missing"] = [{"case": nasty, "reason": nasty}]
    run.evaluation["notes"] = [nasty]
    run.predictions["patients"][0]["patient"] = nasty
    run.predictions |= {"settings": {nasty: nasty}, "model": {nasty: nasty, "path": nasty}}
    run.predictions["cases"][1] |= {"withheld": nasty, "frame_scores": [{nasty: 0.5}]}
    return run.write()


def test_names_are_text_wherever_they_stand(run):
    nasty = NASTY + SCRIPT + '\' onmouseover="alert(1)"{{ 7 * 7 }}'
    again = copy.deepcopy(run)
    page, tame = with_names(run, nasty), with_names(again, "tame")
    tags = [Counter(re.findall(r"<(\w+)", text)) for text in (page, tame)]
    assert tags[0] == tags[1] and tags[0]["script"] == 1
    assert not re.search(r"<[^>]*\sonmouseover=", re.sub('"[^"]*"', "", page))
    assert html.unescape(page).count(nasty) == tame.count("tame") > 15


def test_a_name_that_is_no_unicode_is_shown_as_far_as_it_is(run):
    for content in (run.predictions, run.evaluation):
        content["cases"][0]["case"] = "caf\udce9"
    assert "caf?" in names(run.write())
    assert "caf?" in [row["case"] for row in rows(run.out)]


def test_the_page_needs_nothing_but_itself(run):
    page = run.write()
    assert "://" not in page
    sources = re.findall(r"""(?:src|href|srcset|data)\s*=\s*["']([^"']{,30})""", page)
    assert len(sources) > 60
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)
    assert not re.search(r"@import|url\(|<link|<iframe|<object|fetch\(|XMLHttpRequest", page)
    targets = set(re.findall('href="#([^"]+)"', page))
    assert targets <= set(re.findall('id="([^"]+)"', page)) and len(targets) == 12


@pytest.mark.slow
def test_what_is_left_in_the_folder_is_the_report(plotted):
    before = {path for path in plotted.out.rglob("*") if path.is_file()}
    plotted.write()
    written = {str(path.relative_to(plotted.out)) for path in plotted.out.rglob("*") if path.is_file()} - {
        str(path.relative_to(plotted.out)) for path in before
    }
    plots = {f"figures/{kind}_{what}.png" for kind in ("scatter", "bland_altman") for what in ("volumes", "ef")}
    made = {"predictions.json", "evaluation.json", "report.html", "report.json", "report.csv"}
    assert written == plots | made
    for plot in plots:
        assert Image.open(plotted.out / plot).size[0] > 600


def test_a_card_has_three_slices_with_both_outlines(run):
    card = cards(run.write())[0]
    assert card.count("<svg") == 3
    assert card.count('<g class="prediction">') == card.count('<g class="truth">') == 3
    assert card.count("painted from the segmentation") == card.count("map of disagreement") == 3
    assert len(card) < 120_000


def shapes(card: str, group: str) -> list[str]:
    return [
        path
        for one in re.findall(f'<g class="{group}">(.*?)</g>', card, re.DOTALL)
        for path in re.findall(' d="([^"]+)"', one)
    ]


@pytest.mark.parametrize("predictions", [True, False])
def test_the_outline_of_a_truth_that_equals_the_prediction_is_the_same(run, predictions):
    """Of the panel, and of the files: so both are turned as the truth is."""
    entry = run.evaluation["cases"][0]
    entry["truth"] = entry["prediction"]
    card = next(card for card in cards(run.write(predictions=predictions)) if entry["case"] in card)
    assert len(shapes(card, "prediction")) > 6
    assert shapes(card, "truth") == shapes(card, "prediction")
    other = next(
        card for card in cards(run.write(predictions=predictions)) if run.evaluation["cases"][4]["case"] in card
    )
    assert shapes(other, "truth") != shapes(other, "prediction")


def test_a_truth_of_another_frame_is_not_drawn(run):
    """Of a cine whose ED is shown and whose ES was scored."""
    name = run.predictions["cases"][0]["case"]
    run.predictions["cases"][0] |= {"frames": 20, "phase": None, "phases": {"ED": 0, "ES": 9}}
    first = run.evaluation["cases"][0]
    run.evaluation["cases"][1] = first | {"phase": "ES"}
    both = [card for card in cards(run.write()) if f"<h3>{name}</h3>" in card]
    assert sorted(("· ES" in card, '<g class="truth">' in card) for card in both) == [(False, True), (True, False)]


def test_a_slice_is_shown_transposed_and_turned_where_its_spacing_is_one():
    plane = np.arange(6).reshape(2, 3)
    assert drawing.displayed(plane, False).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert drawing.displayed(plane, True).tolist() == [[5, 2], [4, 1], [3, 0]]


def test_an_outline_runs_along_the_pixels():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    inside = {(x, y) for x, y in corners(drawing._outline(mask))}
    assert inside == {(2, 3), (3, 2), (7, 2), (8, 3), (8, 5), (7, 6), (3, 6), (2, 5)}  # in half pixels
    assert drawing._outline(np.zeros((4, 5), bool)) == ""


def corners(path: str) -> list[tuple[int, int]]:
    start, steps = re.fullmatch(r"M(-?\d+ -?\d+)l(.*)z", path).groups()
    pairs = np.array(f"{start} {steps}".split(), int).reshape(-1, 2)
    return [tuple(point) for point in np.cumsum(pairs, axis=0).tolist()]


def test_predictions_alone_make_a_page_without_scores(run):
    page = run.write(evaluation=False)
    assert 'id="scores"' not in page and '<g class="truth">' not in page
    assert "Spearman 0.71 on 20 patients." in page
    assert "dice_mean" not in rows(run.out)[0]
    assert not (run.out / "figures").exists()
    assert json.loads((run.out / "report.json").read_text())["missing"] == []


def test_an_evaluation_alone_is_drawn_from_its_files(run):
    page = run.write(predictions=False)
    assert all(card.count("<svg") == 3 for card in cards(page))
    assert "quality" not in rows(run.out)[0] and float(rows(run.out)[0]["volume_LV_ml"]) > 0
    assert "disagreement" not in page


def test_without_the_scan_the_masks_are_drawn_on_black(run):
    run.evaluation["cases"] = [entry | {"image": None} for entry in run.evaluation["cases"]]
    card = cards(run.write(predictions=False))[0]
    picture = base64.b64decode(re.search('<image href="data:image/png;base64,([^"]+)"', card)[1])
    assert not np.asarray(Image.open(io.BytesIO(picture))).any()
    assert len(shapes(card, "prediction")) > 6


@pytest.mark.parametrize("damage", ["panel", "mask"])
def test_one_broken_picture_costs_that_picture(run, damage):
    entry, scored = run.predictions["cases"][0], run.evaluation["cases"][0]
    broken = run.out / entry[damage]
    broken.write_bytes(broken.read_bytes()[:100])
    page = run.write(predictions=damage == "panel")
    card = next(card for card in cards(page) if scored["case"] in card)
    assert "<svg" not in card and "No picture" in card and f"{scored['dice']['mean']:.3f}" in card
    assert sum("<svg" in card for card in cards(page)) == 5


def test_only_the_worst_are_drawn_and_the_page_says_so(run, monkeypatch):
    monkeypatch.setattr(report_page, "PICTURES", 2)
    page = run.write()
    assert [("<svg" in card) for card in cards(page)] == [True] * 2 + [False] * 4
    assert "Of 6 cases the worst 2 are drawn" in words(page)


def test_withheld_indices_say_why(run):
    reason = "its spacing is 1 x 1 x 1 mm, as of files that have lost theirs"
    run.predictions["patients"][0] = {"patient": "patient001", "withheld": reason}
    run.predictions["cases"][0] |= {"withheld": reason, "volumes_ml": None}
    page = run.write(evaluation=False)
    assert f"withheld: {reason}" in page[page.index('id="patients"') : page.index('id="pictures"')]
    assert f"withheld: {reason}" in page[page.index('id="pictures"') :]
    assert "withheld for 1 of 3 patients" in words(page)
    assert (
        rows(run.out)[[row["case"] for row in rows(run.out)].index(run.predictions["cases"][0]["case"])]["volume_LV_ml"]
        == ""
    )


@pytest.mark.slow
def test_the_true_index_stands_beside_the_predicted(plotted):
    plotted.predictions["patients"][0]["lv_ef_percent"] = 51.24
    plotted.evaluation["patients"][0]["truth"]["lv_ef_percent"] = 55.55
    assert re.search(r"51\.2\s+55\.[56]", words(plotted.write()))


def test_failures_and_missing_cases_are_listed_with_their_reasons(run):
    run.predictions["failures"] = [{"scan": "scans/broken.nii.gz", "reason": "is truncated: copy it again"}]
    run.evaluation["failures"] = [{"case": "odd", "reason": "another shape"}]
    run.evaluation["missing"] = [{"case": "lost", "reason": "a truth without a prediction"}]
    said = words(run.write())
    assert "scans/broken.nii.gz is truncated: copy it again" in said
    assert "odd another shape" in said and "lost a truth without a prediction" in said
    assert "failures 2" in said and "1 truth or prediction without the other" in said


def test_a_run_of_failures_only_is_reported(tmp_path):
    content = {"cases": [], "failures": [{"scan": "a.nii", "reason": "is empty"}], "classes": ["background", "LV"]}
    (tmp_path / "predictions.json").write_text(json.dumps(content))
    said = words(report_page.write(tmp_path).read_text())
    assert "cases 0" in said and "a.nii is empty" in said


def test_the_foot_says_how_it_was_made(run):
    foot = words(run.write().split("<footer>")[1])
    for part in ("semicycle predict scans -o OUT", "acdc_semicycle 0.1.0", "cores 2", "largest True", "5d1c5d1c",
                 "Dice 0 and a distance of the volume's diagonal", "sure: Dice of the segmentation",
                 "Research only, not for clinical use"):  # fmt: skip
        assert part in foot


@pytest.mark.slow
def test_a_second_tool_has_its_columns_its_row_and_its_plots(plotted):
    plotted.second_tool()
    page = plotted.write()
    row, entry = rows(plotted.out)[0], plotted.evaluation["cases"]
    mine = {e["case"]: e["dice"]["mean"] for e in entry if e["tool"] == "ours"}
    assert float(row["dice_mean_2"]) == pytest.approx(mine[row["case"]] - 0.05)
    assert float(row["dice_mean"]) == pytest.approx(mine[row["case"]], abs=1e-6)
    assert "other against ours" in page and "0.912" in page
    for name in ("scatter_ef_2", "bland_altman_volumes_2", "bland_altman_tools_volumes", "bland_altman_tools_ef"):
        assert (plotted.out / "figures" / f"{name}.png").is_file()
    assert len(cards(page)) == 6


def test_a_bland_altman_plot_has_the_bias_and_the_limits():
    axis = Figure().subplots()
    plots.bland_altman(axis, np.array([10.0, 20, 30]), np.array([11.0, 23, 32]), "ml", ("truth", "ours"))
    heights = sorted(line.get_ydata()[0] for line in axis.lines)
    assert heights == pytest.approx([0, 2 - 1.96, 2, 2 + 1.96])  # differences 1, 3, 2: bias 2, deviation 1
    assert "n = 3, bias +2.0, limits +0.0 to +4.0" in axis.get_xlabel()
    assert axis.collections[0].get_offsets()[0].tolist() == [10.5, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_plots_of_few_patients_say_no_more_than_they_know(n):
    axes = Figure().subplots(1, 2)
    plots.bland_altman(axes[0], np.ones(n), np.full(n, 2.0), "ml", ("truth", "ours"))
    plots.scatter(axes[1], np.ones(n), np.full(n, 2.0), "ml", ("truth", "ours"))
    assert ("limits" in axes[0].get_xlabel()) == (n > 2)
    assert "r =" not in axes[1].get_xlabel() and "mean |error| 1.0" in axes[1].get_xlabel()


def test_patients_without_one_of_the_numbers_are_left_out_of_plots(plotted):
    plotted.evaluation["patients"][0]["truth"]["lv_ef_percent"] = None
    plotted.evaluation["patients"][1]["truth"] = None
    figure = plots._plot(
        plots.scatter,
        [(entry["truth"] or {}, entry["prediction"]) for entry in plotted.evaluation["patients"]],
        ("lv_ef_percent", "rv_ef_percent"), ("truth", "ours"),
    )  # fmt: skip
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes] == [1, 2]


def test_distances_in_voxels_are_said_to_be(run):
    for entry in run.evaluation["cases"]:
        entry["unit"] = "voxels"
    assert "HD95 voxels" in words(run.write())
    run.evaluation["cases"][0]["unit"] = "mm"
    run.write()
    assert {row["unit"] for row in rows(run.out)} == {"mm", "voxels"}


def test_a_cine_shows_both_of_its_phases(run):
    entry = run.predictions["cases"][0]
    entry |= {"frames": 3, "phases": {"ED": 0, "ES": 2}, "volumes_ml": {n: [100.0, 70.0, 50.5] for n in STRUCTURES}}
    page = run.write(evaluation=False)
    row = next(row for row in rows(run.out) if row["case"] == entry["case"])
    assert (row["volume_LV_ml"], row["volume_LV_es_ml"]) == ("100.0", "50.5")
    assert "100.0 → 50.5" in page


# In a real browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(BROWSER).is_file():
        pytest.skip(f"no chromium at {BROWSER}: set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(built, tmp_path_factory) -> Path:
    """Both files, two tools, a missing score, a nasty name, a failure."""
    run = copy.deepcopy(built)
    run.out = Path(shutil.copytree(built.out, tmp_path_factory.mktemp("shown") / "ours"))
    run.second_tool()
    first = run.predictions["cases"][0]["case"]
    for entry in [*run.predictions["cases"], *run.evaluation["cases"]]:
        entry["case"] = SCRIPT + NASTY if entry["case"] == first else entry["case"]
    run.predictions["cases"][1]["quality"] = 0.1
    run.predictions["failures"] = [{"scan": "long/" * 40 + NASTY, "reason": SCRIPT}]
    for entry, volume in zip(run.evaluation["cases"], (9.5, 100, 9.25, 3, 1000), strict=False):
        entry["volumes_ml"] = {"prediction": {"RV": 1.0, "MYO": 1.0, "LV": volume}}
    run.evaluation["cases"][5]["volumes_ml"] = None
    run.predictions["cases"][5]["volumes_ml"] = None
    run.write()
    return run.out / "report.html"


@pytest.fixture
def opened(browser, page_file):
    """Opens the page; at the end nothing may have been asked of a network or said on the console."""
    contexts, said, asked = [], [], []

    def open_page(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def column(page, number: int) -> list[str]:
    cells = page.locator(f"#cases ~ .box tbody tr > :nth-child({number})")
    return [cell.get_attribute("data-value") for cell in cells.all()]


def place_of(page, text: str) -> int:
    heads = [head.inner_text().strip() for head in page.locator("#cases ~ .box thead tr:last-child th").all()]
    return len(heads) - heads[::-1].index(text)


@pytest.mark.slow
def test_a_click_sorts_rows_as_numbers_and_a_second_one_turns_them(opened):
    page = opened()
    lv = place_of(page, "LV")  # the last of them: the volumes
    head = page.locator(f"#cases ~ .box thead tr:last-child th:nth-child({lv})")
    before = column(page, 1)
    head.get_by_role("button").click()
    up = column(page, lv)
    assert [float(value) for value in up if value] == [3, 9.25, 9.5, 100, 1000]  # 9.5 before 9.25, were they text
    assert up[5:] == [""] and head.get_attribute("aria-sort") == "ascending"  # missing ones last
    head.get_by_role("button").click()
    assert [float(value) for value in column(page, lv) if value] == [1000, 100, 9.5, 9.25, 3]
    assert column(page, lv)[5:] == [""] and head.get_attribute("aria-sort") == "descending"
    assert sorted(column(page, 1)) == sorted(before)  # whole rows moved
    assert page.locator("th[aria-sort]").count() == 1


@pytest.mark.slow
def test_the_keyboard_sorts_too(opened):
    page = opened()
    button = page.locator("#cases ~ .box thead tr:last-child th:nth-child(1) button")
    button.focus()
    page.keyboard.press("Enter")
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)
    page.keyboard.press("Space")
    assert column(page, 1) == sorted(column(page, 1), key=str.lower, reverse=True)


@pytest.mark.slow
def test_a_row_leads_to_its_card(opened):
    page = opened()
    link = page.locator("#cases ~ .box tbody a").nth(2)
    link.click()
    card = page.locator("article:target")
    assert card.locator("h3").inner_text() == link.inner_text()


@pytest.mark.slow
def test_nasty_names_are_shown_and_not_run(opened):
    page = opened()
    assert "caught" not in page.title()
    assert SCRIPT + NASTY in [head.inner_text() for head in page.locator("h3").all()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_the_page_never_scrolls_sideways(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    spilt = page.evaluate(
        "[...document.querySelectorAll('main *, header *, footer *')].filter(e => !e.closest('.scroll, .plots'))"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert spilt == []


CONTRAST = """
() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if ((parse(c)[3] ?? 1) > 0) return c; } return "rgb(255,255,255)"; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest("script, style, svg")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)]);
  }
  return found;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(opened, scheme):
    found = opened(scheme=scheme).evaluate(CONTRAST)
    assert len(found) > 100
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []


@pytest.mark.slow
def test_the_dark_scheme_is_dark(opened):
    back = [
        opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    sums = [sum(map(int, re.findall(r"\d+", colour))) for colour in back]
    assert sums[0] > 700 and sums[1] < 100


@pytest.mark.slow
def test_outlines_can_be_taken_away(opened):
    page = opened()
    truth, prediction = (page.locator(f"svg g.{name}").nth(0) for name in ("truth", "prediction"))
    assert truth.is_visible() and prediction.is_visible()
    page.get_by_label("Truth").uncheck()
    assert not truth.is_visible() and prediction.is_visible()
    page.get_by_label("Truth").check()
    page.get_by_label("Prediction").uncheck()
    assert truth.is_visible() and not prediction.is_visible()


@pytest.mark.slow
def test_every_picture_can_be_seen(opened):
    page = opened()
    broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 20)).length"
    assert page.evaluate(broken) == 0 and page.evaluate("document.images.length") > 30
    sizes = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)")
    assert len(sizes) > 15 and min(sizes) > 100
