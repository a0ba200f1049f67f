"""A user's words in Markdown stay words."""

from __future__ import annotations

import re

import pytest

from srcmatters.export.mlflow_descriptions import model_text
from srcmatters.markdown import escaped


@pytest.mark.parametrize(
    "text",
    ["![x](http://a)", "<script>", "a | b", "**bold**", "`code`", "# title\n\nsecond", "a\\b"],
)
def test_nothing_that_markdown_reads_is_left(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    plain = shown.replace("\\\\", "")
    assert "](" not in shown and not re.search(r"(?<!\\)!\[", plain)
    for sign in "`*<>|#":
        assert plain.count(sign) == plain.count(f"\\{sign}")


def test_ordinary_words_stay_as_they_are() -> None:
    assert escaped("Pneumonia, .19 [.1, .3] (tag)!") == "Pneumonia, .19 [.1, .3] (tag)!"


def test_the_registry_shows_a_name_as_it_is() -> None:
    card = {"name": "[free](http://evil) model", "notice": "notice"}
    assert r"[free]\(http://evil) model" in model_text(card)
