"""A folder that several processes write at once, or whose writer is killed, is never seen half written."""

import pytest

from acdc_semicycle.runtime.staged_folder import staged_folder


def test_it_appears_at_the_end_and_nothing_stays_beside_it(tmp_path):
    root = tmp_path / "deep" / "drawn"
    with staged_folder(root, root.exists) as staging:
        staging.mkdir()
        assert not root.exists()
    assert root.is_dir() and list(root.parent.iterdir()) == [root]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), staged_folder(tmp_path / "drawn", lambda: False) as staging:
        staging.mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seen", [True, False])
def test_another_process_that_was_faster_by_a_moment_keeps_its_folder(tmp_path, seen):
    root = tmp_path / "drawn"
    answers = iter([seen, True])
    with staged_folder(root, lambda: next(answers)) as staging:
        staging.mkdir()
        root.mkdir()
        (root / "theirs").touch()
    assert [path.name for path in root.iterdir()] == ["theirs"] and list(tmp_path.iterdir()) == [root]


def test_a_folder_that_cannot_be_renamed_is_an_error(tmp_path):
    root = tmp_path / "drawn"
    with pytest.raises(OSError), staged_folder(root, lambda: False) as staging:
        staging.mkdir()
        root.mkdir()
        (root / "something").touch()
