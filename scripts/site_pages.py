"""Pages of the site: those of docs/ and those beside it, each at its place in the repository."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: What belongs to the site: pages and the pictures that they show.
PATTERNS = ("*.md", "docs/**/*.md", "docs/**/*.ipynb", "docs/images/**/*.png", "bundles/*/docs/README.md")
#: Linked from pages, not pages themselves.
FILES = ("CITATION.cff",)
_EVERYTHING = re.compile(r"^::: (?P<package>[\w.]+)\.\*$", re.MULTILINE)


def on_startup(**_: Any) -> None:
    """Keep what libraries of the notebooks warn of, such as absent widgets, off the pages."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: Any) -> Files:
    """Take the pages from where they lie, so that their links hold in the repository and on the site."""
    theme = [file for file in files if Path(file.src_dir or ROOT).resolve() != ROOT / "docs"]
    paths = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))] + [ROOT / f for f in FILES]
    pages = [
        File(
            path.relative_to(ROOT).as_posix(),
            src_dir=str(ROOT),
            dest_dir=config.site_dir,
            use_directory_urls=config.use_directory_urls,
        )
        for path in paths
    ]
    return Files([*theme, *pages])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write a line ``::: package.name`` for every public name where a page says ``::: package.*``."""
    return _EVERYTHING.sub(lambda match: "\n\n".join(_public(match["package"])), markdown)


def _public(package: str) -> list[str]:
    """Lines that document what a package's stub exports, where it is defined."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = [(node.module, alias.name) for node in imports for alias in node.names]
    # Of confounders what they are is documented, not how each implements the methods of their base.
    short = {name for module, name in names if package == "srcmatters.confounders" and module != "base"}
    return [
        f"::: {package}.{module}.{name}" + ("\n    options:\n      members: false" if name in short else "")
        for module, name in names
    ]
