"""Docstrings on the site: Sphinx's roles, formulas and examples in the form that Markdown pages have."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|obj):`~?([^`]+)`")
_FORMULA = re.compile(r"^(?P<indent> *)\.\. math::(?P<formula>.+)$", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class DocstringRoles(griffe.Extension):
    """``:class:`~package.Name``` is shown as the code ``package.Name``, a formula as a block of code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object in place."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            text = _FORMULA.sub(r"\n\g<indent>    \g<formula>\n", text)
            obj.docstring.value = _EXAMPLE.sub("Examples:", text)
