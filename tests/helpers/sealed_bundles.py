"""Bundles that tests write or change by hand, with hashes that fit what is in them."""

import json
from pathlib import Path
from typing import Any

from srcmatters.exported_bundle.bundle import RULES, SUMS, WEIGHTS, sums
from srcmatters.files import sha256_of


def seal(folder: Path, **changes: Any) -> Path:
    """Change rules of a bundle and write the hashes that an export would have written."""
    file = folder / RULES
    rules = json.loads(file.read_text())
    if isinstance(rules, dict):
        weights = {"weights_sha256": sha256_of(folder / WEIGHTS)} if (folder / WEIGHTS).is_file() else {}
        file.write_text(json.dumps(rules | weights | changes))
    (folder / SUMS).write_text(sums(folder))
    return folder
