"""MLflow: one store, honest ends, nobody's name."""

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from srcmatters.errors import InputError
from srcmatters.runs import Tracker
from srcmatters.runs.code_version import commit_of, git_commit
from srcmatters.runs.mlflow_store import default_experiment_name, default_tracking_uri, require_usable
from srcmatters.runs.mlflow_tracking import end_dead_runs
from srcmatters.runs.pseudonyms import pseudonymise

SETTINGS = {
    "source": "random",
    "target": "phantom",
    "network": "resnet18",
    "confounder": "tag",
    "p_art": 0.5,
    "fold": 0,
    "seed": 3,
    "protocol": "corrected",
    "image_size": 32,
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: making its tables takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def new_store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.fixture
def store(template: Path, new_store: str, tmp_path: Path) -> str:
    (tmp_path / "mlruns").mkdir()
    shutil.copy(template, tmp_path / "mlruns" / "mlflow.db")
    return new_store


def runs_of(store: str, experiment: str = "test") -> pd.DataFrame:
    mlflow.set_tracking_uri(store)
    return mlflow.search_runs(experiment_names=[experiment])


def test_a_finished_run_has_tags_parameters_metrics_and_artifacts(store: str, tmp_path: Path) -> None:
    tracker = Tracker(store, "test", SETTINGS)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "a.txt").write_text("a")
    with tracker.run():
        tracker.log_metrics({"train_loss": 1.0}, step=1)
        tracker.log_metrics({"train_loss": 0.5}, step=2)
        tracker.log_folder(tmp_path / "evidence")
        tracker.log_cohort(pd.DataFrame({"label": [0, 1], "sex": ["F", "M"]}), "phantom", "ab" * 32)
    run = runs_of(store).iloc[0]
    assert run["status"] == "FINISHED"
    assert run["tags.source"] == "random" and run["tags.p_art"] == "0.5" and run["tags.git_commit"]
    assert run["params.image_size"] == "32" and run["metrics.train_loss"] == 0.5
    assert str(tmp_path / "mlruns" / "artifacts") in run["artifact_uri"]
    data = mlflow.get_run(run["run_id"]).inputs.dataset_inputs[0].dataset
    assert data.name == "phantom" and data.digest == ("ab" * 32)[:36]
    history = mlflow.MlflowClient(store).get_metric_history(run["run_id"], "train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_unfinished_run_says_so(store: str, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), Tracker(store, "test", SETTINGS).run():
        raise error
    assert runs_of(store)["status"].tolist() == [status]


def test_a_run_that_is_interrupted_while_it_opens_ends_as_well(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = mlflow.start_run

    def interrupted(**settings: object) -> None:
        start(**settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "start_run", interrupted)
    with pytest.raises(KeyboardInterrupt), Tracker(store, "test", SETTINGS).run():
        pytest.fail("it was never open")
    assert runs_of(store)["status"].tolist() == ["KILLED"]


def test_a_run_that_cannot_be_opened_leaves_its_callers_run_open(store: str) -> None:
    mlflow.set_tracking_uri(store)
    with mlflow.start_run() as outer:
        with pytest.raises(InputError), Tracker(store, "test", SETTINGS, parent_run_id="none").run():
            pytest.fail("it has no parent")
        assert mlflow.get_run(outer.info.run_id).info.status == "RUNNING"


@pytest.mark.slow
def test_a_killed_process_is_marked_failed_by_the_next_run(store: str) -> None:
    code = (
        "import os, signal\nfrom srcmatters.training import Tracker\n"
        f"with Tracker({store!r}, 'test', {SETTINGS!r}).run():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert runs_of(store)["status"].tolist() == ["RUNNING"]
    with Tracker(store, "test", SETTINGS).run():
        pass
    assert sorted(runs_of(store)["status"]) == ["FAILED", "FINISHED"]


def test_a_run_that_still_lives_is_left_alone(store: str) -> None:
    with Tracker(store, "test", SETTINGS).run():
        mlflow.MlflowClient(store).create_run("0")  # somebody else's run, without our tags
        end_dead_runs(mlflow.MlflowClient(store), mlflow.get_experiment_by_name("test").experiment_id)
        assert runs_of(store)["status"].tolist() == ["RUNNING"]


def test_the_run_table_opens_with_the_comparison(new_store: str) -> None:
    tracker = Tracker(new_store, "test", SETTINGS)
    with tracker.run():
        pass
    tags = mlflow.MlflowClient(new_store).get_experiment(tracker.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.comparison"])
    assert {"tags.`source`", "metrics.`iid_auc`", "metrics.`ood_auc`"} <= set(view["selectedColumns"])
    (chart,), (section,) = view["compareRunCharts"], view["compareRunSections"]
    assert chart["metricSectionId"] == section["uuid"]  # else MLflow does not draw it
    assert (chart["selectedParams"][0], chart["selectedMetrics"]) == ("source", ["ood_auc"])
    assert (
        f"#/experiments/{tracker.experiment_id}/runs?viewStateShareKey=comparison" in tracker.where_to_look()
    )


def test_where_to_look_is_right_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("sqlite:///mlruns/mlflow.db", "test", SETTINGS)
    assert f"--backend-store-uri sqlite:///{tmp_path}/mlruns/mlflow.db," in tracker.where_to_look()


def test_no_two_runs_have_the_same_name(store: str) -> None:
    for _ in range(3):
        with Tracker(store, "test", SETTINGS).run():
            pass
    assert runs_of(store)["tags.mlflow.runName"].nunique() == 3


def _open_run(store: str) -> None:
    with Tracker(store, "test", SETTINGS).run():
        pass


def test_two_first_runs_at_once_both_find_their_tables(new_store: str) -> None:
    # Without a lock the second process meets half-made tables (seen with two fine-tunings in parallel).
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open_run, args=(new_store,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert runs_of(new_store)["status"].tolist() == ["FINISHED", "FINISHED"]


def test_a_run_can_be_nested_in_a_parent(store: str) -> None:
    parent = Tracker(store, "test", SETTINGS)
    with parent.run():
        pass
    with Tracker(store, "test", SETTINGS, parent_run_id=parent.run_id).run():
        pass
    assert runs_of(store)["tags.mlflow.parentRunId"].dropna().tolist() == [parent.run_id]


@pytest.mark.parametrize(
    "uri", ["sqlite:////proc/mlflow.db", "nonsense://here", "http://user:secret@127.0.0.1:9"]
)
def test_a_store_that_cannot_be_used_is_said_in_one_line(uri: str) -> None:
    with pytest.raises(InputError, match="tracking_uri") as caught, Tracker(uri, "test", SETTINGS).run():
        pass
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_database_that_may_not_be_written_is_said_before_mlflow_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everything
    with pytest.raises(InputError, match=r"mlflow\.db may not be written"):
        require_usable(f"sqlite:///{tmp_path}/mlflow.db")
    require_usable(f"sqlite:///{tmp_path}/new.db")


def test_a_store_that_fails_in_an_epoch_does_not_cost_the_training(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(store, "test", SETTINGS)

    def refuse(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("gone")

    with tracker.run():
        monkeypatch.setattr(mlflow, "log_metrics", refuse)
        with pytest.warns(UserWarning, match="did not take the metrics of step 3: gone"):
            tracker.log_metrics({"a": 1.0}, step=3)
    assert runs_of(store)["status"].tolist() == ["FINISHED"]


def test_no_git_is_no_reason_to_refuse(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    git_commit.cache_clear()  # an earlier test may have asked
    with Tracker(store, "test", SETTINGS).run():
        pass
    git_commit.cache_clear()
    assert runs_of(store)["tags.git_commit"].tolist() == ["unknown"]


def test_a_parent_that_does_not_exist_is_named(store: str) -> None:
    tracker = Tracker(store, "test", SETTINGS, parent_run_id="nobody")
    with pytest.raises(InputError, match="parent_run_id: 'nobody'"), tracker.run():
        pass


def test_a_password_in_the_address_is_not_shown() -> None:
    tracker = Tracker("http://user:secret@server:5000", "test", SETTINGS)
    assert tracker.where_to_look().startswith("http://server:5000/#/experiments/")


def test_without_a_store_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("", "test", SETTINGS)
    with tracker.run():
        tracker.log_metrics({"a": 1.0})
        tracker.log_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pseudonyms_are_stable_here_and_hide_the_identifier(tmp_path: Path) -> None:
    table = pd.DataFrame({"case_id": ["Doe^Jane", "b"], "patient_id": ["4711", "4711"], "fold": [0, 0]})
    table["label"], table["score_clean"], table["findings"] = [0, 1], [0.1, 0.9], ["Jane Doe", ""]
    table["environment"] = ["iid", "ood"]  # without it a sampled confounder's table cannot be evaluated
    hidden = pseudonymise(table, tmp_path)
    assert hidden["environment"].tolist() == ["iid", "ood"]
    text = hidden.to_csv()
    assert not any(word in text for word in ("Doe", "Jane", "4711"))
    assert hidden["patient_id"].nunique() == 1 and hidden["case_id"].nunique() == 2
    assert hidden.equals(pseudonymise(table, tmp_path))
    assert not hidden["case_id"].equals(pseudonymise(table, tmp_path / "elsewhere")["case_id"])
    assert os.stat(tmp_path / "pseudonym-salt").st_mode & 0o077 == 0


def test_a_nested_run_leaves_dead_runs_to_its_parent(store: str) -> None:
    client = mlflow.MlflowClient(store)
    parent = Tracker(store, "test", SETTINGS, system_metrics=False)
    with parent.run():
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        tags = {"srcmatters.pid": str(dead.pid), "srcmatters.host": socket.gethostname()}
        killed = client.create_run(str(parent.experiment_id), tags=tags).info.run_id
        with Tracker(store, "test", SETTINGS, parent_run_id=parent.run_id, tags={"cell": 7}).run():
            assert client.get_run(killed).info.status == "RUNNING"
        end_dead_runs(client, str(parent.experiment_id))
        assert client.get_run(killed).info.status == "FAILED"
        assert client.get_run(str(parent.run_id)).info.status == "RUNNING"
    assert runs_of(store)["tags.cell"].dropna().tolist() == ["7"]


def test_an_interrupted_run_can_be_continued_and_a_deleted_one_is_not(store: str) -> None:
    first = Tracker(store, "test", SETTINGS, name="study", system_metrics=False)
    with pytest.raises(KeyboardInterrupt), first.run():
        raise KeyboardInterrupt
    second = Tracker(store, "test", {}, continues=first.run_id, tags={"again": "yes"})
    with second.run():
        assert runs_of(store)["status"].tolist() == ["RUNNING"]
    assert second.run_id == first.run_id
    assert runs_of(store)["status"].tolist() == ["FINISHED"] and runs_of(store)["tags.again"][0] == "yes"
    mlflow.MlflowClient(store).delete_run(str(first.run_id))
    for gone in (first.run_id, "nobody"):
        third = Tracker(store, "test", SETTINGS, continues=gone, system_metrics=False)
        with third.run():
            pass
        assert third.run_id not in (first.run_id, "nobody")


def test_a_run_goes_into_the_users_own_and_gives_their_store_back(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri(store)
    with mlflow.start_run() as outer, Tracker(store, "test", SETTINGS).run():
        assert mlflow.active_run() is not outer
    run = runs_of(store).iloc[0]
    assert run["tags.mlflow.parentRunId"] == outer.info.run_id
    other = f"sqlite:///{tmp_path}/other.db"
    shutil.copy(tmp_path / "mlruns" / "mlflow.db", tmp_path / "other.db")
    mlflow.set_tracking_uri(other)
    message = r"an MLflow run is open in sqlite.*other\.db"
    with mlflow.start_run(), pytest.raises(InputError, match=message), Tracker(store, "test", SETTINGS).run():
        pytest.fail("it ran")
    with Tracker(store, "test", SETTINGS).run():
        assert mlflow.get_tracking_uri() == store
    assert mlflow.get_tracking_uri() == other and os.environ["MLFLOW_TRACKING_URI"] == other


def test_the_environment_names_store_and_experiment_of_every_run(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_tracking_uri() == "sqlite:///mlruns/mlflow.db" and default_experiment_name("b") == "b"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    with Tracker(store, "test", SETTINGS).run():
        pass
    assert default_tracking_uri() == "http://server" and default_experiment_name("b") == "ours"


def test_the_run_of_the_environment_is_continued_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri(store)
    with Tracker(store, "test", {}, name="first").run():
        first = mlflow.active_run().info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", first)
    for name in ("into the first", "a new one"):
        with Tracker(store, "test", {}, tags={"said": name}).run():
            pass
    runs = runs_of(store).set_index("run_id")
    assert len(runs) == 2 and runs.loc[first, "tags.said"] == "into the first"
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(InputError, match="MLFLOW_RUN_ID: '0000"), Tracker(store, "test", {}).run():
        pytest.fail("it ran")


def test_neither_login_nor_install_path_nor_exact_age_is_in_the_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "mustermann")
    with Tracker(store, "test", SETTINGS).run():
        tracker = Tracker(None, "test", SETTINGS)
        tracker.run_id = mlflow.active_run().info.run_id
        tracker.log_cohort(pd.DataFrame({"label": [0, 1]}), "phantom", "ab" * 32)
    content = (tmp_path / "mlruns" / "mlflow.db").read_bytes()
    assert b"mustermann" not in content
    assert str(Path(mlflow.__file__).parents[1]).encode() not in content
    assert str(Path(__file__).parents[2] / "srcmatters").encode() not in content
    table = pd.DataFrame({"case_id": ["a"] * 4, "patient_id": ["p"] * 4, "age": [7, 63, 94, None]})
    assert pseudonymise(table, tmp_path)["age"].tolist() == [0, 60, 90, pd.NA]


def test_the_address_is_printed_before_anything_is_sent(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    monkeypatch.setattr(mlflow, "get_experiment_by_name", lambda _: outputs.append(capsys.readouterr().out))
    monkeypatch.setattr(mlflow, "create_experiment", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError), Tracker(store, "test", SETTINGS).run():
        pass
    assert outputs == [f"MLflow: experiment 'test' in {store}\n"]


def test_the_commit_is_that_of_the_packages_own_repository_and_says_dirty(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bundles.py").write_text("")

    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "other.txt").write_text("")
    git("add", "other.txt")
    git("commit", "-qm", "a project around an installed package")
    assert commit_of(package) == "unknown"
    git("add", ".")
    git("commit", "-qm", "the package itself")
    commit = git("rev-parse", "HEAD")
    assert commit_of(package) == commit
    (tmp_path / "other.txt").write_text("changed, and none of the package's")
    assert commit_of(package) == commit
    (package / "__init__.py").write_text("changed = True")
    assert commit_of(package) == f"{commit}-dirty"


def test_mlflow_reports_to_nobody_even_if_it_was_imported_before_us() -> None:
    code = "import os; os.environ.pop('CI', 0); os.environ.pop('PYTEST_CURRENT_TEST', 0); import mlflow; "
    code += "import mlflow.telemetry.client as c; before = c.get_telemetry_client(); import srcmatters; "
    code += "print(before is not None, c.get_telemetry_client() is None)"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["True", "True"]
