"""What a user can do wrong, said in one line, whichever command they started."""

from __future__ import annotations

import difflib
import sys
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

#: What pandas raises where a CSV file is none, or a .csv.gz damaged.
UNREADABLE_CSV = (ValueError, OSError, EOFError, zlib.error)


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line that names the file, the row or field, what was found and what was expected.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the line, without the traceback of our code."""
        return [f"{type(self).__name__}: {self}"]


def first_line(error: BaseException) -> str:
    """What an error says, in one line; of ITK's several the one that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return next((line for line in lines if "ERROR" in line), lines[0])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, what caused that: frameworks wrap what we raise.

    Only what was raised ``from`` another counts: a bug in the handling of a mistake is a bug.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def find_input_error(error: BaseException) -> InputError | None:
    """The :class:`InputError` at the root of ``error``, if a user's mistake is what caused it."""
    mistakes = [link for link in _chain(error) if isinstance(link, InputError)]
    return mistakes[-1] if mistakes else None


def one_line_errors() -> None:
    """Print an :class:`InputError` that ends the program as one line instead of a traceback.

    MONAI wraps every error in "Failed to instantiate ..." and Python prints the whole chain: the line that
    helps drowns. Errors that are not the user's keep their full traceback. Bundles call this once when
    their configuration is read; calling it again changes nothing. In a notebook, where an InputError is one
    line anyway, it is called for those that MONAI's Compose wraps.
    """
    if "IPython" in sys.modules:
        _one_line_in_notebook(sys.modules["IPython"].get_ipython())
    previous = sys.excepthook
    if getattr(previous, "prints_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return
        mistake = find_input_error(error)
        if mistake is None:
            previous(kind, error, traceback)
        else:
            print(f"error: {mistake}", file=sys.stderr)

    hook.prints_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _one_line_in_notebook(shell: Any) -> None:
    """Show a wrapped InputError of a cell as that InputError; the cell fails as before."""
    if shell is None:
        return

    def show(shell: Any, kind: type, error: BaseException, traceback: TracebackType, **options: Any) -> None:
        mistake = find_input_error(error)
        shown = (kind, error, traceback) if mistake is None else (type(mistake), mistake, None)
        shell.showtraceback(shown, **options)

    shell.set_custom_exc((Exception,), show)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of an error message: the nearest known words, or all of them; or ``otherwise`` where they are
    too many to be read.
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=2)
    if near:
        return f": did you mean {' or '.join(repr(name) for name in near)}?"
    return f", expected {otherwise or 'one of: ' + ', '.join(known)}"
