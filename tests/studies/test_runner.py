"""Every cell once, whatever happens to the process, the disk or MLflow."""

import errno
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from conftest import InlineExecutor

from srcmatters.errors import InputError
from srcmatters.studies.cells import expand
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.records import CellPlace, StudyLock
from srcmatters.studies.runner import StudyEnd, StudyRun
from srcmatters.studies.state import read_state
from srcmatters.studies.study_file import Study

Make = Callable[..., Study]


def run(study: Study, folder: Path, executor: InlineExecutor | None = None, **options: object) -> StudyEnd:
    used = executor or InlineExecutor()
    return StudyRun(study, folder, lambda: used, **options).run()  # type: ignore[arg-type]


def predictions(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("cells/*/predictions.csv")}


def runs_of(store: str) -> pd.DataFrame:
    mlflow.set_tracking_uri(store)
    return mlflow.search_runs(experiment_names=["tiny"])


def test_a_finished_cell_is_never_run_again(tiny_study: Make, tmp_path: Path) -> None:
    study, out = tiny_study(), tmp_path / "out"
    first = run(study, out, limit=5)
    assert (first.finished, first.computed) == (5, 5)
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*")}
    executor = InlineExecutor()
    second = run(study, out, executor)
    assert (second.finished, second.computed) == (12, 7) and len(executor.order) == 7
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert run(study, out).computed == 0
    assert len(set(predictions(out).values())) == 12, "two cells wrote the same"


