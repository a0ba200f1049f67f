"""Numbers as a reader of papers expects them: .87 [.83, .90], p < .001."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "–"


def number(value: object, digits: int = 2) -> str:
    """A number with a fixed count of digits; a value below one has no leading zero, one that is none a dash.

    Args:
        value: a number, None or NaN.
        digits: digits after the point.
    """
    if not _is_number(value):
        return NONE
    text = f"{float(value):.{digits}f}"  # type: ignore[arg-type]
    if float(text) == 0:
        text = text.lstrip("-")
    text = text.replace("-", "−")
    sign, digits_only = ("−", text[1:]) if text.startswith("−") else ("", text)
    return sign + (digits_only[1:] if digits_only.startswith("0.") else digits_only)


def signed(value: object, digits: int = 2) -> str:
    """As :func:`number`, with a plus where what is shown is above 0."""
    text = number(value, digits)
    rounded = round(float(value), digits) if _is_number(value) else 0.0  # type: ignore[arg-type]
    return f"+{text}" if rounded > 0 else text


def interval(value: object, low: object, high: object, digits: int = 2) -> str:
    """Estimate and interval: ``.42 [.35, .49]``; the estimate alone where there is no interval."""
    if not (_is_number(low) and _is_number(high)):
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def p_value(value: object) -> str:
    """A p value with three digits, ``< .001`` below them."""
    if not _is_number(value):
        return NONE
    return "< .001" if float(value) < 0.001 else number(value, 3)  # type: ignore[arg-type]


def p_text(value: object) -> str:
    """p with its relation: "p < .001", "p = .008", "p = .03"; "p unknown" where there is none."""
    if not _is_number(value):
        return "p unknown"
    p = float(value)  # type: ignore[arg-type]
    return "p < .001" if p < 0.001 else f"p = {number(p, 3 if p < 0.01 else 2)}"


def share(value: object) -> str:
    """A setting such as p_art, as short as it can be said: 0, .5, 1."""
    if not _is_number(value):
        return NONE
    text = f"{float(value):g}"  # type: ignore[arg-type]
    return text.replace("-", "−").replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def listed(words: Iterable[object]) -> str:
    """``a, b and c``."""
    items = [str(word) for word in words]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 run``, ``3 runs``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _is_number(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
