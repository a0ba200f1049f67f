"""The process that decodes: bounded in time and memory, and replaced when one file would cost another."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from psutil import STATUS_DISK_SLEEP, Process
from resource_use import open_files

from srcmatters.deployment.prediction.sandboxed_decoder import SERIES_SECONDS, Decoder
from srcmatters.errors import InputError


def _allocate(size: int) -> int:
    return len(np.ones(size, np.uint8))


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_decoder_bounds_memory_and_time_and_survives_deaths() -> None:
    with Decoder(seconds=1.0, memory=2**28) as decoder:
        assert decoder.run(_allocate, 2**24) == 2**24
        with pytest.raises(InputError, match="too much memory"):
            decoder.run(_allocate, 2**29)
        start = time.monotonic()
        with pytest.raises(InputError, match="took longer than 1 s"):
            decoder.run(_sleep, 60)
        assert time.monotonic() - start < 60, "it is not waited for"
        with pytest.raises(InputError, match="died of this file, twice"):
            decoder.run(_die)
        assert decoder.run(_allocate, 3) == 3


def _die_first(mark: Path, seconds: float) -> float:
    """Be killed after so long, as by a system without memory, and take as long again the next time."""
    _compute(seconds)
    if not os.path.lexists(mark):
        mark.symlink_to("nowhere")  # a process that decodes writes no file
        _die()
    return seconds


def test_a_file_whose_process_is_killed_once_is_read_by_another(tmp_path: Path) -> None:
    with Decoder(seconds=2.0) as decoder:
        assert decoder.run(_die_first, tmp_path / "mark", 0.5) == 0.5
        assert 1 <= decoder.spent < 2, "both tries count"
        assert decoder.run(_same, 3) == 3


def test_two_tries_have_the_time_of_one(tmp_path: Path) -> None:
    with Decoder(seconds=1.0) as decoder:
        used = Process().cpu_times()
        with pytest.raises(InputError, match="took longer than 1 s"):
            decoder.run(_die_first, tmp_path / "mark", 0.7)
        after = Process().cpu_times()
    taken = after.children_user + after.children_system - used.children_user - used.children_system
    assert taken < 1.3


def test_a_machine_that_can_start_no_process_is_not_held_against_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(decoder: Decoder) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with Decoder() as decoder:
        decoder.submit(_die_first, tmp_path / "mark", 0.1)
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Cannot allocate"):
            patch.setattr(Decoder, "_start", exhausted)
            decoder.result()
        assert decoder.run(_same, 3) == 3


def test_a_file_that_waits_for_a_disk_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Decoder(seconds=0.5) as decoder, monkeypatch.context() as patch:
        patch.setattr(Process, "status", lambda process: STATUS_DISK_SLEEP)
        assert decoder.run(_sleep, 1.2) is None
        with pytest.raises(InputError, match=r"took longer than 0\.5 s"):
            decoder.run(_sleep, 60)


def _same(value: int) -> int:
    return value


_kept: list[mmap.mmap] = []


def _keep(size: int) -> int:
    # Not from the heap, where tests before this one may have left as much unused.
    _kept.append(mmap.mmap(-1, size))
    return os.getpid()


def test_process_that_keeps_memory_is_replaced_before_the_next_file_misses_it() -> None:
    with Decoder(memory=2**28) as decoder:
        pids = {decoder.run(_keep, 100 * 2**20) for _ in range(6)}
    assert len(pids) == 3


def _compute(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_earlier_tasks_for_a_file_count_against_its_time() -> None:
    with Decoder(seconds=20.0) as decoder:
        decoder.run(_compute, 0.5)
        assert 0.5 <= decoder.spent < 2
        decoder.submit(_sleep, 60, spent=19.7)
        start = time.monotonic()
        with pytest.raises(InputError, match="took longer than 20 s"):
            decoder.result()
        assert time.monotonic() - start < 15, "most of its time was spent before"


def test_a_file_that_waits_for_the_processor_is_not_refused_but_one_that_takes_its_time_is() -> None:
    """Half of a processor, which another process computes on as well."""
    cpu = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpu)})
    try:
        with Decoder() as other, Decoder(seconds=1.5) as decoder:
            other.submit(_compute, 30)
            assert decoder.run(_compute, 1.2) is None
            with pytest.raises(InputError, match=r"took longer than 1\.5 s"):
                decoder.run(_compute, 30)
    finally:
        os.sched_setaffinity(0, cpu)


def test_time_of_a_large_file_grows_with_its_size() -> None:
    with Decoder(seconds=1.0) as decoder:
        decoder.submit(_same, 1, size=8 * 2**20)
        assert 4 < decoder._until - time.monotonic() <= 5


def test_time_of_a_series_is_bounded_whatever_its_number_of_files() -> None:
    with Decoder(seconds=1.0) as decoder:
        for files, seconds in ((1, 1.0), (11, 2.0), (100_000, SERIES_SECONDS)):
            decoder.submit(_same, 1, files=files)
            left = decoder._until - time.monotonic()
            assert seconds - 0.5 < left <= seconds
            assert decoder.result() == 1


def _memory_left() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return resource.getrlimit(resource.RLIMIT_AS)[0] - pages * resource.getpagesize()


def test_all_that_a_process_may_take_stays_below_two_gigabytes() -> None:
    held = np.ones(2**29, np.uint8)  # with this the usual gigabyte would be too much
    with Decoder() as decoder:
        left = decoder.run(_memory_left)
    resident = Process().memory_info().rss
    assert len(held) and left < 2**30
    assert left + resident < 2**31 or left <= 2**28


def _fail(number: int, told: bool) -> None:
    try:
        raise OSError(number, "no more")
    except OSError as error:
        if told:
            raise InputError("x.dcm: not readable") from error
        raise


@pytest.mark.parametrize("told", [False, True])
def test_a_machine_without_files_to_open_is_not_held_against_the_file(told: bool) -> None:
    with Decoder() as decoder:
        with pytest.raises(OSError, match="Too many open files") as caught:
            decoder.run(_fail, errno.EMFILE, told)
        assert caught.value.errno == errno.EMFILE
        with pytest.raises(InputError, match="not readable"):
            decoder.run(_fail, errno.EINVAL, told)


def test_processes_that_end_leave_nothing_open() -> None:
    before = open_files(), Process().children()
    for _ in range(20):
        with Decoder() as decoder, pytest.raises(InputError, match="died"):
            decoder.run(_die)
    assert (open_files(), Process().children()) == before


_BUSY = """
import socket, sys, time
from filelock import FileLock
sys.path[:0] = {tests!r}
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from test_sandboxed_decoder import _compute
server = socket.create_server(("127.0.0.1", 0))
decoder = Decoder()
decoder.submit(_compute, 60)
print(server.getsockname()[1], decoder._process.pid, flush=True)
{end}
"""


def _started(end: str) -> tuple[subprocess.Popen[str], int, Process]:
    """A program that listens on a port and decodes: it, the port, and the process that decodes."""
    code = _BUSY.format(
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")], end=end
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    port, pid = map(int, program.stdout.readline().split())
    return program, port, Process(pid)


def test_a_killed_program_leaves_no_process_and_no_port_behind() -> None:
    program, port, decoding = _started("time.sleep(60)")
    program.kill()
    program.communicate(timeout=10)
    decoding.wait(timeout=5)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.slow
def test_a_program_that_forgets_to_close_it_ends_all_the_same() -> None:
    program, _, decoding = _started("")
    program.communicate(timeout=10)
    assert program.returncode == 0
    decoding.wait(timeout=5)
