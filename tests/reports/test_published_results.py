"""A study beside published results: what is in both, where it lies, and in which order the sources are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_study import draw_study

from srcmatters.errors import InputError
from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.reports.published_results import published_comparison, published_section, read_published
from srcmatters.reports.study_figures import source_lines

HEADER = "experiment,target,source,test,p_art,auc"


@pytest.fixture(scope="module")
def environments() -> pd.DataFrame:
    results = draw_study({"imagenet": 3.0, "random": 0.0}, cases=44)
    return analyse(results, AnalysisPlan(replicates=200, subgroups=())).environments


def test_results_in_both_are_compared_and_the_order_is_told(
    environments: pd.DataFrame, tmp_path: Path
) -> None:
    rows = [
        "tag,xray,imagenet,ood,1,0.99",
        "tag,xray,random,ood,1,0.30",
        "tag,xray,random,iid,0,0.00",
        "tag,xray,radimagenet,ood,1,0.5",
        "tag,ct,random,ood,1,0.10",
        "noise,xray,random,ood,1,0.5",
    ]
    file = tmp_path / "published.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    comparison = published_comparison(
        read_published(file), environments, "xray", source_lines(["imagenet", "random"])
    )
    assert comparison is not None and comparison.picture is not None and "<svg" in comparison.picture.markup
    assert [(name, len(rows)) for name, rows in comparison.table.groups] == [("tag", 3)]
    assert comparison.sources == ("imagenet", "random")  # radimagenet is not here, and not in the legend
    shown = {(row[0], row[1], row[2]): row[3:] for row in comparison.table.rows}
    here = environments.set_index(["source", "environment", "p_art"])["auc"]
    assert shown["imagenet", "o.o.d.", "1"][0] == ".99"
    assert shown["random", "o.o.d.", "1"][0] == ".30"
    difference = here["random", "ood", 1.0] - 0.30
    assert shown["random", "o.o.d.", "1"][2] == f"+{difference:.2f}".replace("0.", ".")
    assert "Published and not in this study: radimagenet." in comparison.table.note
    # Imagenet leans by 3 log-odds here and so has the lower AUC; the table says the opposite.
    assert comparison.sentence.startswith("Of 3 published AUCs 0 lie in")
    assert "tag random < imagenet there, imagenet < random here" in comparison.sentence


def test_agreement_is_told_as_well(environments: pd.DataFrame, tmp_path: Path) -> None:
    own = environments[(environments["environment"] == "ood") & (environments["p_art"] == 1.0)]
    table = own.rename(columns={"confounder": "experiment", "environment": "test"})
    table[["experiment", "source", "test", "p_art", "auc"]].to_csv(tmp_path / "same.csv", index=False)
    comparison = published_comparison(
        read_published(tmp_path / "same.csv"), environments, "ct", source_lines(["imagenet", "random"])
    )
    assert comparison is not None and comparison.sentence.startswith("Of 2 published AUCs 2 lie in")
    assert "tag imagenet < random." in comparison.sentence
    nothing = pd.DataFrame(
        {"experiment": ["noise"], "source": ["a"], "test": ["ood"], "p_art": [1.0], "auc": [0.5]}
    )
    assert published_comparison(nothing, environments, "xray", {}) is None
    with pytest.raises(InputError, match="--published: no result has the confounder"):
        published_section(nothing, environments, own, {})
    assert published_section(None, environments, own, {}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experiment,source,test,p_art\ntag,imagenet,ood,1\n", "no column auc"),
        (f"{HEADER}\ntag,xray,imagenet,ood,1,86\n", r"line 2: auc: got '86', expected a number in \[0, 1\]"),
        (f"{HEADER}\ntag,xray,imagenet,ood,x,.8\n", "line 2: p_art: got 'x'"),
        (f"{HEADER}\ntag,xray,imagenet,test,1,.8\n", "line 2: test: got 'test', expected clean, iid, ood"),
    ],
)
def test_a_table_that_is_none_is_one_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_published(tmp_path / "p.csv")
