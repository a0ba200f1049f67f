"""Killed, interrupted, resumed: real processes, and in the end the same study."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import psutil
import pytest

from srcmatters.studies.cells import expand
from srcmatters.studies.executors.local import LocalExecutor, local_slots
from srcmatters.studies.records import read_json
from srcmatters.studies.runner import StudyRun
from srcmatters.studies.state import read_state
from srcmatters.studies.study_file import Study

Make = Callable[..., Study]
PATIENCE = 900  # seconds until even a busy machine has imported everything


def workers(count: int = 2) -> LocalExecutor:
    return LocalExecutor(local_slots(count))


def drive(study: Study, folder: Path) -> None:
    """A driver in a process of its own, which need not import anything again."""
    os.setsid()
    # Tests that were started in the background of a shell have inherited a deaf ear to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        StudyRun(study, folder, workers).run()
    except KeyboardInterrupt:
        os._exit(130)
    os._exit(0)


def started(study: Study, folder: Path) -> psutil.Process:
    process = multiprocessing.get_context("fork").Process(target=drive, args=(study, folder))
    process.start()
    assert process.pid is not None
    return psutil.Process(process.pid)


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


def finished(folder: Path) -> int:
    return len(list(folder.glob("cells/*/metrics.json")))


def predictions(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("cells/*/predictions.csv")}


def working(folder: Path) -> list[int]:
    """Processes that work on a cell now; a killed one leaves its mark until another takes its cell."""
    marks = [read_json(path) for path in folder.glob(".running/*.json") if path.name != "driver.json"]
    pids = [int(who["pid"]) for who in marks if who]
    return [pid for pid in pids if psutil.pid_exists(pid) and not is_dead(psutil.Process(pid))]


def is_dead(process: psutil.Process) -> bool:
    """Gone, or only waiting for its parent to take notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def in_the_end_nobody_is_left(tmp_path: Path) -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    for child in left:
        if "resource_tracker" not in " ".join(child.cmdline()):
            child.kill()


def undisturbed(study: Study, folder: Path, inline: Callable[[], object]) -> dict[str, bytes]:
    StudyRun(study, folder, inline).run()  # type: ignore[arg-type]
    return predictions(folder)


def check_equal_to_undisturbed(study: Study, out: Path, whole: dict[str, bytes], store: str) -> None:
    assert predictions(out) == whole
    assert not list(out.glob("cells/*/.unfinished-*")), "a killed worker's files are still there"
    mlflow.set_tracking_uri(store)
    runs = mlflow.search_runs(experiment_names=[study.name])
    parents = runs[runs["tags.mlflow.parentRunId"].isna()]
    assert parents["status"].tolist() == ["FINISHED"]
    assert set(runs["status"]) <= {"FINISHED", "FAILED", "KILLED"}
    done = runs[(runs["tags.mlflow.parentRunId"].notna()) & (runs["status"] == "FINISHED")]
    assert sorted(done["tags.cell"]) == sorted(whole), "a cell is in MLflow twice or not at all"


