"""Sentences: the right words for the right numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from srcmatters.evaluation import Analysis, AnalysisPlan
from srcmatters.evaluation.verdicts import number, p_text, verdicts

AXES = {
    "target": "nih",
    "network": "resnet50",
    "depth": "finetune",
    "protocol": "corrected",
    "control": "none",
    "confounder": "tag",
    "confounder_args": "{}",
}
NOTHING = pd.DataFrame()


def analysis(
    gap: tuple[float, float, float] = (0.42, 0.35, 0.49),
    clean: tuple[float, float, float] = (0.8, 0.7, 0.9),
    contrast: dict[str, Any] | None = None,
    p_arts: tuple[float, ...] = (0.5, 1.0),
    plan: AnalysisPlan | None = None,
    **axes: str,
) -> Analysis:
    """One source with one gap, and one contrast of it with another source."""
    own = {**AXES, **axes}
    cells = [{**own, "source": "imagenet", "p_art": p_art} for p_art in p_arts]
    gaps = [{**cell, "iid_minus_ood": gap[0], "low": gap[1], "high": gap[2]} for cell in cells]
    areas = {"clean": clean, "iid": (0.98, 0.9, 1.0), "ood": (0.56, 0.5, 0.6)}
    environments = [
        {**cell, "environment": name, "auc": auc, "auc_low": low, "auc_high": high}
        for cell in cells
        for name, (auc, low, high) in areas.items()
    ]
    row = {"difference": -0.32, "low": -0.44, "high": -0.20, "p_value": 0.001, "p_adjusted": 0.002}
    row |= {"family": "primary", "correction": "holm", "equivalent": False, "p_equivalence": 0.9}
    row |= {"detectable_difference": 0.11, "metric": "ood_auc", "source_a": "imagenet", "source_b": "random"}
    contrasts = [{**own, "p_art": p_art, **row, **(contrast or {})} for p_art in p_arts]
    tables = [pd.DataFrame(environments), pd.DataFrame(gaps), pd.DataFrame(contrasts)]
    return Analysis(plan or AnalysisPlan(), *tables, NOTHING, NOTHING, NOTHING, [])


def texts(found: Analysis) -> list[str]:
    return [verdict.text for verdict in verdicts(found)]


def test_a_loss_is_said_with_its_interval_and_levels() -> None:
    assert texts(analysis())[0] == (
        "imagenet loses .42 [.35, .49] AUC when the correlation with tag is reversed"
        " (i.i.d. .98, o.o.d. .56, p_art 1)."
    )


def test_a_loss_that_may_be_none_is_not_called_a_loss() -> None:
    text = texts(analysis(gap=(0.01, -0.03, 0.05)))[0]
    assert text.startswith("imagenet: no loss shown when") and ".01 [-.03, .05] AUC" in text
    assert "loses" not in text and "no merit" not in text


def test_a_network_that_knows_nothing_gets_no_praise_for_losing_nothing() -> None:
    text = texts(analysis(gap=(0.01, -0.03, 0.05), clean=(0.51, 0.44, 0.58)))[0]
    assert text.endswith("(clean AUC .51 [.44, .58]), so this is no merit.")


def test_a_gain_has_its_interval_turned_round() -> None:
    assert "imagenet gains .20 [.10, .30] AUC" in texts(analysis(gap=(-0.2, -0.3, -0.1)))[0]


def test_a_difference_is_said_with_its_corrected_p() -> None:
    assert texts(analysis())[1] == (
        "o.o.d. AUC of imagenet is .32 [.20, .44] lower than that of random"
        " (tag, p_art 1; p = .002 after Holm over 2)."
    )
    higher = {"difference": 0.32, "low": 0.2, "high": 0.44}
    assert "is .32 [.20, .44] higher than" in texts(analysis(contrast=higher))[1]


def test_comparable_is_said_after_an_equivalence_test_only() -> None:
    small = {"difference": 0.01, "low": -0.02, "high": 0.04, "p_value": 0.5, "p_adjusted": 0.6}
    shown = texts(analysis(contrast={**small, "equivalent": True, "p_equivalence": 0.012}))[1]
    assert shown == (
        "imagenet and random are comparable in o.o.d. AUC (tag, p_art 1): difference .01 [-.02, .04],"
        " within ±.05 (equivalence test, p = .01)."
    )
    not_shown = texts(analysis(contrast=small))[1]
    assert not_shown == (
        "no difference in o.o.d. AUC shown between imagenet and random (tag, p_art 1): .01 [-.02, .04],"
        " p = .60 after Holm over 2; a difference of .11 would have been seen with 80 % power."
    )


def test_a_difference_that_correction_takes_away_is_not_claimed() -> None:
    text = texts(analysis(contrast={"p_value": 0.03, "p_adjusted": 0.12}))[1]
    assert text.startswith("no difference") and "p = .12" in text


def test_a_difference_within_the_margin_is_both() -> None:
    text = texts(analysis(contrast={"equivalent": True}))[1]
    assert "lower than" in text and text.endswith("The difference is within ±.05.")


def test_what_could_not_be_computed_is_said() -> None:
    unknown = float("nan")
    assert "is unknown" in texts(analysis(gap=(unknown, unknown, unknown)))[0]
    text = texts(analysis(contrast={"p_value": unknown, "p_adjusted": unknown}))[1]
    assert text == "imagenet and random could not be compared by o.o.d. AUC (tag, p_art 1)."


def test_the_declared_p_art_is_the_one_spoken_of_and_else_the_highest() -> None:
    assert {verdict.p_art for verdict in verdicts(analysis(plan=AnalysisPlan(p_art=0.5)))} == {0.5}
    assert {verdict.p_art for verdict in verdicts(analysis(plan=AnalysisPlan(p_art=0.2)))} == {1.0}


@pytest.mark.parametrize(
    ("gap", "said"),
    [((0.01, -0.03, 0.05), ": null, as it should be"), ((0.2, 0.1, 0.3), "not null, although it should be")],
)
def test_a_control_is_judged_and_not_compared(gap: tuple[float, float, float], said: str) -> None:
    (verdict,) = verdicts(analysis(gap=gap, control="shuffled_labels"))
    assert verdict.kind == "control" and said in verdict.text
    assert "Clean AUC .80 [.70, .90]: not at chance, although it should be." in verdict.text


def test_controls_come_last() -> None:
    one, other = analysis(), analysis(control="independent_confounder")
    both = {
        name: pd.concat([getattr(other, name), getattr(one, name)], ignore_index=True)
        for name in ("environments", "gaps", "contrasts")
    }
    assert [verdict.kind for verdict in verdicts(replace(one, **both))] == ["loss", "comparison", "control"]


def test_numbers_are_written_as_aucs_are() -> None:
    assert [number(value) for value in (0.421, -0.03, 1.0, 0.0, -0.001)] == [
        ".42",
        "-.03",
        "1.00",
        ".00",
        ".00",
    ]
    assert [p_text(p) for p in (0.0004, 0.0079, 0.03, 1.0)] == ["p < .001", "p = .008", "p = .03", "p = 1.00"]
