"""Cells on a Ray cluster: Ray decides where its workers live, and this keeps each of them busy."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from srcmatters import __version__
from srcmatters.errors import InputError
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.executors.local import local_slots
from srcmatters.studies.executors.ray_cluster import cluster_slots, connect, gpu_share, import_ray
from srcmatters.studies.executors.ray_worker import RayWorker

_LOOK_SECONDS = 2.0
# A node on which nothing starts is tried again ever more seldom; if nothing starts anywhere, the study ends.
_START_ATTEMPTS = 3
_LONGEST_PAUSE = 60.0


@dataclass(eq=False)
class _Worker:
    actor: Any
    call: Any  # its start, then its cell
    node: str = ""
    task: CellTask | None = None
    since: float = 0.0

    @property
    def ready(self) -> bool:
        return bool(self.node)


class RayExecutor:
    """Workers on the nodes of a Ray cluster; see :class:`srcmatters.studies.executors.base.Executor`.

    A worker is a Ray actor that lives as long as the study and pays its imports once. There are as many as
    the living nodes have room for; a node that comes gets its workers, and one that goes takes them along:
    their cells come back as lost. Actors are not detached: when the driver dies, Ray ends them.

    Driver and nodes have to see the study, the case table, the images and the bundle under the same paths.
    Only tasks and outcomes travel through Ray: the decoded images are files that every worker of a node maps
    into memory, so they are there once per node whoever computed them, and outlive the study.

    Args:
        address: of the cluster, see :func:`srcmatters.studies.executors.ray_cluster.connect`.
        workers: how many; None: as many as there is room for, following the cluster. A number is asked for
            even where there is no room yet, which lets an autoscaler add nodes.
        cpus_per_cell: cores of a worker, more than 0; a worker computes with as many threads.
        per_gpu: workers that share a GPU, if the cluster has any; 0: no GPU is used.

    Raises:
        InputError: no Ray, no cluster at the address, or none of its nodes has room for a worker.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cpus_per_cell: float = 1.0,
        per_gpu: int = 1,
    ) -> None:
        if cpus_per_cell <= 0:
            raise InputError(f"cpus_per_cell: got {cpus_per_cell}, expected more than 0")
        cores = max(len(os.sched_getaffinity(0)), math.ceil((workers or 1) * cpus_per_cell))
        self._connected_here = connect(address, cores)
        self._ray = import_ray()
        self._requested = workers
        self._cpus = cpus_per_cell
        self._gpus = gpu_share(self._ray.nodes(), per_gpu)
        self._workers: list[_Worker] = []
        self._waiting: deque[CellTask] = deque()
        self._look_at = 0.0
        self._failed_starts = 0
        try:
            self._require_room()
            self._follow_the_cluster()
        except BaseException:
            self.shutdown(0.0)
            raise

    @property
    def capacity(self) -> int:
        """Workers that have started; 1 before the first one has, whose cell waits for it."""
        return max(1, sum(worker.ready for worker in self._workers))

    def submit(self, task: CellTask) -> None:
        """Hand a cell to a worker without one, or to the next that is."""
        self._waiting.append(task)
        self._hand_out()

    def outcomes(self, timeout: float) -> Sequence[Outcome]:
        """See :meth:`srcmatters.studies.executors.base.Executor.outcomes`; returns when a worker starts.

        Raises:
            InputError: no worker starts anywhere, or the cluster is gone.
        """
        self._follow_the_cluster()
        self._hand_out()
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not calls:
            time.sleep(min(timeout, _LOOK_SECONDS))
            return []
        done, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout)
        if done:
            done, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        settled = [self._settle(calls[call]) for call in done]
        self._hand_out()
        return [outcome for outcome in settled if outcome is not None]

    def shutdown(self, grace: float = 5.0) -> None:
        """Interrupt what runs, end all workers after ``grace`` seconds, and leave the cluster."""
        with suppress(self._ray.exceptions.RayError):
            busy = [worker for worker in self._workers if worker.task is not None]
            for worker in busy:
                worker.actor.stop.remote(grace * 0.8)
            if busy and grace:
                self._ray.wait([worker.call for worker in busy], num_returns=len(busy), timeout=grace)
        for worker in list(self._workers):
            self._end(worker)
        self._waiting.clear()
        if self._connected_here:
            self._ray.shutdown()

    def _require_room(self) -> None:
        nodes = self._ray.nodes()
        if self._requested is None and cluster_slots(nodes, self._cpus, self._gpus) == 0:
            resources = f"{self._cpus:g} CPU" + (f" and {self._gpus:g} GPU" if self._gpus else "")
            raise InputError(
                f"executor: no node of the Ray cluster has {resources}, expected one that holds a cell"
            )

    def _follow_the_cluster(self) -> None:
        """As many workers as there is room for now; those without a place are given up first."""
        if time.monotonic() < self._look_at:
            return
        try:
            slots = self._requested or cluster_slots(self._ray.nodes(), self._cpus, self._gpus)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            message = " ".join(str(error).split())[:200]
            raise InputError(
                f"executor: the Ray cluster is gone ({message}); what is finished is kept, run the study"
                " again"
            ) from error
        without_place = [worker for worker in self._workers if not worker.ready]
        for worker in without_place[: max(0, len(self._workers) - slots)]:
            self._end(worker)
        for _ in range(slots - len(self._workers)):
            self._workers.append(self._start())
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def _start(self) -> _Worker:
        remote = self._ray.remote(RayWorker)
        threads = dict.fromkeys(local_slots(1)[0], str(max(1, int(self._cpus))))
        cache = os.environ.get("SRCMATTERS_CACHE")
        # Two calls at a time: the cell, and the word to stop it.
        placed = remote.options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_concurrency=2, scheduling_strategy="SPREAD"
        )
        actor = placed.remote({"SRCMATTERS_CACHE": os.path.abspath(cache)} if cache else {}, threads)
        return _Worker(actor, actor.ready.remote())

    def _hand_out(self) -> None:
        free = (worker for worker in self._workers if worker.ready and worker.task is None)
        for worker in free:
            if not self._waiting:
                return
            worker.task, worker.since = self._waiting.popleft(), time.perf_counter()
            worker.call = worker.actor.run.remote(worker.task)

    def _settle(self, worker: _Worker) -> Outcome | None:
        """What came of the call of a worker; None if it was its start."""
        call, worker.call = worker.call, None
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._end(worker)
            if worker.task is not None:
                return self._lost(worker, error)
            self._not_started(error)
            return None
        if worker.task is None:
            self._started(worker, *answer)
            return None
        worker.task = None
        return answer

    def _started(self, worker: _Worker, node: str, version: str) -> None:
        if version != __version__:
            raise InputError(
                f"executor: node {node} has srcmatters {version}, expected {__version__} as the driver's"
            )
        worker.node = node
        self._failed_starts = 0

    def _not_started(self, error: Exception) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _START_ATTEMPTS and not any(worker.ready for worker in self._workers):
            raise InputError(f"executor: no worker starts on the Ray cluster ({_reason(error)})") from error
        self._look_at = time.monotonic() + min(_LONGEST_PAUSE, 2.0**self._failed_starts)

    def _lost(self, worker: _Worker, error: Exception) -> Outcome:
        assert worker.task is not None
        seconds, message = time.perf_counter() - worker.since, f"the worker was lost: {_reason(error)}"
        return Outcome(worker.task.cell_id, "lost", seconds, message, worker=f"node {worker.node}")

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker.actor)


def _reason(error: Exception) -> str:
    """Ray's messages are a page long; the end of a traceback says most, otherwise their first lines do."""
    cause = error.__cause__ or getattr(error, "cause", None)
    message = " ".join(str(cause or error).split())
    return message[:200]
