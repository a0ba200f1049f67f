"""The site builds without a warning, its notebooks run, its links hold, and it fetches nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from srcmatters.audit.checks import CHECKS
from srcmatters.confounders import known_confounders

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loads.append(str(values["src"]))
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loads.append(str(values["href"]))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    for page in [*(ROOT / "docs").rglob("*.md"), *NOTEBOOKS, ROOT / "CONTRIBUTING.md"]:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").exists(), page
    assert (site / "index.html").exists()


def test_links_lead_to_pages_and_anchors(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links count from the root of a server
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors | {""} if target in pages else None
            if not target.exists() or (known is not None and parts.fragment not in known):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [load for load in page.loads if urlsplit(load).netloc] == [], path


def test_the_reference_has_every_confounder_and_the_doors_of_the_audit(pages: dict[Path, Page]) -> None:
    anchors = set().union(*(page.anchors for page in pages.values()))
    for kind in known_confounders().values():
        assert f"{kind.__module__}.{kind.__name__}" in anchors
    assert {"srcmatters.audit.in_python.run", "srcmatters.audit.check.Check"} <= anchors


def test_the_notebooks_show_their_outcome_and_mistakes_in_one_line(site: Path) -> None:
    shown = {
        path.stem: (site / "docs/notebooks" / path.name).with_suffix(".html").read_text()
        for path in NOTEBOOKS
    }
    audit, pipeline = shown["scores_to_audit"], shown["confounder_in_monai"]
    assert "LEANS" in audit
    assert "WITHIN MARGIN" in audit
    assert pipeline.count("<img") == 2
    for page in shown.values():
        assert len(re.findall("InputError: ", page)) == 1
        assert "Traceback" not in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("name", ["own_confounder", "own_cohort", "own_check"])
def test_the_example_of_a_guide_runs(name: str) -> None:
    page = (ROOT / "docs" / "guides" / f"{name}.md").read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    if name == "own_confounder":
        import torch

        darker = names["Darker"](seed=1)
        assert (darker(torch.full((1, 8, 8), 0.5), "case") < 0.5).all()
    if name == "own_check":
        assert names["ConstantScores"].code not in {check.code for check in CHECKS}
