"""Hashed identifiers: one kind, keyed by a secret that stays where it was made."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from srcmatters.deployment.redaction import hashed
from srcmatters.errors import InputError
from srcmatters.pseudonyms import installation_salt, pseudonym


def test_a_pseudonym_depends_on_identifier_and_salt_and_shows_neither() -> None:
    one = pseudonym("1.2.840.1", b"a")
    assert len(one) == 16 and int(one, 16) >= 0
    assert len({one, pseudonym("1.2.840.2", b"a"), pseudonym("1.2.840.1", b"b")}) == 3
    assert pseudonym("1.2.840.1", b"a") == one and pseudonym("", b"a") == ""


def test_the_salt_is_made_once_and_private_whoever_comes_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        salts = set(pool.map(lambda _: installation_salt(tmp_path / "new"), range(32)))
    assert len(salts) == 1 and len(salts.pop()) == 32
    (file,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert installation_salt(tmp_path / "other") != installation_salt(tmp_path / "new")


def test_a_salt_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"pseudonym-salt: the salt .* expected a folder") as caught:
        installation_salt(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_uids_in_tables_are_pseudonyms_of_this_installation() -> None:
    assert hashed("1.2.3") == hashed("1.2.3") != hashed("1.2.4") and hashed("") == ""
    assert hashed("1.2.3") != pseudonym("1.2.3", b"")
