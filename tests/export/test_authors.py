"""What only the authors know comes from a file of theirs, and stands wherever the card had a gap."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from card_cases import make_card, write_run

from srcmatters.errors import InputError
from srcmatters.export.model_card.author_statements import NOT_KNOWN, STATEMENTS, read_authors
from srcmatters.export.model_card.card import render_card
from srcmatters.export.model_card.checklist import checklist


def write(folder: Path, text: str) -> Path:
    file = folder / "about.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_statement_reaches_the_card_and_its_other_forms(tmp_path: Path) -> None:
    statements = {name: f"{name}: said <here>" for name in STATEMENTS}
    content = {**statements, "claim": {5: "a retrospective study"}, "tripod_ai": {"5b": "2011 to 2013"}}
    authors = read_authors(write(tmp_path, yaml.safe_dump(content)))
    run = write_run(tmp_path / "run")
    card = make_card(run, authors)
    page, form = render_card(card), str(card["AppliedModelCard"])
    for name in STATEMENTS:
        assert f"{name}: said &lt;here&gt;" in page, name
        assert name == "target_licence" or statements[name] in form, name
    text = checklist(card)
    assert "| 5 | Prospective or retrospective | a retrospective study |" in text
    assert "| 5b | Dates of the data | 2011 to 2013 |" in text
    assert NOT_KNOWN in render_card(make_card(run)), "and without the file it is said that nobody knows"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("develper: me", "'develper' is unknown: did you mean 'developer'"),
        ("developer: [me]", "developer: got ['me'], expected a text"),
        ("developer: ' '", "developer: got ' ', expected a text"),
        ("- developer", "got a list, expected a mapping"),
        ("claim: {45: no}", "claim: '45' is unknown: did you mean"),
        ("claim: here", "claim: got a str, expected a mapping"),
        ("developer: 'open", "is not readable"),
        ("developer: \ud800".encode("utf-8", "surrogatepass"), "is not readable"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_field(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    file = tmp_path / "about.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_authors(file)
    message = str(caught.value)
    assert message.startswith(f"--about: {file}") and expected in message and "\n" not in message


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml is not readable"):
        read_authors(tmp_path / "nowhere.yaml")