@pytest.mark.usefixtures("in_the_end_nobody_is_left")
@pytest.mark.slow  # Ray starts twice: a minute
def test_workers_and_driver_killed_the_finished_study_is_the_same(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    from conftest import MITIGATED, InlineExecutor

    whole = undisturbed(tiny_study(axes=MITIGATED), tmp_path / "whole", InlineExecutor)
    study = tiny_study(tracking_uri=store, overrides={"delay": 0.5}, axes=MITIGATED)
    out = tmp_path / "out"
    names = {cell.cell_id.rpartition("-")[0]: cell.cell_id for cell in expand(study)}
    whole = {names[cell.rpartition("-")[0]]: content for cell, content in whole.items()}
    driver = started(study, out)
    wait_for(lambda: finished(out) >= 1 and working(out), "a first cell")
    os.kill(working(out)[0], signal.SIGKILL)
    wait_for(lambda: finished(out) >= 4 and working(out), "cells after a worker was killed")
    orphans = [psutil.Process(pid) for pid in working(out)]
    driver.kill()
    driver.wait()
    psutil.wait_procs(orphans, timeout=10)
    assert all(is_dead(orphan) for orphan in orphans), "a worker outlived its driver"
    assert 4 <= finished(out) < 12
    state = read_state(out)
    assert not state.driver and not state.running and state.waiting == 12 - finished(out)
    end = StudyRun(study, out, workers).run()
    assert end.finished == 12 and not end.failed and end.computed == state.waiting
    check_equal_to_undisturbed(study, out, whole, store)


@pytest.mark.usefixtures("in_the_end_nobody_is_left")
@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_study_ends_in_seconds_and_can_go_on(
    tiny_study: Make, store: str, tmp_path: Path, kind: signal.Signals
) -> None:
    study, out = tiny_study(tracking_uri=store, overrides={"delay": 30}), tmp_path / "out"
    driver = started(study, out)
    wait_for(lambda: len(working(out)) == 2, "two cells")
    children = driver.children(recursive=True)
    time.sleep(1)
    since = time.monotonic()
    if kind == signal.SIGINT:
        os.killpg(driver.pid, kind)  # as a terminal does: workers get it as well
    else:
        driver.send_signal(kind)
    assert driver.wait(PATIENCE) == 130
    assert time.monotonic() - since < 15
    psutil.wait_procs(children, timeout=5)
    assert all(is_dead(child) for child in children)
    assert finished(out) == 0 and not list(out.glob("cells/*/*"))
    assert not read_state(out).failures, "an interruption is no failure"
    mlflow.set_tracking_uri(store)
    assert set(mlflow.search_runs(experiment_names=["tiny"])["status"]) == {"KILLED"}


@pytest.mark.slow
@pytest.mark.usefixtures("in_the_end_nobody_is_left")
def test_workers_in_the_middle_of_a_cell_end_with_a_driver_that_is_killed(
    tiny_study: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = started(tiny_study(overrides={"delay": 60}), out)
    wait_for(lambda: working(out), "a cell")
    children = driver.children(recursive=True)
    driver.kill()
    driver.wait()
    psutil.wait_procs(children, timeout=10)
    assert all(is_dead(child) for child in children)
    assert finished(out) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("in_the_end_nobody_is_left")
def test_a_cell_that_kills_its_worker_is_given_up_and_the_others_finish(
    tiny_study: Make, tmp_path: Path
) -> None:
    study = tiny_study(axes={"source": ["deadly", "good"], "fold": [0]})
    end = StudyRun(study, tmp_path / "out", lambda: workers(1)).run()
    assert end.finished == 1
    assert {outcome.error for outcome in end.failed.values()} == {
        "the worker was killed by signal 9 (out of memory?)"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_the_end_nobody_is_left")
def test_twenty_kills_at_random_moments(tiny_study: Make, store: str, tmp_path: Path) -> None:
    from conftest import InlineExecutor

    axes = {"source": ["good", "better"], "p_art": [0, 0.1, 0.5, 0.8, 1], "fold": [0, 1, 2, 3]}
    study, out = tiny_study(tracking_uri=store, overrides={"delay": 1}, axes=axes), tmp_path / "out"
    quick = tiny_study(axes=axes)
    quick_cells = {cell.cell_id: number for number, cell in enumerate(expand(quick))}
    ids = [cell.cell_id for cell in expand(study)]
    whole = {
        ids[quick_cells[name]]: content
        for name, content in undisturbed(quick, tmp_path / "whole", InlineExecutor).items()
    }
    dice = random.Random(os.environ.get("SRCMATTERS_TEST_SEED", "0"))
    kills = 0
    while kills < 20 and finished(out) < len(ids):
        driver = started(study, out)
        wait_for(lambda: working(out) or finished(out) == len(ids), "work")
        while kills < 20 and finished(out) < len(ids) and driver.is_running():
            time.sleep(dice.uniform(0, 3))
            victims = [*working(out), driver.pid]
            victim = dice.choice(victims)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
            if victim == driver.pid:
                driver.wait()
    assert kills == 20, f"only {kills} kills before the end"
    if driver.is_running():
        driver.kill()
        driver.wait()
    end = StudyRun(study, out, workers).run()
    assert end.finished == len(ids) and not end.failed
    check_equal_to_undisturbed(study, out, whole, store)


@pytest.mark.parametrize(
    ("gpus", "workers", "per_gpu", "devices"),
    [
        ([], None, 1, [None] * 4),
        ([], 3, 1, [None] * 3),
        ([80, 80], None, 1, ["0", "1"]),
        ([80, 80], None, 2, ["0", "1", "0", "1"]),
        ([80], 3, 1, ["0", "0", "0"]),
    ],
)
def test_workers_share_cores_and_gpus(gpus: list, workers: int | None, per_gpu: int, devices: list) -> None:
    slots = local_slots(workers, gpus, per_gpu, cores=4)
    assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in slots] == devices
    assert all(int(slot["OMP_NUM_THREADS"]) == (max(1, 4 // len(slots)) if gpus else 1) for slot in slots)
