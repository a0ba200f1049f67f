"""The ``srcmatters`` command: thin doors to what the package does."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import click

from srcmatters import __version__
from srcmatters.audit.cohort.command import audit as audit_cohort
from srcmatters.cohorts.commands import cohorts
from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.serve_command import serve
from srcmatters.errors import InputError
from srcmatters.export.command import export
from srcmatters.packaged_bundles import bundles
from srcmatters.reports.commands import report
from srcmatters.studies.commands import study

#: Exit status after Ctrl-C, as of shells: 128 and the number of SIGINT.
INTERRUPTED = 130
#: What a path, its permissions or the disk are to blame for, not this package.
_FILE_SYSTEM = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)


class _Lazy(click.Group):
    """A group whose subcommands are imported only when one is asked for: torch and monai take seconds.

    Args:
        module: holds the group of the same name.
        others: further subcommands, ``name: module`` of the function of that name.
    """

    def __init__(
        self, *args: Any, module: str, others: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.module = module
        self.others = others or {}

    def _group(self) -> click.Group:
        return getattr(importlib.import_module(self.module), str(self.name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self._group().list_commands(ctx), *self.others])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.others:
            return getattr(importlib.import_module(self.others[name]), name)
        return self._group().get_command(ctx, name)


def _one_spelling(name: str) -> str:
    """An option may be written with hyphens or, as MONAI's bundles have their settings, with underscores."""
    return name.replace("_", "-")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _one_spelling})
@click.version_option(__version__)
def command() -> None:
    """Does a medical image classifier look at the disease or at a confounder?"""


@command.group(cls=_Lazy, module="srcmatters.audit.commands")
def audit() -> None:
    """Audit a finished model, whoever trained it: does it read the disease or a confounder?"""


@command.group(cls=_Lazy, module="srcmatters.confounders.commands")
def confounders() -> None:
    """Confounders: list them, look at them."""


@command.group(
    cls=_Lazy,
    module="srcmatters.sources.commands",
    others={
        "compare": "srcmatters.source_comparison.command",
        "rank": "srcmatters.source_comparison.rank_command",
    },
)
def sources() -> None:
    """Sources: list them, fetch and check them, look into weight files, compare and rank them."""


@command.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("mlruns/outputs"))
def results(folder: Path) -> None:
    """Compare all finished runs below FOLDER [default: mlruns/outputs]."""
    from srcmatters.reports.terminal_tables import print_comparison
    from srcmatters.runs.finished_runs import read_runs

    print_comparison(read_runs(folder))


command.add_command(bundles)
cohorts.add_command(audit_cohort)
command.add_command(cohorts)
command.add_command(study)
command.add_command(report)
command.add_command(export)
command.add_command(predict)
command.add_command(serve)


def main() -> None:
    """Entry point; an error of the user's is one line, with exit status 1, or 2 of one in the words typed.

    After Ctrl-C it is 130.
    """
    try:
        status = command(prog_name="srcmatters", standalone_mode=False)
    except InputError as error:
        _refuse(str(error), 1)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "srcmatters"
        _refuse(f"{error.format_message()} ({path} --help says more)", error.exit_code)
    except click.ClickException as error:
        _refuse(error.format_message(), error.exit_code)
    except click.Abort as error:  # click's word for Ctrl-C, and for the end of the input
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        _refuse(*(("interrupted", INTERRUPTED) if interrupted else ("aborted", 1)))
    except OSError as error:
        if error.errno not in _FILE_SYSTEM:
            raise
        _refuse(_place_and_reason(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _place_and_reason(error: OSError) -> str:
    """Where the file system refused what; a full disk is told without the name of a file."""
    place = error.filename2 or error.filename  # the second is what a finished file would have been called
    where = f"{place}: " if isinstance(place, str | PathLike) else ""
    return f"{where}{error.strerror}, expected a place with room that can be read and written"


def _refuse(message: str, status: int) -> NoReturn:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(status)
