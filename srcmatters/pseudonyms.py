"""Identifiers that may leave: keyed hashes, the same under the same salt and meaningless elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from srcmatters.errors import InputError

_BYTES = 32


def pseudonym(identifier: str, salt: bytes) -> str:
    """16 hexadecimal digits that stand for an identifier; empty if there is none.

    Args:
        identifier: UID, case id, patient id.
        salt: secret; whoever has it can check a guessed identifier.
    """
    return hmac.new(salt, identifier.encode(), hashlib.sha256).hexdigest()[:16] if identifier else ""


def installation_salt(folder: Path | None = None) -> bytes:
    """The secret of this installation, made on first use and readable by its owner only.

    Args:
        folder: where it lies; None: ``$SRCMATTERS_CACHE``, or ``~/.cache/srcmatters``.

    Raises:
        InputError: it can be neither read nor written.
    """
    folder = folder or Path(os.environ.get("SRCMATTERS_CACHE", Path.home() / ".cache" / "srcmatters"))
    path = folder / "pseudonym-salt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: the salt of hashed identifiers cannot be kept ({error.strerror}), expected a folder"
            " that can be written in $SRCMATTERS_CACHE"
        ) from error


def _create(path: Path) -> None:
    """Write the salt completely or not at all; of two processes that do it at once, one wins."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()
