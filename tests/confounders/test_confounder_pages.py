"""Every confounder has a page: what it is, how strong, how it was verified, what it leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from srcmatters.confounders import known_confounders

DOCS = Path(__file__).parents[2] / "docs"
WORDS = {
    "brightness": "the mean",
    "border": "the frame more than the middle",
    "clipping": "black and white",
    "rounding": "steps of grey values",
    "everywhere": "all of the image",
}


@pytest.mark.parametrize("name", sorted(known_confounders()))
def test_the_page_says_what_the_class_says(name: str) -> None:
    cls, page = known_confounders()[name], (DOCS / "confounders" / f"{name}.md").read_text()
    for part in (
        "Unit:",
        "*plausible*",
        "*stress*",
        "Not modelled:",
        "**Verified**:",
        "Tests: `",
        cls.__name__,
    ):
        assert part in page, part
    assert str(cls.miccat) in page and f"Source: {cls.source}." in page
    assert (DOCS / "images" / "confounders" / f"{name}.png").is_file()
    changes = re.search(r"^Besides structure it changes (.*?)\. ", page, re.MULTILINE)
    stated = set() if changes is None else {word for word, text in WORDS.items() if text in changes[1]}
    assert cls.also_changes == (set() if changes is None or "nothing" in changes[1] else stated)
    spread = cls.strength_spread
    assert ("works on pixels" if spread is None else f"varies by less than {spread * 100:.0f} %") in page


@pytest.mark.parametrize("name", sorted(known_confounders()))
def test_the_table_has_the_presets_of_the_class(name: str) -> None:
    row = next(
        line
        for line in (DOCS / "confounders.md").read_text().splitlines()
        if line.startswith(f"| [`{name}`]")
    )
    presets = row.split(" | ")[-1]
    for preset, parameters in known_confounders()[name].presets.items():
        assert preset in presets
        for parameter, value in parameters.items():
            assert f"`{parameter}`" in presets
            assert isinstance(value, list | tuple) or f"`{parameter}` {value}" in presets
