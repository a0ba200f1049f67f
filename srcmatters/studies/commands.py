"""`srcmatters study`: plan, run, status, watch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from srcmatters.errors import InputError
from srcmatters.numbers import counted

if TYPE_CHECKING:
    from srcmatters.studies.cells import Cell
    from srcmatters.studies.executors.base import Executor
    from srcmatters.studies.runner import StudyEnd
    from srcmatters.studies.study_file import Study

EXECUTORS = ("local", "ray")
_OPEN = {"ignore_unknown_options": True, "allow_extra_args": True}
_EXTRA = "Any other --ID VALUE is an axis (comma-separated), a field of the file, or a setting of the bundle."


@click.group()
def study() -> None:
    """Studies: a grid of sources, confounders, p_art and folds in one file."""


def _common(command: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option(
            "--workers", type=click.IntRange(min=1), help="Cells at a time [default: cores, or GPUs]."
        ),
        click.option("--output_dir", type=click.Path(path_type=Path), help="[default: mlruns/studies/NAME]"),
        click.argument("file", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@study.command(context_settings=_OPEN, epilog=_EXTRA)
@_common
@click.option("--time-one", is_flag=True, help="Run the first cell that is left, and estimate from it.")
@click.option(
    "--detect",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="A difference of two sources' leans (AUC); prints what it would take to show it.",
)
@click.pass_context
def plan(
    ctx: click.Context,
    file: Path,
    output_dir: Path | None,
    workers: int | None,
    time_one: bool,
    detect: float | None,
) -> None:
    """Print what the study in FILE will take (cells, time, disk) and what it can show.

    Computes nothing (but see --time-one).
    """
    from srcmatters.confounders import is_pair
    from srcmatters.studies.cells import bundle_config, expand
    from srcmatters.studies.plan_checks import cell_settings, check_plan
    from srcmatters.studies.plan_view import print_plan

    planned, folder = _study(file, output_dir, ctx.args)
    cells = expand(planned)
    check_plan(planned, cells)
    settings = cell_settings(bundle_config(planned), cells)
    if any(one.get("confounder_args") or is_pair(one.get("confounder")) for one in settings):
        from srcmatters.studies.preflight import check_confounders  # imports MONAI, which takes seconds

        check_confounders(settings)
    if time_one:
        _run_first(planned, folder, cells)
    print_plan(planned, cells, folder, workers or _default_workers(planned), detect)


@study.command(context_settings=_OPEN, epilog=_EXTRA)
@_common
@click.option("--executor", type=click.Choice(EXECUTORS), default="local", show_default=True)
@click.option("--address", help="Of a Ray cluster [default: the one of $RAY_ADDRESS, or a local one].")
@click.option(
    "--per_gpu", type=click.IntRange(min=1), default=1, show_default=True, help="Workers that share a GPU."
)
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html at the end.")
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    output_dir: Path | None,
    workers: int | None,
    executor: str,
    address: str | None,
    per_gpu: int,
    report: bool,
) -> None:
    """Run what is not finished of the study in FILE; stopped at any moment, it goes on from there."""
    from rich.console import Console

    from srcmatters.studies.conclusion import conclude
    from srcmatters.studies.preflight import check_study
    from srcmatters.studies.progress import Bar, Lines
    from srcmatters.studies.runner import StudyRun

    declared, folder = _study(file, output_dir, ctx.args)
    console = Console(stderr=True)
    try:
        end = StudyRun(
            declared,
            folder,
            lambda: _executor(executor, declared, workers, per_gpu, address),
            Bar(console) if console.is_terminal else Lines(),
            lambda cells: check_study(declared, cells),
            conclude if report else None,
        ).run()
    except KeyboardInterrupt:
        again = shlex.join(["srcmatters", *sys.argv[1:]])
        click.echo(f"stopped; the same command goes on where it was: {again}", err=True)
        sys.exit(130)
    _print_end(declared, folder, end)
    sys.exit(1 if end.failed else 0)


@study.command()
@click.argument("folder", type=click.Path(path_type=Path))
def status(folder: Path) -> None:
    """Print how far the study in FOLDER is."""
    from rich.console import Console

    from srcmatters.studies.state import read_state
    from srcmatters.studies.status_view import status_table

    Console(width=None if sys.stdout.isatty() else 160).print(status_table(read_state(folder)))


@study.command()
@click.argument("folder", type=click.Path(path_type=Path))
def watch(folder: Path) -> None:
    """Show how far the study in FOLDER is until it ends; works from any terminal that sees the folder."""
    from rich.console import Console

    from srcmatters.studies import status_view

    try:
        status_view.watch(folder, Console())
    except KeyboardInterrupt:
        sys.exit(130)


def _study(file: Path, output_dir: Path | None, words: Sequence[str]) -> tuple[Study, Path]:
    from srcmatters.packaged_bundles import find_study_file
    from srcmatters.studies.study_file import read_study, with_options

    declared = with_options(read_study(find_study_file(file)), _pairs(words))
    return declared, output_dir or Path("mlruns") / "studies" / declared.name


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value`, as monai.bundle takes them."""
    pairs: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InputError(f"{word}: not understood, expected --name value")
        if not equals:
            if not left or left[0].startswith("--"):
                raise InputError(f"--{name}: no value, expected --{name} value")
            value = left.pop(0)
        pairs[name.replace("-", "_")] = value
    return pairs


