"""A file is there whole or not at all, whatever ends the process that writes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srcmatters.errors import InputError
from srcmatters.files import UNFINISHED, atomic_path, foreign_text, sha256_of, write_text

_HALF = """
import sys, time
from srcmatters.files import atomic_path
with atomic_path(sys.argv[1]) as place:
    place.write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    write_text(path, "before")
    with pytest.raises(RuntimeError), atomic_path(path) as place:
        assert place.name == path.name  # its ending decides how pandas compresses
        place.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and os.listdir(tmp_path) == [path.name]


def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with subprocess.Popen([sys.executable, "-c", _HALF, str(path)], stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None and writing.stdout.readline()
        write_text(path, "of another process")
        assert [name for name in os.listdir(tmp_path) if name.startswith(UNFINISHED)], "it is still writing"
        writing.send_signal(signal.SIGKILL)
    time.sleep(0.01)
    write_text(path, "after")
    assert path.read_text() == "after" and os.listdir(tmp_path) == [path.name]


def test_a_folder_becomes_visible_when_it_is_complete(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "cohort") as place:
        place.mkdir()
        (place / "cases.csv").write_text("")
        assert not (tmp_path / "a" / "cohort").exists()
    assert os.listdir(tmp_path / "a" / "cohort") == ["cases.csv"]


def test_the_digest_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_large_text_of_somebody_else_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text("[" * 2000)
    with pytest.raises(InputError, match=r"rules.json: 2,000 bytes, expected 1,000 at most"):
        foreign_text(tmp_path / "rules.json", 1000)
    assert foreign_text(tmp_path / "rules.json", 2000) == "[" * 2000
