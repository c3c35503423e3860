"""Several processes at one run: as one process with the joined batch, killed and resumed, more or fewer of them.

Under torchrun this file is what each process does (:func:`process`).
"""

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import FlexibleUNet
from monai.transforms import RandGaussianNoised
from processes import start
from torch import nn
from torch.optim import Adam

from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.config import failures
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.pairs import Pairs, Slices
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.evaluation.metrics import MeanDice, PooledIoU
from acdc_semicycle.evaluation.model_report import read_share
from acdc_semicycle.inference.manifest import JOURNAL
from acdc_semicycle.methods.hung import FullyConvolutionalDiscriminator, Hung
from acdc_semicycle.methods.mean_teacher import MeanTeacher
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.training.trainer import SemiCycleTrainer

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "semicycle" / "configs"
K, JOINED = 3, 6


@contextmanager
def launched(processes: int, *words: object) -> Iterator[BaseProcess]:
    """The launcher of torchrun, as a user starts it; whatever becomes of the test, nothing of it is left alive."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    launcher = start(*command, *words, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    try:
        yield launcher
    finally:
        for worker in workers(launcher):
            with suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)  # each has a session of its own
        launcher.kill()
        launcher.join()


def workers(launcher: BaseProcess) -> list[int]:
    """The processes that the launcher has started, none once it has ended."""
    if launcher.exitcode is not None:
        return []
    return [int(word) for word in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


def side_by_side(count: int, *words: object, check: bool = True) -> subprocess.CompletedProcess:
    """What torchrun does with the words, without its start: the first process that fails ends the others."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"}
    environment |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="side_by_side") as folder:
        outputs = [Path(folder, str(rank)) for rank in range(count)]
        started = []
        for rank, output in enumerate(outputs):
            output.mkdir()
            started.append(start(*words, output=output, RANK=str(rank), LOCAL_RANK=str(rank), **environment))
        deadline = time.monotonic() + 120
        while any(process.is_alive() for process in started) and time.monotonic() < deadline:
            wait([process.sentinel for process in started if process.is_alive()], timeout=1)
            if any(process.exitcode for process in started):
                break
        for process in started:
            process.terminate()
            process.join(10)
            process.kill()
        texts = ["".join((output / name).read_text() for output in outputs) for name in ("stdout", "stderr")]
    done = subprocess.CompletedProcess(words, int(any(process.exitcode for process in started)), *texts)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


# what a process does


def volume(item: dict[str, str]) -> dict:
    """Three random slices of 32x32 pixels, named by their case."""
    random = torch.Generator().manual_seed(int(item["case"]))
    label = torch.randint(K, (1, 32, 32, 3), generator=random).to(torch.uint8)
    return item | {"image": torch.rand(1, 32, 32, 3, generator=random) * 2 - 1, "label": label}


def records(*cases: int) -> list[Record]:
    return [Record(str(case), str(case), Path(str(case))) for case in cases]


def tiny_pairs(**more) -> Pairs:
    """Two steps an epoch, six slices of each kind in each, whatever the number of processes."""
    noise = [RandGaussianNoised("image", prob=0.5)]
    labelled, unlabelled = (Slices(records(*cases), volume, noise) for cases in ((1,), (2, 3, 4, 5)))
    return Pairs(labelled, unlabelled, JOINED // distributed.world(), **more)


def semicycle(pool_size: int, norm: Callable[[int], nn.Module]) -> SemiCycle:
    G_IS, G_SI = ResidualGenerator(1, K, 2, 1), ResidualGenerator(K, 1, 2, 1, activation=nn.Tanh())
    return SemiCycle(
        G_IS, G_SI, PixelDiscriminator(K, 4, norm), PixelDiscriminator(1, 4, norm), pool_size, 2 * distributed.rank()
    )


METHODS = {
    "semicycle": lambda: semicycle(0, nn.Identity),
    "hung": lambda: Hung(ResidualGenerator(1, K, 2, 1), FullyConvolutionalDiscriminator(K, 2), semi_start=0),
    "supervised": lambda: Supervised(ResidualGenerator(1, K, 2, 1)),
}


def trainer(objective, pairs: Pairs | None = None, **given) -> SemiCycleTrainer:
    return SemiCycleTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=pairs or tiny_pairs(),
        objective=objective,
        weights=dict.fromkeys(objective.terms, 0.5),
        classes=K,
        optimizer=Adam(objective.generators.parameters(), 0.01),
        d_optimizer=Adam([{"params": list(objective.discriminators.parameters())}], 0.01),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        decollate=False,
        **given,
    )


