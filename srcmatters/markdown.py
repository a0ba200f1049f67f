"""Text of users in Markdown, of which none may become a link, an image, HTML or another line."""

from __future__ import annotations

import re

# Brackets alone make no link: intervals keep theirs.
_SPECIAL = re.compile(r"([\\`*<>|#]|!(?=\[)|(?<=\])\()")


def escaped(text: object) -> str:
    """Text that Markdown shows as it is, in one line (CommonMark, backslash escapes).

    Args:
        text: of a user, or with a user's words in it.
    """
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
