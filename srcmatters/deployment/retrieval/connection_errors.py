"""Why a server was not reached, in a few words that hold nothing of what it was asked for."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator


def reason_of(error: BaseException) -> str:
    """The root of an error of a connection, which libraries wrap several times.

    The wrappers quote the address with the query in it; the root does not.
    """
    for root in _nested(error):
        if isinstance(root, ssl.SSLCertVerificationError):
            return f"TLS: {root.verify_message}"
        if isinstance(root, ssl.SSLError):
            return f"TLS: {root.reason or 'no handshake'}"
        if isinstance(root, socket.gaierror):
            return "its host name cannot be resolved"
        if isinstance(root, TimeoutError):
            return "no answer in time"
        if isinstance(root, OSError) and root.strerror:
            return root.strerror
    return "no answer in time" if "Timeout" in type(error).__name__ else type(error).__name__


def _nested(error: BaseException) -> Iterator[BaseException]:
    """The errors in an error, the innermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 50:
        nested = waiting.pop(0)
        if not isinstance(nested, BaseException) or nested in seen:
            continue
        seen.append(nested)
        waiting += [*nested.args, getattr(nested, "reason", None), nested.__cause__, nested.__context__]
    yield from reversed(seen)