def test_what_a_cell_prints_is_in_its_log(
    tiny_study: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    end = run(tiny_study(), tmp_path / "out", limit=1)
    assert end.computed == 1
    logs = list((tmp_path / "out" / "logs").iterdir())
    assert len(logs) == 1 and "initialised" in logs[0].read_text()
    assert "initialised" not in "".join(capfd.readouterr())


def test_a_failing_cell_is_retried_recorded_and_stops_nobody(tiny_study: Make, tmp_path: Path) -> None:
    study = tiny_study(axes={"source": ["broken", "good", "flaky"], "fold": [0]})
    executor, out = InlineExecutor(), tmp_path / "out"
    end = run(study, out, executor)
    assert end.finished == 2 and len(executor.order) == 5  # broken twice, flaky twice, good once
    (cell_id,) = end.failed
    failure = json.loads(CellPlace(out, cell_id).failure.read_text())
    assert failure["attempts"] == 2 and failure["error"] == "RuntimeError: the network fell apart"
    assert "tiny_cell.py" in failure["traceback"] and failure["axes"]["source"] == "broken"
    assert list(read_state(out).failures) == [cell_id]


def test_a_failure_is_forgotten_when_the_cell_has_finished(tiny_study: Make, tmp_path: Path) -> None:
    study = tiny_study(axes={"source": ["flaky"], "fold": [0]}, retries=0)
    assert len(run(study, tmp_path / "out").failed) == 1
    assert run(study, tmp_path / "out").finished == 1
    assert not read_state(tmp_path / "out").failures


def test_a_mistake_is_not_retried(tiny_study: Make, tmp_path: Path) -> None:
    executor = InlineExecutor()
    end = run(tiny_study(axes={"source": ["good", "mistake"], "fold": [0]}), tmp_path / "out", executor)
    assert len(executor.order) == 2
    assert [outcome.error for outcome in end.failed.values()] == ["source: mistake is none"]


def test_a_mistake_of_all_cells_ends_the_study_early(tiny_study: Make, tmp_path: Path) -> None:
    executor = InlineExecutor()
    with pytest.raises(InputError, match="source: mistake is none"):
        run(tiny_study(axes={"source": ["mistake"], "fold": [0, 1, 2, 3, 4]}), tmp_path / "out", executor)
    assert len(executor.order) == 3 and executor.ended


def test_a_lost_cell_is_handed_to_another_worker(tiny_study: Make, tmp_path: Path) -> None:
    losses = [True, False, True, True, False, True]

    def lose(task: CellTask) -> Outcome | None:
        return Outcome(task.cell_id, "lost") if losses and losses.pop() else None

    end = run(tiny_study(), tmp_path / "out", InlineExecutor(lose))
    assert end.finished == 12 and not end.failed


def test_a_cell_that_kills_every_worker_is_given_up(tiny_study: Make, tmp_path: Path) -> None:
    executor = InlineExecutor(lambda task: Outcome(task.cell_id, "lost", error="the worker was killed"))
    end = run(tiny_study(axes={"source": ["good"], "fold": [0]}), tmp_path / "out", executor)
    assert len(executor.order) == 4
    assert [outcome.error for outcome in end.failed.values()] == ["the worker was killed"]


def test_a_second_driver_is_refused_with_the_process_of_the_first(tiny_study: Make, tmp_path: Path) -> None:
    with (
        StudyLock(tmp_path / "out").held(),
        pytest.raises(InputError, match=rf"process {os.getpid()} .* is running the study in .*out"),
    ):
        run(tiny_study(), tmp_path / "out")
    assert run(tiny_study(), tmp_path / "out", limit=1).computed == 1


def test_one_file_in_two_folders_makes_two_equal_studies(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    study = tiny_study(tracking_uri=store)

    def other_first(task: CellTask) -> None:
        if not (tmp_path / "two").exists():  # MLflow's active runs belong to a thread
            other = threading.Thread(target=run, args=(study, tmp_path / "two"), kwargs={"limit": 6})
            other.start()
            other.join()

    run(study, tmp_path / "one", InlineExecutor(other_first), limit=6)
    assert predictions(tmp_path / "one") == predictions(tmp_path / "two")
    runs = runs_of(store)
    assert (runs["status"] == "FINISHED").all() and len(runs) == 14
    assert runs["tags.mlflow.parentRunId"].value_counts().tolist() == [6, 6]


def test_mlflow_has_one_parent_and_every_cell_below_it(tiny_study: Make, store: str, tmp_path: Path) -> None:
    study = tiny_study(tracking_uri=store, analysis={"metric": "ood_auc"})
    run(study, tmp_path / "out", limit=3)
    run(study, tmp_path / "out")
    runs = runs_of(store)
    parents = runs[runs["tags.mlflow.parentRunId"].isna()]
    assert len(runs) == 13 and len(parents) == 1
    parent = parents.iloc[0]
    assert parent["status"] == "FINISHED" and parent["tags.study.source"] == "good, better"
    children = runs[runs["tags.mlflow.parentRunId"] == parent["run_id"]]
    assert set(children["tags.cell"]) == {cell.cell_id for cell in expand(study)}
    assert {"0.0", "0.5", "1.0"} == set(children["tags.p_art"])
    kept = {item.path for item in mlflow.MlflowClient(store).list_artifacts(parent["run_id"])}
    assert {"study.yaml", "analysis_plan.yaml"} <= kept


def test_a_new_store_gets_the_cells_that_finished_in_the_one_that_is_gone(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    new = f"sqlite:///{tmp_path}/new.db"
    shutil.copy(store.removeprefix("sqlite:///"), new.removeprefix("sqlite:///"))
    run(tiny_study(tracking_uri=store), tmp_path / "out", limit=3)
    second = run(tiny_study(tracking_uri=new), tmp_path / "out")
    assert second.remarks == ("3 cells were logged to MLflow from their files",)
    runs = runs_of(new)
    assert set(runs["tags.cell"].dropna()) == {cell.cell_id for cell in expand(tiny_study())}
    assert len(runs) == 13 and not run(tiny_study(tracking_uri=new), tmp_path / "out").remarks
    assert len(runs_of(new)) == 13


def test_the_parent_of_an_interrupted_study_is_continued(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    study = tiny_study(tracking_uri=store)

    def interrupt(task: CellTask) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "out", InlineExecutor(interrupt))
    assert runs_of(store)["status"].tolist() == ["KILLED"]
    run(study, tmp_path / "out", limit=1)
    runs = runs_of(store)
    assert runs["status"].tolist() == ["FINISHED"] * 2
    assert runs["tags.mlflow.parentRunId"].notna().sum() == 1


def test_an_interruption_ends_the_runs_of_workers_that_could_not(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    worker = subprocess.Popen(["sleep", "0"])
    worker.wait()

    def open_a_run_and_be_interrupted(task: CellTask) -> None:
        tags = {"srcmatters.pid": str(worker.pid), "srcmatters.host": socket.gethostname()}
        client = mlflow.MlflowClient(store)
        client.create_run(client.get_experiment_by_name("tiny").experiment_id, tags=tags)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_study(tracking_uri=store), tmp_path / "out", InlineExecutor(open_a_run_and_be_interrupted))
    assert runs_of(store)["status"].tolist() == ["KILLED"] * 2


def test_the_store_is_not_searched_for_dead_runs_before_every_cell(
    tiny_study: Make, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []
    search = mlflow.MlflowClient.search_runs

    def counted(*arguments: object, **words: object) -> object:
        searches.append(arguments)
        return search(*arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", counted)
    run(tiny_study(tracking_uri=store), tmp_path / "out")
    assert 1 <= len(searches) <= 3


def test_a_store_lost_on_the_way_costs_no_result_and_is_made_up_for(
    tiny_study: Make, store: str, tmp_path: Path
) -> None:
    study, out = tiny_study(tracking_uri=store), tmp_path / "out"
    database = tmp_path / "mlruns" / "mlflow.db"
    kept = tmp_path / "kept"
    started: list[str] = []

    def lose_store(task: CellTask) -> None:
        started.append(task.cell_id)
        if len(started) == 4:
            mlflow.tracking._tracking_service.utils._get_store().engine.dispose()
            database.rename(kept)
            database.mkdir()

    end = run(study, out, InlineExecutor(lose_store))
    assert end.finished == 12 and not end.failed
    assert any("run the study again" in remark for remark in end.remarks)
    database.rmdir()
    kept.rename(database)
    again = run(study, out)
    assert again.computed == 0 and any(remark.startswith("9 cells were logged") for remark in again.remarks)
    runs = runs_of(store)
    children = runs[runs["tags.mlflow.parentRunId"].notna() & (runs["status"] == "FINISHED")]
    assert len(children) == 12 and children["metrics.iid_auc"].notna().all()
    assert run(study, out).remarks == ()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/mlflow.db"])
def test_an_unreachable_store_is_said_before_anything_runs(
    tiny_study: Make, tmp_path: Path, uri: str
) -> None:
    executor = InlineExecutor()
    with pytest.raises(InputError, match="tracking_uri"):
        run(tiny_study(tracking_uri=uri), tmp_path / "out", executor)
    assert not executor.order


def test_a_changed_analysis_plan_is_noted_once_there_are_results(tiny_study: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(tiny_study(analysis={"p_art": 1}), out, limit=2).remarks == ()
    assert run(tiny_study(analysis={"p_art": 1}), out, limit=1).remarks == ()
    (remark,) = run(tiny_study(analysis={"p_art": 0.5}), out, limit=1).remarks
    assert "the analysis plan was changed after 3 cells" in remark
    changes = json.loads((out / "study.json").read_text())["analysis_changes"]
    assert changes == [{"before": {"p_art": 1}, "finished_cells": 3}]


def test_cells_of_another_configuration_are_mentioned(tiny_study: Make, tmp_path: Path) -> None:
    run(tiny_study(), tmp_path / "out", limit=2)
    (remark,) = run(tiny_study(overrides={"delay": 0.001}), tmp_path / "out", limit=1).remarks
    assert remark.startswith("2 finished cells of another configuration")


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: this takes root and mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_nothing_is_lost(
    tiny_study: Make, tmp_path: Path, small_disk: Path
) -> None:
    study, out = tiny_study(), small_disk / "out"
    ballast = small_disk / "ballast"

    def fill(task: CellTask) -> None:
        if len(list(out.glob("cells/*/metrics.json"))) == 4 and not ballast.exists():
            with ballast.open("wb", buffering=0) as file:
                while True:
                    try:
                        file.write(b"0" * 4096)
                    except OSError:
                        return

    with pytest.raises(InputError, match="no space left for") as caught:
        run(study, out, InlineExecutor(fill))
    assert "\n" not in str(caught.value)
    ballast.unlink()
    assert run(study, out).finished == 12
    whole = tmp_path / "whole"
    run(study, whole)
    assert predictions(out) == predictions(whole)


def test_a_full_disk_while_recording_is_one_line(
    tiny_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    executor = InlineExecutor(lambda task: Outcome(task.cell_id, "failed", error="x", mistake=True))
    monkeypatch.setattr("srcmatters.studies.runner.StudyRun._settle", full)
    with pytest.raises(InputError, match=r"output_dir: no space left for .*run the study again"):
        run(tiny_study(), tmp_path / "out", executor)
    assert executor.ended


def test_the_end_of_a_study_is_concluded_once_all_cells_are_there(tiny_study: Make, tmp_path: Path) -> None:
    seen: list[Path] = []

    def conclude(folder: Path) -> Path:
        seen.append(folder)
        return folder / "cells"

    run(tiny_study(), tmp_path / "out", conclude=conclude)
    assert seen == [tmp_path / "out"]
    end = run(tiny_study(), tmp_path / "out", conclude=lambda folder: 1 / 0)  # type: ignore[arg-type,return-value]
    assert end.finished == 12 and "the cells are complete, but not the report" in end.remarks[0]
