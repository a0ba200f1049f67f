"""The section on arms against a confounder: sentences that are true, tables, and the matrix in red."""

from mitigation_study import EFFECTS, draw_mitigation_study

from srcmatters.evaluation import AnalysisPlan
from srcmatters.evaluation.mitigation import MitigationAnalysis
from srcmatters.reports.mitigation_section import mitigation_section, sentences

PLAN = AnalysisPlan(replicates=400)
RED = "#c5221f"


def test_the_section_tells_what_is_given_back_and_what_got_worse() -> None:
    section = mitigation_section(draw_mitigation_study(EFFECTS, {"paired": 2.0}), PLAN)
    assert section is not None
    told = " ".join(section.sentences)
    assert "a, tag: share of the loss that is given back: balanced" in told and "paired ." in told
    assert "fake" not in told, "a null arm gives nothing back"
    assert "a: paired against tag makes noise worse where the negatives carry it: −." in told
    (table,) = section.recovered
    arms = [row[0] for row in table.rows]
    assert arms == ["none", "balanced", "paired", "balanced_fake", "independent carriers"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    (picture,) = section.matrices
    assert picture.markup.count(RED) == 1, "one cell got worse"
    assert "paired against tag, tested on noise" in picture.markup and "(worse)" in picture.markup


def test_the_absence_of_harm_is_told_with_what_is_not_excluded() -> None:
    section = mitigation_section(draw_mitigation_study(EFFECTS, {"none": 0.2, "paired": 0.1}), PLAN)
    assert section is not None
    lowest = section.analysis.matrix[section.analysis.matrix["fall_low"] < 0]
    lowest = -lowest.loc[lowest["p_adjusted"].notna(), "low"].min()
    told = section.sentences[-1]
    assert told.startswith("No arm is shown to make another confounder worse (4 comparisons, Holm).")
    assert f"a harm of up to {max(lowest, 0):.2f}".replace("0.", ".") in told
    assert RED not in section.matrices[0].markup


def test_nothing_is_told_of_other_confounders_where_none_was_tested_or_none_can_have_got_worse() -> None:
    section = mitigation_section(draw_mitigation_study(EFFECTS, {"none": 0.2, "paired": 0.1}), PLAN)
    assert section is not None
    recovered, matrix = section.analysis.recovered, section.analysis.matrix
    treated = sentences(MitigationAnalysis(recovered, matrix[matrix["p_adjusted"].isna()]))
    assert not any("another confounder" in line for line in treated)
    above = sentences(MitigationAnalysis(recovered, matrix.assign(fall_low=0.1)))
    assert above[-1].endswith("stay above the clean one everywhere.")


def test_a_study_without_arms_has_no_such_section() -> None:
    assert mitigation_section(draw_mitigation_study({"none": 3.0}, {}), PLAN) is None
