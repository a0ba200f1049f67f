"""Fine-tuned runs beside a ranking: the right rows, and a rank correlation only of enough sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.container import ErrorbarContainer

from srcmatters.errors import InputError
from srcmatters.source_comparison.fine_tuned import FineTuned, fine_tuned, fine_tuned_figure, read_tuned_study
from srcmatters.source_comparison.rank_run import RankRun, file_aliases
from srcmatters.sources.catalogue import named_entry
from srcmatters.sources.source_file import write_source
from srcmatters.training import source_name

NAMES = [f"source{number}" for number in range(8)]


def study(folder: Path, names: list[str], **changes: object) -> Path:
    """Tables of a study in which source n has a lean of n / 10 after fine-tuning."""
    rows = [
        {
            "target": "chests",
            "network": "lite" if "@" not in name else name.partition("@")[2],
            "depth": "finetune",
            "control": "none",
            "adaptation": "full",
            "train_size": 0,
            "confounder": "tag",
            "source": name.partition("@")[0],
            "p_art": 1.0,
            "family": "declared",
            "lean": number / 10,
            "low": number / 10 - 0.1,
            "high": number / 10 + 0.1,
            **changes,
        }
        for number, name in enumerate(names)
    ]
    leans = pd.DataFrame(rows)
    # Rows that are no answer: another p_art, another depth, fewer cases.
    others = [leans.assign(lean=9.0, **{axis: value}) for axis, value in (
        ("family", "other"), ("depth", "screen"), ("train_size", 64), ("adaptation", "linear"))]  # fmt: skip
    (folder / "tables").mkdir(parents=True)
    pd.concat([*others, leans]).to_csv(folder / "tables" / "leans.csv", index=False)
    clean = leans.assign(environment="clean", p_art=0.0, auc=0.8 + leans["lean"] / 10)
    clean.to_csv(folder / "tables" / "environments.csv", index=False)
    return folder


def beside(folder: Path, names: list[str], target: str = "chests") -> FineTuned:
    """With a ranking in which source n leans by -n / 20: the other way round."""
    leans = pd.DataFrame(
        [{"source": name, "confounder": "tag", "lean": -number / 20} for number, name in enumerate(names)]
    ).assign(low=-1.0, high=1.0)
    sources = pd.DataFrame({"source": names, "clean_auc": 0.7})
    return fine_tuned(read_tuned_study(folder, target, names, ["tag"], "lite"), sources, leans)


def test_each_source_has_its_own_fine_tuned_lean(tmp_path: Path) -> None:
    names = ["imagenet", "random", "imagenet@resnet18"]
    fine_tuned_lean = beside(study(tmp_path, names), ["imagenet@resnet18", "imagenet", "elsewhere"])
    table = fine_tuned_lean.table.set_index("source")
    assert list(table.index) == ["imagenet@resnet18", "imagenet"]
    assert table.loc["imagenet@resnet18", ["lean", "tuned_lean"]].tolist() == [0, 0.2]
    assert table.loc["imagenet", ["tuned_lean", "tuned_low", "tuned_high"]].tolist() == [0, -0.1, 0.1]
    assert table.loc["imagenet@resnet18", "tuned_clean_auc"] == pytest.approx(0.82)
    assert table["clean_auc"].tolist() == [0.7, 0.7]


def test_a_source_that_the_study_took_from_a_file_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRCMATTERS_WEIGHTS", str(tmp_path))
    entry = replace(named_entry("imagenet-resnet18"), scheme="monai")
    write_source(tmp_path / "ours.safetensors", entry, {"conv1.weight": torch.zeros(1)})
    (digest,) = file_aliases([("ours@resnet18", "ours", "resnet18"), ("random", "random", "resnet10")])
    assert digest == source_name(tmp_path / "ours.safetensors") + "@resnet18" != "ours@resnet18"
    folder = study(tmp_path / "study", [digest])
    tuned = read_tuned_study(folder, "chests", ["ours@resnet18"], ["tag"], "lite", {digest: "ours@resnet18"})
    assert tuned.leans["source"].tolist() == ["ours@resnet18"]


def test_a_rank_correlation_takes_eight_sources(tmp_path: Path) -> None:
    few = beside(study(tmp_path / "few", NAMES[:7]), NAMES[:7])
    assert few.correlations["rho"].isna().all()
    assert few.remarks == ["tag: 7 sources were fine-tuned as well; a rank correlation is given from 8 on."]
    enough = beside(study(tmp_path / "enough", NAMES), NAMES)
    assert enough.correlations["rho"].tolist() == pytest.approx([-1])
    assert "over 8 sources −1.00" in enough.remarks[0]


def test_every_source_is_a_mark_at_its_place(tmp_path: Path) -> None:
    fine_tuned_lean = beside(study(tmp_path, NAMES[:3]), NAMES[:3])
    (axes,) = fine_tuned_figure(fine_tuned_lean, "sources").axes
    marks = [one[0].get_xydata()[0].tolist() for one in axes.containers if isinstance(one, ErrorbarContainer)]
    assert marks == [pytest.approx([-number / 20, number / 10]) for number in range(3)]


@pytest.mark.parametrize(
    ("changes", "names", "target", "message"),
    [
        ({}, NAMES[:2], "hands", "is of the target chests, expected hands"),
        ({}, ["other"], "chests", r"has fine-tuned source0, source1, expected .* \(other\)"),
        ({"source": "source0"}, NAMES[:2], "chests", "several fine-tuned leans of source0"),
        ({"depth": "screen"}, NAMES[:2], "chests", "has fine-tuned none, expected"),
    ],
)
def test_a_study_that_does_not_fit_is_refused(
    changes: dict[str, object], names: list[str], target: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        beside(study(tmp_path, NAMES[:2], **changes), names, target)


def test_a_study_that_does_not_fit_is_refused_before_anything_is_ranked(
    tmp_path: Path, radiograph_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ranked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("srcmatters.source_comparison.rank_run.rank_sources", ranked)
    monkeypatch.setattr("srcmatters.source_comparison.rank_run.RankRun._images", ranked)
    run = RankRun(
        ("random",),
        str(radiograph_cohort),
        study=study(tmp_path / "study", NAMES),
        out=tmp_path / "o",
        tracking_uri="",
    )
    with pytest.raises(InputError, match=r"--study: .* is of the target chests"):
        run.run()
    assert not (tmp_path / "o").exists()


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"leans\.csv does not exist, expected the folder of a finished"):
        beside(tmp_path, NAMES)
