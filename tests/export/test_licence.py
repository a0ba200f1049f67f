"""Each part of a bundle is under its own licence, and no weights are under ours."""

from __future__ import annotations

from pathlib import Path

from card_cases import make_card, write_run

from srcmatters.export.bundle_metadata import bundle_metadata
from srcmatters.export.licence import NOT_STATED, licence_text
from srcmatters.export.model_card.author_statements import NOT_KNOWN, Authors
from srcmatters.export.model_card.card import render_card
from srcmatters.sources.catalogue import find_entry

ROOT = Path(__file__).parents[2]
RULES = {
    "finding": {"positive": "Mass", "negative": "no Mass"},
    "spatial_dims": 2,
    "modality": "radiograph",
    "unit": "display",
}


def test_the_source_and_the_target_license_what_is_theirs(tmp_path: Path) -> None:
    card = make_card(write_run(tmp_path / "run", source="imagenet", network="resnet18"))
    entry = find_entry("imagenet", "resnet18")
    assert entry is not None and "non-commercial research" in entry.licence
    ours, weights, source, target = card["licence"]
    assert ours["licence"].startswith("Apache License 2.0") and "models" not in ours["part"]
    assert weights["part"].startswith("Weights") and weights["licence"] == NOT_STATED
    assert "imagenet" in source["part"] and source["licence"] == entry.licence
    assert "phantom" in target["part"] and target["licence"] == NOT_KNOWN


def test_the_authors_license_their_weights(tmp_path: Path) -> None:
    authors = Authors({"licence": "CC BY-NC 4.0", "target_licence": "CC0"})
    _, weights, _, target = make_card(write_run(tmp_path / "run"), authors)["licence"]
    assert (weights["licence"], target["licence"]) == ("CC BY-NC 4.0", "CC0")


def test_every_text_of_a_bundle_says_the_same_of_every_part(tmp_path: Path) -> None:
    card = make_card(write_run(tmp_path / "run", source="imagenet", network="resnet18"))
    text = licence_text(card)
    apache = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.endswith(f"it licenses no weights and no images.\n{apache}")
    made = bundle_metadata({**RULES, "name": card["name"], "image_size": 32}, card)["copyright"]
    page = render_card(card).replace("&#39;", "'")
    for row in card["licence"]:
        assert f"{row['part']}:\n    {row['licence']}\n" in text
        assert f"{row['part']}: {row['licence'].rstrip('.')}" in made
        assert row["part"] in page and row["licence"] in page
        assert f"{row['part']}: {row['licence']}" in str(card["AppliedModelCard"]).replace('\\"', '"')