def first_step(method: str) -> dict:
    """The images of one step, and the gradients it leaves."""
    torch.manual_seed(distributed.rank())  # other weights in each process, before the first one's are taken
    engine = trainer(METHODS[method]())
    engine.data_loader.set_epoch(1)
    batch = next(iter(engine.data_loader))
    engine._iteration(engine, batch)
    gradients = {name: weight.grad for name, weight in engine.objective.named_parameters()}
    images = [batch["labelled"]["image"], *(batch["unlabelled"][view] for view in engine.objective.views)]
    return {"images": images, "gradients": gradients}


def two_epochs() -> dict:
    """Weights and histories after training, batch norm and all."""
    torch.manual_seed(distributed.rank())
    objective = semicycle(4, nn.BatchNorm2d)
    trainer(objective).run()
    return copy.deepcopy(objective.state_dict())


def teachers() -> list[dict]:
    """The weights of a student and its teacher before the first step and after the last."""
    torch.manual_seed(distributed.rank())
    objective = MeanTeacher(ResidualGenerator(1, K, 2, 1), ramp_steps=2)
    view = Augment(gain=0.2, intensity=1.0)
    engine = trainer(objective, tiny_pairs(views={"student": view, "teacher": view}))
    before = {name: weight.detach().clone() for name, weight in objective.named_parameters()}
    engine.run()
    return [before, {name: weight.detach() for name, weight in objective.named_parameters()}]


def efficientnet() -> dict:
    """The trained weights of a network that holds weights it never uses, and which of all weights may learn."""
    torch.manual_seed(distributed.rank())
    network = FlexibleUNet(1, K, "efficientnet-b0", decoder_channels=(4, 4, 4, 4, 4))
    trainer(Supervised(network)).run()
    weights = dict(network.named_parameters())
    learning = [name for name, weight in weights.items() if weight.requires_grad]
    return {"weights": {name: weight.detach() for name, weight in weights.items()}, "learning": learning}


def scores(volumes: int) -> list[float]:
    """Of predictions that are right in all but one row."""
    metrics = [MeanDice(K), PooledIoU(K)]
    for item in read_share(records(*range(volumes)), volume):
        for metric in metrics:
            metric(y_pred=[torch.cat([item["label"][:, :1] * 0, item["label"][:, 1:]], 1)], y=[item["label"]])
    return [float(metric.aggregate()) for metric in metrics]


def process(folder: Path) -> None:
    distributed.begin(seed=0)
    made: dict = {"random": torch.rand(3)}  # before anything else sets a seed
    made |= {method: first_step(method) for method in METHODS}
    made |= {"teachers": teachers(), "efficientnet": efficientnet()}
    made |= {"trained": two_epochs(), "scores": {volumes: scores(volumes) for volumes in (5, 2)}}
    made["mean"] = distributed.mean(torch.tensor([distributed.rank() + 1.0]))
    if everything := distributed.gather(made):
        weight_files.save(folder / "made.pt", everything)
    distributed.end()


# and what comes out


@pytest.fixture(scope="module", params=[2, 3])
def made(request, tmp_path_factory) -> list[dict]:
    """Of each process, everything."""
    folder = tmp_path_factory.mktemp("processes")
    side_by_side(request.param, __file__, folder)
    everything = weight_files.load(folder / "made.pt")
    assert len(everything) == request.param
    return everything


