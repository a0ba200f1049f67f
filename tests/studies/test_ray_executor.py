"""Cells on a Ray cluster come back exactly once, whatever happens to its nodes and workers."""

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import BUNDLE, MITIGATED, InlineExecutor

from srcmatters.errors import InputError
from srcmatters.studies.cells import bundle_config, expand, task_of
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.executors.ray_cluster import cluster_slots, gpu_share
from srcmatters.studies.executors.ray_executor import RayExecutor
from srcmatters.studies.executors.ray_worker import RayWorker
from srcmatters.studies.runner import StudyRun
from srcmatters.studies.study_file import Study

Make = Callable[..., Study]
PATIENCE = 240.0  # seconds that a busy machine may take to start a worker; an idle one takes ten


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


def test_slots_count_what_fits_on_each_living_node() -> None:
    nodes = [node(CPU=3.0), node(CPU=3.0), node(alive=False, CPU=64.0)]
    assert cluster_slots(nodes, 1, 0) == 6
    assert cluster_slots(nodes, 2, 0) == 2, "the rests of two nodes make no third"
    assert cluster_slots(nodes, 0.5, 0) == 12
    assert cluster_slots(nodes, 4, 0) == 0


@pytest.mark.parametrize("per_gpu", [1, 2, 3, 7])
def test_shares_of_a_gpu_fill_it_and_never_overflow(per_gpu: int) -> None:
    nodes = [node(CPU=64.0, GPU=2.0), node(CPU=64.0)]
    share = gpu_share(nodes, per_gpu)
    assert share * per_gpu <= 1
    assert cluster_slots(nodes, 1, share) == 2 * per_gpu, "a node without a GPU has no place for a cell then"


def test_no_gpu_is_asked_for_where_there_is_none_or_none_is_wanted() -> None:
    assert gpu_share([node(CPU=4.0), node(alive=False, CPU=4.0, GPU=8.0)], 1) == 0
    assert gpu_share([node(CPU=4.0, GPU=1.0)], 0) == 0


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install -c constraints.txt -e "\.\[ray\]"') as caught:
        RayExecutor()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:head"])
def test_no_cluster_at_the_address_is_one_line_at_once(address: str) -> None:
    with pytest.raises(InputError, match="^address: .*" + re.escape(repr(address))) as caught:
        RayExecutor(address)
    assert "\n" not in str(caught.value)


def test_a_cell_without_cores_is_refused() -> None:
    with pytest.raises(InputError, match="cpus_per_cell: got 0, expected more than 0"):
        RayExecutor(cpus_per_cell=0)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of this machine with a head of one core; nodes can be added and killed."""
    private = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    quiet = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(BUNDLE.parent), "OMP_NUM_THREADS": "1"}
    for name, value in {**private, **quiet}.items():
        monkeypatch.setenv(name, value)
    import ray

    # The names of Ray's sockets are long, and those of sockets limited: no folder of pytest's or $TMPDIR.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # A head leaves its address in a folder that only Ray's own command makes.
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        started = start_head(folder)
        try:
            yield started
        finally:
            ray.shutdown()  # a test that failed is connected still
            started.shutdown()


def start_head(folder: str, attempts: int = 4) -> Any:
    """Ray gives a node 30 s to be there, and a busy machine may need longer to start its helpers."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": folder}
    before = set(psutil.Process().children())
    try:
        return Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    except Exception as error:
        left = set(psutil.Process().children()) - before
        for process in left:
            process.kill()
        psutil.wait_procs(left)
        if attempts == 1 or "timed out during startup" not in str(error):
            raise
        return start_head(folder, attempts - 1)


class Witness:
    """Notes what goes into an executor and what comes out, and lets a test interfere."""

    def __init__(self, executor: RayExecutor, meanwhile: Callable[["Witness"], None]) -> None:
        self.executor = executor
        self.meanwhile = meanwhile
        self.submitted: list[str] = []
        self.seen: list[Outcome] = []

    @property
    def capacity(self) -> int:
        return self.executor.capacity

    def submit(self, task: CellTask) -> None:
        self.submitted.append(task.cell_id)
        self.executor.submit(task)

    def outcomes(self, timeout: float) -> Sequence[Outcome]:
        outcomes = self.executor.outcomes(timeout)
        self.seen += outcomes
        self.meanwhile(self)
        return outcomes

    def shutdown(self, grace: float = 5.0) -> None:
        self.executor.shutdown(grace)


def predictions(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("cells/*/predictions.csv")}


@pytest.mark.slow  # two nodes start and one dies: a minute
def test_a_study_survives_the_death_of_a_node(cluster: Any, tiny_study: Make, tmp_path: Path) -> None:
    study = tiny_study(overrides={"delay": 0.5}, axes=MITIGATED)
    doomed = [cluster.add_node(num_cpus=1)]

    def kill_a_node(witness: Witness) -> None:
        both_busy = witness.capacity == 2 and len(witness.submitted) - len(witness.seen) == 2
        if doomed and both_busy:
            cluster.remove_node(doomed.pop(), allow_graceful=False)

    before = signal.getsignal(signal.SIGTERM)
    witness = Witness(RayExecutor(cluster.address), kill_a_node)
    assert signal.getsignal(signal.SIGTERM) is before, "Ray took the driver's way of ending"
    end = StudyRun(study, tmp_path / "ray", lambda: witness).run()
    assert not doomed, "both nodes never worked at the same time"
    assert (end.finished, end.computed, end.failed) == (12, 12, {})
    ends = [outcome.status for outcome in witness.seen]
    assert ends.count("finished") == 12 and ends.count("lost") == 1 and len(ends) == 13
    assert sorted(witness.submitted) == sorted(outcome.cell_id for outcome in witness.seen)
    (lost,) = [outcome for outcome in witness.seen if outcome.status == "lost"]
    assert lost.error.startswith("the worker was lost: ") and "\n" not in lost.error
    assert lost.worker == f"node {socket.gethostname()}"
    StudyRun(study, tmp_path / "inline", InlineExecutor).run()
    assert predictions(tmp_path / "ray") == predictions(tmp_path / "inline")