def _gpus(declared: Study) -> list[int]:
    """Memory of each GPU that cells will use, in bytes."""
    if "cpu" in str(declared.overrides.get("device", "")) or not Path("/dev/nvidiactl").exists():
        return []
    import torch

    return [
        torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count())
    ]


def _default_workers(declared: Study) -> int:
    from srcmatters.studies.executors.local import local_slots

    return len(local_slots(gpus=_gpus(declared)))


def _executor(
    name: str, declared: Study, workers: int | None, per_gpu: int = 1, address: str | None = None
) -> Executor:
    if name == "ray":
        from srcmatters.studies.executors.ray_executor import RayExecutor

        return RayExecutor(address, workers, per_gpu=per_gpu)
    from srcmatters.studies.executors.local import LocalExecutor, local_slots

    return LocalExecutor(local_slots(workers, _gpus(declared), per_gpu))


def _run_first(declared: Study, folder: Path, cells: Sequence[Cell]) -> None:  # noqa: ARG001
    """Run one cell for good: its time is known then, and its result is kept."""
    from srcmatters.studies.preflight import check_study
    from srcmatters.studies.runner import StudyRun

    def one_worker() -> Executor:
        return _executor("local", declared, 1)

    end = StudyRun(
        declared, folder, one_worker, check=lambda left: check_study(declared, left), limit=1
    ).run()
    if end.failed:
        raise InputError(next(iter(end.failed.values())).error)


def _print_end(declared: Study, folder: Path, end: StudyEnd) -> None:  # noqa: ARG001
    from rich.console import Console

    from srcmatters.studies.state import read_state
    from srcmatters.studies.status_view import failure_table

    for remark in end.remarks:
        click.echo(remark)
    finished = f"{counted(end.finished, 'cell')} finished, {end.computed} of them now"
    click.echo(f"{folder}: {finished}, {len(end.failed)} failed")
    if end.failed:
        Console(width=None if sys.stdout.isatty() else 160).print(failure_table(read_state(folder).failures))
        return
    from srcmatters.studies.conclusion import REPORT, verdict_lines

    for line in verdict_lines(folder):
        click.echo(line)
    if (folder / REPORT).is_file():
        click.echo(f"Report: {folder / REPORT}")
    else:
        click.echo(f"`srcmatters report {folder}` writes the report")
    if end.where_to_look:
        click.echo(f"Compare runs: {end.where_to_look}")
