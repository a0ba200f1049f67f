"""Cells on this machine: one process per core, or per share of a GPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from srcmatters.clean_shutdown import signals_handled
from srcmatters.studies.executors.base import CellTask, Outcome

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def local_slots(
    workers: int | None = None, gpus: Sequence[int] = (), per_gpu: int = 1, cores: int | None = None
) -> list[dict[str, str]]:
    """Environment of each worker.

    Args:
        workers: how many; None: ``per_gpu`` for every GPU, or one per core without a GPU.
        gpus: memory of each GPU in bytes; their number counts.
        per_gpu: workers that share a GPU.
        cores: of this machine, None: those that this process may use.
    """
    cores = cores or len(os.sched_getaffinity(0))
    count = workers or (len(gpus) * per_gpu if gpus else cores)
    threads = max(1, cores // count) if gpus else 1
    slots = [dict.fromkeys(_THREADS, str(threads)) for _ in range(count)]
    if gpus:
        for number, slot in enumerate(slots):
            slot["CUDA_VISIBLE_DEVICES"] = str(number % len(gpus))
    return slots


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    environment: Mapping[str, str]
    task: CellTask | None = None
    since: float = 0.0


class LocalExecutor:
    """Worker processes of this machine; see :class:`srcmatters.studies.executors.base.Executor`.

    The standard library's pools break as a whole when one of their processes is killed, and joblib's as well:
    so each worker is a process with a pipe of its own, and one that dies is replaced alone.

    Args:
        slots: environment of each worker, see :func:`local_slots`.
    """

    def __init__(self, slots: Sequence[Mapping[str, str]]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._start(environment) for environment in slots]

    @property
    def capacity(self) -> int:
        """Number of workers."""
        return len(self._workers)

    def pids(self) -> list[int]:
        """Processes of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def submit(self, task: CellTask) -> None:
        """Hand a cell to a worker without one."""
        free = next(worker for worker in self._workers if worker.task is None)
        free.task, free.since = task, time.perf_counter()
        with suppress(OSError):  # it died meanwhile: outcomes() finds the cell lost
            free.connection.send(task)

    def outcomes(self, timeout: float) -> Sequence[Outcome]:
        """See :meth:`srcmatters.studies.executors.base.Executor.outcomes`."""
        handles = [handle for worker in self._workers for handle in _handles(worker)]
        ready = set(wait(handles, timeout))
        finished = []
        for number, worker in enumerate(self._workers):
            if ready.isdisjoint(_handles(worker)):
                continue
            outcome = _received(worker)
            if outcome is None:  # closed or killed
                outcome = _lost(worker)
                self._workers[number] = self._replaced(worker)
            worker.task = None
            if outcome is not None:
                finished.append(outcome)
        return finished

    def shutdown(self, grace: float = 5.0) -> None:
        """Interrupt what runs, and kill what has not ended after ``grace`` seconds."""
        for worker in self._workers:
            worker.connection.close()  # which an idle worker takes for the end
            if worker.task is not None:
                worker.process.terminate()
        until = time.monotonic() + grace
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()

    def _start(self, environment: Mapping[str, str]) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), name="srcmatters worker")
        with _started_with(environment):
            process.start()
        theirs.close()
        return _Worker(process, ours, environment)

    def _replaced(self, worker: _Worker) -> _Worker:
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        return self._start(worker.environment)


def _handles(worker: _Worker) -> tuple[Any, int]:
    return worker.connection, worker.process.sentinel


def _received(worker: _Worker) -> Outcome | None:
    """The outcome that a worker has sent; a worker killed while sending has sent none."""
    try:
        return worker.connection.recv() if worker.connection.poll() else None
    except Exception:  # cut off anywhere in a pickle, anything may be raised
        return None


def _lost(worker: _Worker) -> Outcome | None:
    if worker.task is None:
        return None
    worker.process.join(1)
    code = worker.process.exitcode
    reason = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    seconds = time.perf_counter() - worker.since
    error = f"the worker was {reason}{hint}" if code is not None and code < 0 else f"the worker {reason}"
    return Outcome(worker.task.cell_id, "lost", seconds, error, worker=f"pid {worker.process.pid}")


@contextmanager
def _started_with(environment: Mapping[str, str]) -> Iterator[None]:
    """What a process inherits from its first instruction on: its environment, and deafness to Ctrl-C.

    Ctrl-C reaches every process of a terminal; the driver alone decides what it means.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with signals_handled(signal.SIG_IGN, signal.SIGINT):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Interruption:
    """SIGTERM in a worker: interrupts its cell as Ctrl-C would, so that MLflow hears of it."""

    def __init__(self) -> None:
        self.in_cell = False
        signal.signal(signal.SIGTERM, self)

    def __call__(self, *_: object) -> None:
        if not self.in_cell:
            os._exit(0)
        self.in_cell = False
        raise KeyboardInterrupt


def _serve(connection: Connection) -> None:
    """What a worker does until nobody wants anything of it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption = _Interruption()
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    from srcmatters.studies.cell_run import import_bundles, run_cell

    with suppress(Exception):  # the cell will say what is missing
        import_bundles()
    while True:
        try:
            task = connection.recv()
            interruption.in_cell = True
            outcome = run_cell(task)
            interruption.in_cell = False
            connection.send(outcome)
        except (EOFError, OSError):
            return
        except KeyboardInterrupt:
            return


def _end_with_the_driver() -> None:
    """A driver that was killed cannot say goodbye; without it the worker's results would reach nobody."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
