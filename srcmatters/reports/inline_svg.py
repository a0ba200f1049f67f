"""Matplotlib figures as SVG inside a page: small, the same bytes each time, in the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.figure import Figure

#: Drawn in this colour, a line or a letter takes the colour of the text around it, in light and in dark.
INK = "#010203"
_WITHOUT = {"Date": None, "Creator": None, "Format": None, "Type": None}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and costs little
    "svg.hashsalt": "srcmatters",
    "font.family": "sans-serif",
    "font.size": 9,
    # Names of sources and confounders are the user's: a dollar sign in one is no formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


#: Purple to orange is told apart with every common colour blindness; orange is where the image got brighter.
DIFFERENCE_COLOURS = "PuOr_r"


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        markup: the element, with its text for those who do not see it.
        title: one line above it.
    """

    markup: Markup
    title: str = ""


def style() -> dict[Any, Any]:
    """Parameters under which figures for :func:`inline` are drawn and saved."""
    return dict(_STYLE)


def inline(figure: Figure, alt: str, key: str) -> Markup:
    """A figure as an ``<svg>`` element.

    Args:
        figure: drawn within ``matplotlib.rc_context(style())``.
        alt: what it shows, in a sentence, for those who do not see it.
        key: letters and digits; ids inside the figure begin with it, so that no two figures clash.
    """
    stream = io.StringIO()
    with matplotlib.rc_context(style()):
        figure.savefig(stream, format="svg", transparent=True, metadata=_WITHOUT)
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<!--.*?-->\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace(INK, "currentColor")
    # Backgrounds are transparent, and matplotlib names its own fonts first in every text.
    drawing = re.sub(r'(style="font: [^"\';]*?)\'[^;"]*', r"\1system-ui, sans-serif", drawing)
    drawing = _own_ids(drawing, key)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
    assert size is not None
    head = (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{size[0].split(chr(34))[1]}" '
        f'style="max-width:{float(size[1]) * 4 / 3:.0f}px" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, drawing, count=1))


def _own_ids(drawing: str, key: str) -> str:
    """Ids that something refers to get a prefix, the others go."""
    referenced = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{key}-{match[1]}"' if match[1] in referenced else ""

    drawing = re.sub(r'\sid="([^"]*)"', renamed, drawing)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", drawing)


def legend_colours(steps: int = 9) -> Sequence[str]:
    """Colours of the difference, from darker to brighter, as #rrggbb."""
    values = np.rint(colormaps[DIFFERENCE_COLOURS](np.linspace(0, 1, steps))[:, :3] * 255).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in values]