@pytest.fixture(autouse=True)
def _leave_the_random_state():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def test_processes_see_together_what_one_sees_alone(made):
    alone = first_step("semicycle")["images"]
    for stream in (0, 1):
        together = torch.cat([each["semicycle"]["images"][stream] for each in made])
        assert len(together) == len(alone[stream]) == JOINED
        order = [int((alone[stream] - image).flatten(1).abs().sum(1).argmin()) for image in together]
        assert sorted(order) == list(range(JOINED))
        assert torch.equal(together, alone[stream][order])  # random transforms and all


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_one_process_with_the_joined_batch(made, method):
    alone = first_step(method)["gradients"]
    for each in made:
        for name, gradient in alone.items():
            difference, largest = (each[method]["gradients"][name] - gradient).abs().max(), gradient.abs().max()
            # up to what single precision makes of a sum over 6,144 pixels
            assert largest > 0 and difference < 5e-5 * largest + (0 if "weight" in name else 1e-6), name


def test_weights_are_the_same_in_all_processes_after_training(made):
    first, *others = [each["trained"] for each in made]
    weights = dict(semicycle(4, nn.BatchNorm2d).named_parameters())
    assert weights.keys() < first.keys()  # as one process calls them
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in weights)


def test_a_teacher_is_the_same_in_all_processes_before_the_first_step_and_after_the_last(made):
    for moment in (0, 1):
        first, *others = [each["teachers"][moment] for each in made]
        assert any(name.startswith("T.") for name in first)
        for other in others:
            assert first.keys() == other.keys()
            assert all(torch.equal(first[name], other[name]) for name in first)


def test_a_teacher_starts_as_the_first_process_student(made):
    before = teachers()[0]  # of one process, which changes nothing of it
    for each in made:
        assert all(torch.equal(before[name], weight) for name, weight in each["teachers"][0].items())
    for name, weight in before.items():
        if name.startswith("G_IS."):
            assert torch.equal(weight, before[name.replace("G_IS.", "T.network.", 1)])


def test_weights_that_a_network_never_uses_are_frozen_and_all_others_trained_alike(made):
    first, *others = [each["efficientnet"] for each in made]
    unused = ("encoder._conv_head.", "encoder._bn1.", "encoder._fc.")
    assert first["learning"] == [name for name in first["weights"] if not name.startswith(unused)]
    for other in others:
        assert all(torch.equal(weight, other["weights"][name]) for name, weight in first["weights"].items())


def test_histories_and_random_states_differ(made):
    for one, other in pairwise(made):
        histories = [each["trained"]["_extra_state"]["pool_S"] for each in (one, other)]
        assert not torch.equal(histories[0]["random"], histories[1]["random"])
        assert not any(torch.equal(a, b) for a in histories[0]["pool"] for b in histories[1]["pool"])
        assert not torch.equal(one["random"], other["random"])


@pytest.mark.parametrize("volumes", [5, 2])
def test_scores_are_those_of_one_process_however_few_volumes_there_are(made, volumes):
    expected = scores(volumes)
    assert 0.5 < expected[0] < 1
    for each in made:
        assert each["scores"][volumes] == pytest.approx(expected, abs=1e-12)
        assert each["scores"] == made[0]["scores"]


def test_a_mean_is_over_all_processes(made):
    assert all(each["mean"].item() == (len(made) + 1) / 2 for each in made)


# training, by its command

TINY = {"image_size": [32, 32], "filters": 2, "blocks": 1, "d_filters": 2, "history_size": 4}
TRAIN = json.dumps([str(CONFIGS / "train.json"), str(CONFIGS / "multi_gpu_train.json")])


def training(data: Path, output: Path, epochs: int, **more) -> list:
    options = TINY | {"dataset_dir": data, "output_dir": output, "epochs": epochs} | more
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return ["-m", "monai.bundle", "run", "training", "--config_file", TRAIN, *words]


def last(folder: Path) -> dict:
    return weight_files.load(folder / "models" / "last.pt")


def alone(data: Path, output: Path, **given) -> None:
    flow = ConfigWorkflow(
        str(CONFIGS / "train.json"),
        logging_file=False,
        dataset_dir=str(data),
        output_dir=str(output),
        **TINY | given,
    )
    flow.initialize()
    flow.run()


@pytest.fixture(scope="module")
def whole(phantom_dir, tmp_path_factory) -> Path:
    """Three epochs in two processes."""
    output = tmp_path_factory.mktemp("whole")
    side_by_side(2, *training(phantom_dir, output, 3))
    return output


