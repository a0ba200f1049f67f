"""lp_ft and weight decay as arms beside the others, where every weight is trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from mitigation_study import EFFECTS, draw_mitigation_study

from srcmatters.evaluation import AnalysisPlan
from srcmatters.evaluation.arm_names import named_arms
from srcmatters.evaluation.mitigation import analyse_mitigation
from srcmatters.reports.mitigation_section import mitigation_section
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=400)


def finetuned(*rows: tuple[str, str, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["mitigation", "adaptation", "weight_decay"])
    return table.assign(depth="finetune")


def test_an_arm_is_named_by_what_differs() -> None:
    cells = finetuned(
        ("none", "full", 0.01),
        ("none", "lp_ft", 0.01),
        ("none", "full", 0.3),
        ("paired", "full", 0.01),
        ("paired", "lp_ft", 0.3),
    )
    named = named_arms(cells)
    assert list(named["mitigation"]) == [
        "none",
        "lp_ft",
        "weight_decay 0.3",
        "paired",
        "paired, lp_ft, weight_decay 0.3",
    ]
    assert set(named["adaptation"]) == {"full"} and set(named["weight_decay"]) == {0.01}
    assert list(cells["mitigation"]) == ["none", "none", "none", "paired", "paired"], "not in place"


def test_without_arms_or_without_what_to_compare_with_nothing_is_renamed() -> None:
    adaptations = finetuned(("none", "full", 0.01), ("none", "lp_ft", 0.01))
    assert named_arms(adaptations) is adaptations, "a study of adaptations has sections of its own"
    alone = finetuned(("none", "lp_ft", 0.01), ("paired", "lp_ft", 0.01))
    assert named_arms(alone) is alone
    screened = finetuned(("none", "linear", np.nan), ("paired", "linear", np.nan)).assign(depth="screen")
    assert list(named_arms(screened)["mitigation"]) == ["none", "paired"]


def test_lp_ft_and_weight_decay_are_rows_beside_the_arms() -> None:
    drawn = draw_mitigation_study({**EFFECTS, "lp_ft": 1.5, "decayed": 2.9}, {"paired": 0.1})
    arm = drawn.cells["mitigation"]
    cells = drawn.cells.assign(
        depth="finetune",
        adaptation=np.where(arm == "lp_ft", "lp_ft", "full"),
        weight_decay=np.where(arm == "decayed", 0.3, 0.01),
        mitigation=arm.where(~arm.isin(["lp_ft", "decayed"]), "none"),
    )
    results = StudyResults(cells, drawn.predictions, transfer=drawn.transfer)
    analysis = analyse_mitigation(results, PLAN)
    assert analysis is not None
    rows = analysis.recovered.set_index("mitigation")
    expected = analyse_mitigation(drawn, PLAN)
    assert expected is not None
    shares = expected.recovered.set_index("mitigation")["recovered"]
    assert rows["recovered"]["lp_ft"] == shares["lp_ft"] > rows["recovered"]["weight_decay 0.3"]
    assert rows["recovered"]["weight_decay 0.3"] == shares["decayed"]
    assert rows["p_adjusted"][["lp_ft", "weight_decay 0.3"]].notna().all(), "outside the family of Holm"
    section = mitigation_section(results, PLAN)
    assert section is not None
    shown = [row[0] for row in section.recovered[0].rows]
    assert shown == [
        "none",
        "balanced",
        "paired",
        "lp_ft",
        "weight_decay 0.3",
        "balanced_fake",
        "independent carriers",
    ]
