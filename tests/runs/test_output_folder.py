"""Under a final name there is a finished file or none."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from srcmatters.errors import InputError
from srcmatters.files import UNFINISHED
from srcmatters.runs import Results


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    with results.transaction() as folder:
        (folder / "a.txt").write_text("a")
        (folder / "figures").mkdir()
        (folder / "figures" / "b.txt").write_text("b")
        assert not (tmp_path / "out" / "a.txt").exists()
    assert (tmp_path / "out" / "a.txt").read_text() == "a"
    assert (tmp_path / "out" / "figures" / "b.txt").read_text() == "b"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "figures"]


def test_a_failed_run_leaves_what_was_there_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), Results(out).transaction() as folder:
        (folder / "a.txt").write_text("new")
        raise KeyboardInterrupt
    assert (out / "a.txt").read_text() == "old" and len(list(out.iterdir())) == 1


def test_a_failed_first_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Results(tmp_path / "out").transaction() as folder:
        (folder / "a.txt").write_text("new")
        raise RuntimeError
    assert not (tmp_path / "out").exists()


def test_a_second_run_replaces_files_and_folders(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with Results(tmp_path / "out").transaction() as folder:
            (folder / "figures").mkdir()
            (folder / "figures" / content).write_text(content)
    assert [path.name for path in (tmp_path / "out" / "figures").iterdir()] == ["new"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere = f"{UNFINISHED}{socket.gethostname()}", f"{UNFINISHED}another-machine"
    kept = {f"{here}-{os.getppid()}", f"{elsewhere}-{dead.pid}"}
    for name in (f"{here}-{dead.pid}", *kept):
        (tmp_path / name).mkdir()
    with Results(tmp_path).transaction():
        pass
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_full_disk_is_said_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no space left"), Results(tmp_path / "out").transaction():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for impossible in (tmp_path / "file" / "out", Path("/proc/out")):
        with pytest.raises(InputError, match="output_dir"):
            Results(impossible)


def test_the_record_comes_last_so_that_half_a_result_never_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["config.yaml", "metrics.json", "model.pt", "predictions.csv", "validation.csv"]
    replace = Path.replace
    for moves in range(len(names)):
        out = tmp_path / str(moves)
        out.mkdir()
        (out / "metrics.json").write_text("of an earlier run")
        left = iter(range(moves))

        def interrupted(path: Path, target: Path, left: Iterator[int] = left) -> Path:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return replace(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", interrupted)
            with pytest.raises(KeyboardInterrupt), Results(out).transaction() as folder:
                for name in names:
                    (folder / name).write_text("new")
        assert not (out / "metrics.json").exists()
        left_over = list(out.iterdir()) if out.exists() else []  # an empty folder is removed
        assert len(left_over) == moves