def differences(one, other, name: str = "") -> list[str]:
    """Where two states differ, to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [d for key in one for d in differences(one[key], other[key], f"{name}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        return [d for place in range(len(one)) for d in differences(one[place], other[place], f"{name}/{place}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [name]


def test_a_run_whose_process_is_killed_ends_and_goes_on_to_the_same_state(whole, phantom_dir, tmp_path):
    with launched(2, *training(phantom_dir, tmp_path, 3)) as launcher:
        deadline = time.monotonic() + 120
        while not (tmp_path / "models" / "last.pt").is_file() and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(workers(launcher)[-1], signal.SIGKILL)
        launcher.join(60)
        assert launcher.exitcode  # the other one does not wait for ever
    assert last(tmp_path)["progress"]["epoch"] < 3, "it was over before the kill"
    side_by_side(2, *training(phantom_dir, tmp_path, 3))
    assert differences(last(whole), last(tmp_path)) == []
    assert (tmp_path / "learning_curve.csv").read_text() == (whole / "learning_curve.csv").read_text()


def test_each_process_has_its_history_in_the_checkpoint(whole):
    state = last(whole)
    (other,) = state["others"]
    pools = [part["_extra_state"]["pool_S"]["pool"] for part in (state["objective"], other["objective"])]
    assert len(pools[0]) == len(pools[1]) == TINY["history_size"]
    assert not any(torch.equal(a, b) for a in pools[0] for b in pools[1])
    draws = [part["_extra_state"]["pool_S"]["random"] for part in (state["objective"], other["objective"])]
    assert not torch.equal(*draws), "the overlay gives each process draws of its own"


def test_the_first_process_alone_writes(whole):
    assert len(list((whole / "tensorboard").iterdir())) == 1
    assert len((whole / "learning_curve.csv").read_text().splitlines()) == 4


def test_the_report_of_two_processes_is_that_of_one(whole, phantom_dir, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    alone(phantom_dir, tmp_path, epochs=3, training=["$@report.write()"])
    reports = [json.loads((folder / "validation" / "report.json").read_text()) for folder in (whole, tmp_path)]
    for part in ("summary", "cases", "floor"):
        assert reports[0][part] == reports[1][part]


def test_one_process_goes_on_from_two_with_a_warning(whole, phantom_dir, tmp_path, caplog):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    alone(phantom_dir, tmp_path, epochs=4)
    assert "last.pt is of 2 processes, here are 1: batches, and so all numbers, differ" in caplog.text
    state = last(tmp_path)
    ends = [(3 * (48 // 10), 3), (4 * (48 // 5), 4)]  # 48 slices, batches of 2 x 5, then of 5
    assert [(each["progress"]["iteration"], each["progress"]["epoch"]) for each in (last(whole), state)] == ends
    assert state["others"] == []
    assert len((tmp_path / "learning_curve.csv").read_text().splitlines()) == 5


def test_three_processes_go_on_from_two(whole, phantom_dir, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    done = side_by_side(3, *training(phantom_dir, tmp_path, 4))
    assert done.stderr.count("last.pt is of 2 processes, here are 3") + done.stdout.count("here are 3") == 1
    state = last(tmp_path)
    assert state["progress"]["epoch"] == 4 and len(state["others"]) == 2
    for before, now in zip(last(whole)["others"], state["others"], strict=False):
        assert not torch.equal(
            before["objective"]["_extra_state"]["pool_S"]["random"],
            now["objective"]["_extra_state"]["pool_S"]["random"],
        )


def test_more_processes_than_slices_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 5)
    slices = Slices(records(1, 2, 3), volume)
    with pytest.raises(InputError, match="batch_size is 2 in each of 5 processes, and there are 9 slices: give a"):
        Pairs(slices, slices, 2)
    assert len(Pairs(slices, slices, 1)) == 1


@pytest.mark.parametrize(("local", "waits"), [(None, []), ("0", []), ("1", [10])])
def test_of_processes_that_fail_alike_the_first_is_heard(monkeypatch, capsys, local, waits):
    waited: list[int] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local is not None:
        monkeypatch.setenv("LOCAL_RANK", local)
    failures.show_error(InputError, InputError("wrong"), None)
    assert waited == waits and capsys.readouterr().err == "error: wrong\n"


def test_torchrun_without_the_overlay_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(InputError, match=r"add multi_gpu_train\.json to --config_file"):
        trainer(semicycle(0, nn.Identity))


# prediction


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "model.pt"
    weight_files.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Five scans, one of them cut short."""
    folder, random = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for n in range(5):
        voxels = random.integers(0, 900, (20, 28, 3)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 9, 1])), folder / f"scan{n}.nii.gz")
    (folder / "scan3.nii.gz").write_bytes((folder / "scan3.nii.gz").read_bytes()[:500])
    return folder


