"""The facts that light commands print are those of the classes."""

from srcmatters.confounders.summaries import confounder_summaries, summarise_classes


def test_summaries_are_those_of_the_classes() -> None:
    assert dict(confounder_summaries()) == summarise_classes(), (
        "run `python -m srcmatters.confounders.summaries` and commit summaries.json"
    )
