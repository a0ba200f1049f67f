"""The report in a real browser: it opens, asks for nothing, fits a phone and paper."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srcmatters.errors import InputError
from srcmatters.reports.printing import BROWSERS, find_browser, print_pdf

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def page_file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on disk."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> str:
    """Path of the browser."""
    try:
        return find_browser()
    except InputError:
        pytest.skip(f"no browser on PATH ({', '.join(BROWSERS)}): the report was not opened")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """One browser for all tests."""
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = started.chromium.launch(executable_path=chromium, args=options)
        yield running
        running.close()


@pytest.fixture(scope="module")
def phone(browser: Any, page_file: Path) -> Iterator[Any]:
    """The report, opened 390 px wide; ``phone.seen`` holds what went wrong and what was asked for."""
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.seen = {"console": [], "errors": [], "requests": [], "dialogs": []}
    tab.on("console", lambda message: tab.seen["console"].append(message.text))
    tab.on("pageerror", lambda error: tab.seen["errors"].append(str(error)))
    tab.on("request", lambda request: tab.seen["requests"].append(request.url))
    tab.on("dialog", lambda dialog: (tab.seen["dialogs"].append(dialog.message), dialog.dismiss()))
    tab.goto(page_file.as_uri())
    yield tab
    tab.close()


def test_opens_without_an_error_and_without_a_request(phone: Any, page_file: Path) -> None:
    assert phone.title().startswith("Does the source matter?")
    assert phone.seen["console"] == phone.seen["errors"] == phone.seen["dialogs"] == []
    assert [url for url in phone.seen["requests"] if not url.startswith("data:")] == [page_file.as_uri()]


def test_names_of_users_are_no_elements(phone: Any) -> None:
    assert phone.locator("script, iframe, object, [onerror], img[src='x']").count() == 0
    assert phone.locator("h1 b").count() == 0
    assert "<b>sources</b>" in phone.locator("h1").inner_text()


def test_fits_a_phone_without_scrolling_sideways(phone: Any) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    wide = phone.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')"
        " && e.getBoundingClientRect().right > 391).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_every_picture_is_there_and_has_a_text(phone: Any) -> None:
    pictures = phone.locator("img")
    assert pictures.count() == 6  # clean, confounded, difference of two confounders
    for number in range(pictures.count()):
        assert pictures.nth(number).get_attribute("alt")
        assert pictures.nth(number).evaluate("picture => picture.naturalWidth") > 0
    drawings = phone.locator("figure svg")
    assert drawings.count() == 2 * 3 + 2 + 2  # areas, effects, overview and forest
    for number in range(drawings.count()):
        assert len(drawings.nth(number).get_attribute("aria-label")) > 20
        assert drawings.nth(number).bounding_box()["height"] > 80


def test_letters_in_figures_can_be_read_in_the_dark(browser: Any, page_file: Path) -> None:
    tab = browser.new_page(color_scheme="dark")
    tab.goto(page_file.as_uri())
    colours = tab.evaluate(
        "[getComputedStyle(document.querySelector('figure svg text')).fill,"
        " getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    tab.close()
    assert colours[0] == colours[1]
    ink, paper = ([int(part) for part in re.findall(r"\d+", colour)[:3]] for colour in colours[1:])
    assert min(ink) > 200 and max(paper) < 60


def test_prints_to_pages(page_file: Path, chromium: str, tmp_path: Path) -> None:
    out = tmp_path / "report.pdf"
    print_pdf(page_file, out)
    content = out.read_bytes()
    assert content.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert 4 <= pages <= 25
    assert list(tmp_path.iterdir()) == [out]  # no profile of the browser is left


def test_a_browser_that_prints_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / BROWSERS[0]
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which(BROWSERS[0]) == str(broken)
    with pytest.raises(InputError, match="printed nothing \\(no display\\)"):
        print_pdf(tmp_path / "page.html", tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()
