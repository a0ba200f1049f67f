"""A ranking of sources finds what was planted, ranks none that knows nothing, and writes what it found."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.source_comparison.frozen_lean import drawn_state, frozen_lean, robustness_index
from srcmatters.source_comparison.rank_run import RankRun, sources_here
from srcmatters.source_comparison.rank_tables import remarks
from srcmatters.source_comparison.ranking import SourceRanking, _ranked

CASES = 120


def planted(label: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Features in whose first column the label is, and in whose second the confounder adds ``shift``."""
    stream = np.random.default_rng(seed)
    labels = np.tile([0, 1], CASES // 2)
    cases = pd.DataFrame({"label": labels, "patient_id": [f"p{number // 2}" for number in range(CASES)]})
    cases["patient_id"] += cases["label"].astype(str)
    clean = stream.normal(size=(CASES, 8))
    clean[:, 0] += label * labels
    confounded = clean.copy()
    confounded[:, 1] += shift
    return clean, confounded, cases


def test_a_confounder_that_the_features_show_is_leant_on_and_another_is_not() -> None:
    clean, shown, cases = planted(label=1.5, shift=6.0)
    lean = frozen_lean(clean, {"shown": shown, "hidden": clean.copy()}, cases)
    assert lean.clean.low > 0.7 and lean.clean.value < 0.95
    assert lean.learned["shown"].low > 0.5
    # Who shows nothing of the confounder is the same in both states, at every p_art.
    assert lean.learned["hidden"].value == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_the_interval_of_a_clean_auc_covers_the_truth() -> None:
    # Two normal classes 1 apart: the AUC is Phi(1 / sqrt 2) = .760, of a perfect head.
    covered = [
        frozen_lean(*[planted(1.0, 0.0, seed)[0], {}], planted(1.0, 0.0, seed)[2]).clean for seed in range(12)
    ]
    assert sum(one.low <= 0.76 <= one.high for one in covered) >= 9
    assert np.mean([one.value for one in covered]) == pytest.approx(0.73, abs=0.05)


def test_the_robustness_index_is_a_half_where_nothing_counts_and_1_where_the_label_alone_does() -> None:
    stream = np.random.default_rng(0)
    labels, other = np.tile([0, 1], 60), np.repeat([0, 1], 60)
    patients = np.array([f"p{number}" for number in range(CASES)])
    noise = stream.normal(size=(CASES, 16))
    neither = robustness_index(noise, labels, other, patients)
    assert neither.low < 0.5 < neither.high
    by_label = robustness_index(np.eye(2)[labels] + 1e-3 * noise[:, :2], labels, other, patients)
    by_other = robustness_index(np.eye(2)[other] + 1e-3 * noise[:, :2], labels, other, patients)
    assert by_label.value == pytest.approx(1) and by_other.value == pytest.approx(0)
    # An image is not compared with others of its own patient, whatever they look like.
    twins = np.repeat(np.arange(CASES // 2), 2).astype(str)
    assert robustness_index(noise, labels, other, twins).value == pytest.approx(0.5, abs=0.1)


def test_the_drawn_state_says_nothing_of_the_label_and_is_one_for_each_patient() -> None:
    cases = planted(1.0, 0.0)[2]
    carries = drawn_state(cases)
    assert [carries[cases["label"] == label].mean() for label in (0, 1)] == [0.5, 0.5]
    assert (pd.Series(carries).groupby(cases["patient_id"]).nunique() == 1).all()


def test_a_source_that_does_not_know_the_target_has_no_rank() -> None:
    known = pd.DataFrame({"source": ["a", "b", "c"], "network": "n", "clean_auc": [0.9, 0.9, 0.6]})
    known = known.assign(low=[0.8, 0.7, 0.5], high=1.0)
    leans = pd.DataFrame({"source": ["a", "b", "c"] * 2, "lean": [0.4, 0.1, 0.0, 0.2, 0.1, 0.0]})
    table = _ranked(known, leans, {"b": (0.5, 0.1)})
    assert list(table["source"]) == ["b", "a", "c"] and table["rank"].tolist()[:2] == [1, 2]
    assert pd.isna(table["rank"].iloc[2]) and table["mean_lean"].tolist() == pytest.approx([0.1, 0.3, 0.0])
    lines = remarks(SourceRanking(table, leans, pd.DataFrame(), pd.DataFrame()))
    assert lines[-1].startswith("Not ranked") and lines[-1].endswith(": c.")


def test_a_mistake_is_said_before_anything_is_computed(radiograph_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got random, random, expected sources that differ"):
        RankRun(sources=("random", "random"), out=tmp_path, tracking_uri="").run()
    with pytest.raises(InputError, match="source: imagenot is neither"):
        RankRun(
            sources=("imagenot",),
            dataset_dir=str(radiograph_cohort),
            out=tmp_path / "out",
            num_workers=0,
            tracking_uri="",
        ).run()
    assert not (tmp_path / "out").exists()
    assert ("random", "efficientnet_lite0") in sources_here()


def test_sources_are_ranked_from_the_command_line(radiograph_cohort: Path, tmp_path: Path) -> None:
    words = ["sources", "rank", "--dataset_dir", str(radiograph_cohort), "--source", "random@resnet10"]
    words += ["--confounder", "letterbox", "--image_size", "32", "--num_workers", "0", "--device", "cpu"]
    store = f"sqlite:///{tmp_path}/mlflow.db"
    result = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out"), "--tracking_uri", store])
    assert result.exit_code == 0, result.output
    assert "random@resnet10" in result.output and "Robustness index" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "sources.csv",
        "leans.csv",
        "robustness.csv",
        "stages.csv",
        "ranking.json",
        "ranking.png",
        "ranking.svg",
    }
    stages = pd.read_csv(tmp_path / "out" / "stages.csv")
    assert {"label", "letterbox"} <= set(stages["of"]) and stages["auc"].between(0, 1).all()
    # Black bars at the sides are seen by any network.
    assert stages.loc[stages["of"] == "letterbox", "auc"].max() > 0.9
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("source_ranking")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    sources, leans = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("sources", "leans"))
    assert tracked.info.status == "FINISHED"
    metrics = {name: value for name, value in tracked.data.metrics.items() if "system/" not in name}
    assert metrics == pytest.approx(
        {
            "clean_auc random_resnet10": sources["clean_auc"].iloc[0],
            "learned_lean random_resnet10 letterbox": leans["lean"].iloc[0],
        },
        abs=1e-5,
    )
    assert {one.path for one in client.list_artifacts(tracked.info.run_id)} >= {"ranking.png", "ranking.json"}
