"""What the bundle's tasks say before they begin."""

from types import SimpleNamespace

import pytest
from monai.bundle import ConfigParser

from acdc_semicycle.config import tasks
from acdc_semicycle.data.splits import Split


def warned(validation: int, test: int, keep: str, caplog) -> list[str]:
    """The warnings at the start of a training with so many patients."""
    caplog.clear()
    names = [f"p{n}" for n in range(20)]
    split = Split(tuple(names[:4]), (), tuple(names[4 : 4 + validation]), tuple(names[10 : 10 + test]))
    tasks.warn_of_few(split, keep)
    return caplog.messages


@pytest.mark.parametrize(
    ("validation", "test", "keep", "words"),
    [
        (
            1,
            1,
            "best",
            "only 1 validation patient chooses the epoch and only 1 test patient will tell how good it is: ",
        ),
        (
            2,
            3,
            "best",
            "only 2 validation patients choose the epoch: give --folds leave-one-out to score every labelled",
        ),
        (1, 2, "last", "only 2 test patients will tell how good it is: give --folds leave-one-out"),
    ],
)
def test_few_patients_to_choose_the_epoch_are_one_line(validation, test, keep, words, caplog):
    [line] = warned(validation, test, keep, caplog)
    assert line.startswith(words) and line.endswith("with --train_list, --validation_list and --test_list")


def test_many_patients_or_none_need_no_line(caplog):
    for validation, test, keep in ((3, 3, "best"), (0, 0, "last"), (1, 0, "last")):
        assert warned(validation, test, keep, caplog) == []


@pytest.mark.parametrize(("split", "is_fold"), [({}, False), ({"fold": None}, False), ({"fold": [0, 3]}, True)])
def test_a_fold_is_known_by_its_configuration_and_not_by_its_folder(split, is_fold):
    config = {"output_dir": "runs/fold_trial", "split": split, "answer": "$tasks._is_a_fold()"}
    assert ConfigParser(config, globals={"tasks": tasks}).get_parsed_content("answer") is is_fold


def test_a_timed_step_includes_making_its_batch(monkeypatch):
    seconds = [0.0]

    class Loader:
        def __len__(self) -> int:
            return 5

        def __iter__(self):
            for _ in range(5):
                seconds[0] += 0.3  # what making a batch takes
                yield None

    def iteration(trainer, batch) -> None:
        seconds[0] += 0.5

    monkeypatch.setattr(tasks.time, "monotonic", lambda: seconds[0])
    state = SimpleNamespace(max_epochs=2)
    objective = SimpleNamespace(T=None, start=None, waits_for_pseudo_labels=False)
    trainer = SimpleNamespace(data_loader=Loader(), state=state, objective=objective, _iteration=iteration)
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch_length=0))
    parts = tasks.measured(trainer, evaluator, 1)
    assert parts["step_seconds"] == pytest.approx(0.8) and parts["epoch_steps"] == 5 and parts["steps"] == 10


def test_steps_of_two_kinds_count_by_their_shares(monkeypatch):
    seconds, objective = [0.0], SimpleNamespace(T=SimpleNamespace(steps=0), start=15, waits_for_pseudo_labels=False)

    def iteration(trainer, batch) -> None:
        seconds[0] += 1.0 if objective.T.steps >= 15 else 0.2

    monkeypatch.setattr(tasks.time, "monotonic", lambda: seconds[0])
    state = SimpleNamespace(max_epochs=4)
    trainer = SimpleNamespace(data_loader=range(5), state=state, objective=objective, _iteration=iteration)
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch_length=0))
    assert tasks.measured(trainer, evaluator, 1)["step_seconds"] == pytest.approx(0.75 * 0.2 + 0.25 * 1.0)
