"""Reading the runs below a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srcmatters.errors import InputError
from srcmatters.runs.finished_runs import read_results

SETTINGS = {"target": "nih", "network": "resnet18", "confounder": "tag", "source": "a", "p_art": 1, "fold": 0}
TABLE = pd.DataFrame(
    {
        "case_id": ["1", "2"],
        "patient_id": ["01", "2"],
        "fold": 0,
        "label": [0, 1],
        "carries": [False, True],
        "score_clean": [0.2, 0.7],
        "score_confounded": [0.4, 0.9],
    }
)


def write_run(
    folder: Path, validation: bool = True, record: dict[str, Any] | None = None, **settings: Any
) -> None:
    folder.mkdir(parents=True)
    figures = {"clean_auc": 1.0, "iid_auc": 1.0, "ood_auc": 0.5, **(record or {})}
    (folder / "metrics.json").write_text(json.dumps({**figures, "settings": {**SETTINGS, **settings}}))
    TABLE.to_csv(folder / "predictions.csv", index=False)
    if validation:
        TABLE.iloc[::-1].to_csv(folder / "validation.csv", index=False)


def test_every_run_has_its_cell_its_predictions_and_its_validation_cases(tmp_path: Path) -> None:
    write_run(tmp_path / "cells" / "one")
    write_run(tmp_path / "cells" / "two", source="b", depth="screen")
    results = read_results(tmp_path)
    assert results.cells["source"].tolist() == ["a", "b"]
    assert results.cells["output_dir"].tolist() == [str(tmp_path / "cells" / name) for name in ("one", "two")]
    for tables in (results.predictions, results.validation):
        assert tables.groupby("cell").size().to_dict() == {0: 2, 1: 2}
    assert results.predictions["patient_id"].tolist() == ["01", "2", "01", "2"]


def test_what_an_older_run_does_not_say_is_what_it_did(tmp_path: Path) -> None:
    write_run(tmp_path / "old", validation=False)
    write_run(tmp_path / "new", validation=False, depth="screen", control="shuffled_labels", fold=1, seed=3)
    results = read_results(tmp_path)
    cells = results.cells.set_index("fold")
    assert cells.loc[0, ["depth", "control", "protocol", "confounder_args", "seed"]].tolist() == [
        "finetune",
        "none",
        "corrected",
        "{}",
        0,
    ]
    assert cells.loc[1, ["depth", "control", "seed"]].tolist() == ["screen", "shuffled_labels", 3]
    assert {"depth", "control", "source"} <= set(results.cells.attrs["settings"])
    assert results.validation.empty


def test_the_order_of_a_confounders_parameters_means_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "0", confounder_args={"text": "L", "height": 0.1})
    write_run(tmp_path / "1", fold=1, confounder_args={"height": 0.1, "text": "L"})
    assert read_results(tmp_path).cells["confounder_args"].nunique() == 1


def test_retests_and_what_is_unfinished_are_not_read(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path / "again", record={"retest_of": "run"})
    write_run(tmp_path / "other" / ".unfinished-7")
    assert len(read_results(tmp_path).cells) == 1


@pytest.mark.parametrize("name", ["predictions.csv", "validation.csv"])
def test_a_damaged_table_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run")
    TABLE.assign(score_clean=[2.0, None]).to_csv(tmp_path / "run" / name, index=False)
    with pytest.raises(InputError) as caught:
        read_results(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'run' / name}, row 3, score_clean: ")
    assert "\n" not in str(caught.value)


def test_a_run_without_predictions_and_a_folder_without_runs_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics\.json below this folder"):
        read_results(tmp_path)
    with pytest.raises(InputError, match=r"missing: no such folder, expected a study or the output of runs"):
        read_results(tmp_path / "missing")
    write_run(tmp_path / "run")
    (tmp_path / "run" / "predictions.csv").unlink()
    with pytest.raises(InputError, match=r"run/predictions\.csv: not a readable prediction table"):
        read_results(tmp_path)


def test_runs_of_a_pair_without_runs_of_one_confounder_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", confounder="tag+noise")
    with pytest.raises(InputError, match=r"runs of tag\+noise alone, expected runs of a single confounder"):
        read_results(tmp_path)
