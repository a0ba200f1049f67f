"""The declared plan: defaults, names and ranges."""

from __future__ import annotations

from typing import Any

import pytest

from srcmatters.errors import InputError
from srcmatters.evaluation import AnalysisPlan


def test_what_a_study_file_leaves_out_has_its_default() -> None:
    assert AnalysisPlan.from_mapping(None) == AnalysisPlan.from_mapping({}) == AnalysisPlan()
    plan = AnalysisPlan.from_mapping({"sources": ["b", "a"], "p_art": 0.5, "subgroups": []})
    assert (plan.sources, plan.p_art, plan.subgroups) == (("b", "a"), 0.5, ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": "ood_auc"}, "analysis: 'metrics' is unknown: did you mean 'metric'?"),
        ({"metric": "ood"}, "analysis, metric: 'ood' is unknown"),
        ({"p_art": 1.5}, "analysis, p_art: got 1.5, expected a share between 0 and 1"),
        ({"p_art": True}, "analysis, p_art: got True"),
        ({"p_art": "1"}, "analysis, p_art: got '1'"),
        ({"sources": "imagenet"}, "analysis, sources: got 'imagenet', expected a list of names"),
        ({"sources": ["a", "a"]}, "expected a list of names, each once"),
        ({"subgroups": [3]}, "analysis, subgroups: got"),
        ({"equivalence_margin": 0}, "analysis, equivalence_margin: got 0"),
        ({"confidence": 95}, "analysis, confidence: got 95"),
        ({"replicates": 10}, "analysis, replicates: got 10, expected a whole number of at least 200"),
        ({"seed": -1}, "analysis, seed: got -1"),
        ({"sensitivity": 2}, "analysis, sensitivity: got 2"),
        ({"confounder": 3}, "analysis, confounder: got 3"),
        (["ood_auc"], "analysis: got ['ood_auc'], expected a mapping"),
    ],
)
def test_a_plan_that_means_nothing_is_refused_in_one_line(fields: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        AnalysisPlan.from_mapping(fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
