"""What a confounder is and what its parameters mean, in the words of its docstring."""

from __future__ import annotations

import inspect
import re

from srcmatters.confounders.base import Confounder

_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`|``([^`]*)``")


def summary(cls: type[Confounder]) -> str:
    """The first sentence of a confounder's docstring."""
    return _plain((inspect.getdoc(cls) or "").split("\n\n")[0])


def parameter_descriptions(cls: type[Confounder]) -> dict[str, str]:
    """Each argument of a confounder by name: what it is, with its unit and range."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    start = lines.index("Args:") + 1 if "Args:" in lines else len(lines)
    descriptions: dict[str, str] = {}
    name = ""
    for line in lines[start:]:
        if line and not line.startswith(" "):
            break
        first = re.match(r"^    (\w+(?:, \w+)*): (.*)$", line)
        if first:
            name, text = first.groups()
            descriptions[name] = text
        elif name:
            descriptions[name] += " " + line.strip()
    return {one: _plain(text).strip() for names, text in descriptions.items() for one in names.split(", ")}


def _plain(text: str) -> str:
    return _ROLE.sub(lambda match: match[1] or match[2], " ".join(text.split()))
