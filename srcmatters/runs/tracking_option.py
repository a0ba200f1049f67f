"""The option of commands that record in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from srcmatters.runs.mlflow_store import DEFAULT_STORE


def tracking_uri_option(text: str = "Empty: no MLflow.") -> Callable[[Any], Any]:
    """``--tracking_uri``: the store that is typed, that of the environment, or a database below this folder.

    Args:
        text: of its help.
    """
    return click.option(
        "--tracking_uri",
        default=DEFAULT_STORE,
        envvar="MLFLOW_TRACKING_URI",
        show_default=True,
        show_envvar=True,
        help=text,
    )
