"""Sizes and durations as people say them."""

from __future__ import annotations


def spelled_bytes(count: float) -> str:
    """Bytes: "1.2 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def spelled_seconds(seconds: float) -> str:
    """Seconds: "2 h 5 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