def predict_alone(scans: Path, output: Path, model: Path) -> None:
    flow = ConfigWorkflow(
        str(CONFIGS / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        input=str(scans),
        output_dir=str(output),
        checkpoint=str(model),
    )
    flow.initialize()
    flow.run()


def manifest_of(folder: Path) -> dict:
    content = json.loads((folder / "predictions.json").read_text())
    told = {"seconds", "slices", "frame_scores"}  # these differ in the last digits with the number of threads
    cases = [{key: value for key, value in case.items() if key not in told} for case in content["cases"]]
    return {key: content[key] for key in ("settings", "classes", "patients", "failures", "quality")} | {"cases": cases}


def test_two_processes_predict_what_one_does_and_a_bad_scan_is_one_line(scans, model, tmp_path):
    with pytest.raises((RuntimeError, InputError)):
        predict_alone(scans, tmp_path / "one", model)
    words = ["-m", "acdc_semicycle", "predict", scans, "-o", tmp_path / "two", "--model", model]
    done = side_by_side(2, *words, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error: 1 of 5 files left out:") == 1, done.stderr
    assert len([line for line in done.stderr.splitlines() if "scan3.nii.gz" in line]) == 1
    files = [sorted(path.relative_to(tmp_path / one) for path in (tmp_path / one).rglob("*")) for one in ("one", "two")]
    assert files[0] == files[1] and Path("scan4_seg.nii.gz") in files[0]
    for name in files[0]:
        if name.name.endswith("_seg.nii.gz"):
            maps = [np.asarray(nibabel.load(tmp_path / one / name).dataobj) for one in ("one", "two")]
            np.testing.assert_array_equal(*maps)
    assert manifest_of(tmp_path / "one") == manifest_of(tmp_path / "two")
    contents = [json.loads((tmp_path / one / "predictions.json").read_text())["cases"] for one in ("one", "two")]
    for one, other in zip(*contents, strict=True):
        for scores, same in zip(one["frame_scores"], other["frame_scores"], strict=True):
            assert scores == pytest.approx(same, abs=1e-5)


def test_what_a_killed_process_noted_is_not_done_again(scans, model, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as second:
        second.setattr(distributed, "rank", lambda: 1)
        second.setattr(distributed, "world", lambda: 2)
        second.setattr(distributed, "wait", lambda: None)
        predict_alone(scans, tmp_path, model)
    journal = tmp_path / JOURNAL.format(1)
    assert journal.is_file() and not (tmp_path / "predictions.json").exists()
    (noted,) = (note for note in map(json.loads, journal.read_text().splitlines()) if "cases" in note)
    noted["cases"][0]["case"] = "after what was not finished"  # of another run, perhaps with other settings
    journal.write_text(journal.read_text() + '{"cases": [{"ca\n' + json.dumps(noted) + "\n")
    before = (tmp_path / "scan1_seg.nii.gz").stat().st_mtime_ns
    caplog.set_level("INFO", "semicycle")
    with pytest.raises((RuntimeError, InputError)):
        predict_alone(scans, tmp_path, model)
    assert "1 of them are done: continuing with the others" in caplog.text
    assert (tmp_path / "scan1_seg.nii.gz").stat().st_mtime_ns == before and not journal.exists()
    content = manifest_of(tmp_path)
    assert [case["case"] for case in content["cases"]] == ["scan0", "scan1", "scan2", "scan4"]
    assert len(content["failures"]) == 1


if __name__ == "__main__":
    process(Path(sys.argv[1]))
