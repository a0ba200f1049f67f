"""From a page to a PDF, by the browser that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from srcmatters.errors import InputError
from srcmatters.files import atomic_path

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_PATIENCE = 120  # seconds


def find_browser() -> str:
    """Path of a Chromium or of a browser built on it.

    Raises:
        InputError: none on PATH, and what to install.
    """
    browsers = [path for path in map(shutil.which, BROWSERS) if path]
    if not browsers:
        raise InputError(
            "--pdf: no Chromium or Chrome on PATH; install one (Debian: apt-get install chromium), or print"
            " the page from any other browser"
        )
    return browsers[0]


def print_pdf(page: Path, out: Path) -> None:
    """Print a page as the browser would on paper.

    Args:
        page: the HTML file.
        out: the PDF; either the whole file is written or none.

    Raises:
        InputError: no browser, or it did not print; with its last words.
    """
    browser = find_browser()
    with atomic_path(out.absolute()) as place:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--no-pdf-header-footer",
            f"--user-data-dir={place.parent}/profile",
            f"--print-to-pdf={place}",
            page.absolute().as_uri(),
        ]
        if os.geteuid() == 0:  # Chromium refuses to start its sandbox as root, in containers as a rule
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"--pdf: {browser} did not finish within {_PATIENCE} s") from error
        if not place.is_file() or place.stat().st_size == 0:
            words = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise InputError(f"--pdf: {browser} printed nothing ({words[0]})")