def tasks(study: Study, folder: Path) -> list[CellTask]:
    folder.mkdir(exist_ok=True)
    return [task_of(cell, study, folder, bundle_config(study), None) for cell in expand(study)]


def outcome_of(executor: RayExecutor, task: CellTask) -> Outcome:
    executor.submit(task)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for outcome in executor.outcomes(1.0):
            return outcome
    raise AssertionError("no cell came back")


def cell_processes() -> list[psutil.Process]:
    """Processes that run cells, by their parents: Ray's workers."""
    processes = []
    for process in psutil.process_iter(["name", "cmdline", "ppid"]):
        command = " ".join(process.info["cmdline"] or [])
        if "multiprocessing" in command and "spawn_main" in command:
            parent = psutil.Process(process.info["ppid"]).cmdline()
            processes += [process] if parent and parent[0].startswith("ray::") else []
    return processes


def test_no_cell_runs_where_its_study_is_not_seen(tiny_study: Make, tmp_path: Path) -> None:
    (task,) = tasks(tiny_study(axes={"source": ["good"]}), tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    worker = RayWorker({}, {})
    try:
        outcome = worker.run(task)
    finally:
        worker._executor.shutdown(0)
    assert outcome is not None and outcome.status == "failed" and outcome.mistake
    assert "expected a file system that the driver and all nodes share" in outcome.error
    assert not (tmp_path / "gone").exists(), "results where nobody looks for them"


@pytest.mark.slow
def test_cells_stop_when_told(cluster: Any, tiny_study: Make, tmp_path: Path) -> None:
    executor = RayExecutor(cluster.address)
    (endless,) = tasks(tiny_study(axes={"source": ["good"]}, overrides={"delay": 900}), tmp_path / "endless")
    executor.submit(endless)
    log = tmp_path / "endless" / "logs" / f"{endless.cell_id}.txt"

    def begun() -> bool:
        # Asking for outcomes is what hands a cell to a worker that has started since.
        assert not executor.outcomes(timeout=0.1)
        return log.is_file() and "initialised" in log.read_text()

    wait_for(begun)
    at_work = cell_processes()
    started = time.monotonic()
    executor.shutdown(grace=20)
    assert time.monotonic() - started < 20, "killed after the grace, not interrupted"
    _, alive = psutil.wait_procs(at_work, timeout=20)
    assert at_work and not alive
    assert not list((tmp_path / "endless").glob("cells/*/metrics.json"))
    assert not list((tmp_path / "endless" / ".running").glob("*.json")), "still listed as running"


@pytest.mark.slow
def test_a_cell_that_kills_its_process_is_lost_and_the_next_one_runs(
    cluster: Any, tiny_study: Make, tmp_path: Path
) -> None:
    executor = RayExecutor(cluster.address)
    good, deadly = tasks(tiny_study(axes={"source": ["good", "deadly"], "fold": [0]}), tmp_path / "out")
    lost = outcome_of(executor, deadly)
    assert lost.status == "lost" and "killed by signal 9" in lost.error
    assert outcome_of(executor, good).status == "finished"
    executor.shutdown()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


DRIVER = """
import sys, time
from srcmatters.studies.executors.base import CellTask
from srcmatters.studies.executors.ray_executor import RayExecutor

if __name__ == "__main__":
    address, study_dir, config, bundle = sys.argv[1:]
    executor = RayExecutor(address or None, workers=1)
    settings = {"output_dir": study_dir + "/cells/c", "bundle_root": bundle, "delay": 900}
    executor.submit(CellTask("c", study_dir, (config,), settings))
    while True:
        executor.outcomes(1.0)
"""


def driver(tmp_path: Path, address: str) -> tuple["subprocess.Popen[bytes]", Path]:
    """A process that has one endless cell run, and the log in which the cell says that it has begun."""
    script, study_dir = tmp_path / "driver.py", tmp_path / "study"
    script.write_text(DRIVER)
    study_dir.mkdir()
    arguments = [address, str(study_dir), str(BUNDLE / "configs" / "train.yaml"), str(BUNDLE)]
    return subprocess.Popen([sys.executable, str(script), *arguments]), study_dir / "logs" / "c.txt"


def begun(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, "the driver has ended"
    return log.is_file() and "initialised" in log.read_text()


@pytest.mark.slow
def test_workers_end_with_a_driver_that_is_killed(cluster: Any, tmp_path: Path) -> None:
    process, log = driver(tmp_path, cluster.address)
    try:
        wait_for(lambda: begun(process, log))
        at_work = cell_processes()
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(at_work, timeout=30)
    assert at_work and not alive


@pytest.mark.slow
def test_a_cluster_of_its_own_listens_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(BUNDLE.parent))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    process, log = driver(tmp_path, "")
    try:
        wait_for(lambda: begun(process, log))
        family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        listening = [connection for connection in psutil.net_connections("inet") if connection.pid in family]
        listening = [connection for connection in listening if connection.status == psutil.CONN_LISTEN]
    finally:
        process.terminate()
        process.wait(60)
    assert listening
    addresses = {connection.laddr.ip.removeprefix("::ffff:") for connection in listening}
    assert addresses <= {"127.0.0.1", "::1"}
