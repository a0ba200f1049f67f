"""`srcmatters export`: a run as a bundle for people who do not have this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from srcmatters.errors import InputError
from srcmatters.runs.tracking_option import tracking_uri_option

if TYPE_CHECKING:
    from srcmatters.runs.trained_run import TrainedRun


@click.command()
@click.argument("run")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="New folder, or FILE.zip.")
@click.option(
    "--audit",
    "study",
    type=click.Path(path_type=Path),
    help="Study of runs trained alike, or an audit of RUN.",
)
@click.option("--unaudited", is_flag=True, help="Export without an audit; every output says so.")
@click.option("--finding", default="positive", show_default=True, help="What label 1 means: Mass.")
@click.option("--finding-code", nargs=3, metavar="VALUE SCHEME MEANING", help="4147007 SCT Mass")
@click.option(
    "--sensitivity",
    type=float,
    help="Target sensitivity on the validation cases [default: the threshold of Youden's index].",
)
@click.option(
    "--calibration", default="temperature", show_default=True, help="temperature, isotonic or none."
)
@click.option("--about", type=click.Path(path_type=Path), help="YAML of what only the authors know.")
@click.option(
    "--rule",
    "actions",
    multiple=True,
    metavar="NAME=ACTION",
    help="What an unusual image is: burnt_in_text=refuse, size=flag, ... (docs/clinical.md).",
)
@click.option("--failure-images", is_flag=True, help="Show the worst errors in the card: patients' images.")
@click.option("--no-data", is_flag=True, help="Open no image: no monitors, no ranges of the input.")
@click.option("--trust", is_flag=True, help="Evaluate code in configurations of runs that you made yourself.")
@click.option("--register", metavar="NAME", help="Name in MLflow's registry [default: the bundle's].")
@click.option("--no-register", is_flag=True, help="Leave MLflow's registry alone.")
@tracking_uri_option("MLflow store.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("mlruns"), show_default=True)
def export(
    run: str,
    to: Path,
    study: Path | None,
    unaudited: bool,
    finding: str,
    finding_code: tuple[str, str, str] | None,
    sensitivity: float | None,
    calibration: str,
    about: Path | None,
    actions: tuple[str, ...],
    failure_images: bool,
    no_data: bool,
    trust: bool,
    register: str | None,
    no_register: bool,
    tracking_uri: str,
    runs: Path,
) -> None:
    """Export RUN: its output_dir, an MLflow run id, or a registered model as NAME/VERSION or NAME@ALIAS.

    A run that the MLflow store knows is registered there as well; one that it does not know, only with
    --register. --runs is the folder below which the output of an MLflow run is looked for.
    """
    from srcmatters.export.declared_rules import ExportOptions
    from srcmatters.export.model_card.author_statements import Authors, read_authors
    from srcmatters.export.model_files import EXTRA, missing_for_onnx
    from srcmatters.export.run_export import check_target, export as write_bundle
    from srcmatters.runs.trained_run import open_run

    if study is not None and unaudited:
        raise InputError("--audit, --unaudited: expected one of them")
    _check_names(register, no_register)
    check_target(to)
    options = ExportOptions(
        study,
        unaudited,
        sensitivity,
        calibration,
        finding,
        finding_code,
        data=not no_data,
        trust=trust,
        failure_images=failure_images,
        authors=read_authors(about) if about else Authors(),
        actions={name: action for name, _, action in (option.partition("=") for option in actions)},
    )
    opened = open_run(run, tracking_uri, runs)
    write_bundle(opened, to, options)
    click.echo(f"{to}: exported; read docs/model_card.html in it first")
    lacking = missing_for_onnx()
    if lacking:
        click.echo(f"without model.onnx, for which {lacking} is not installed: {EXTRA}")
    if opened.settings.get("unit") == "display":
        click.echo(
            "warning: trained with `unit: display`, it will refuse CT in HU, as DICOM has it", err=True
        )
    if not no_register:
        _register(opened, to, register, tracking_uri)


def _check_names(name: str | None, no_register: bool) -> None:
    """What is wrong with them is said before the export."""
    from srcmatters.export.mlflow_registration import check_name

    if name is not None and no_register:
        raise InputError("--register, --no-register: expected one of them")
    if name is not None:
        check_name(name)


def _register(run: TrainedRun, bundle: Path, name: str | None, tracking_uri: str) -> None:
    """The export is complete by now and stays; only what was asked for by name fails the command."""
    from srcmatters.export.mlflow_registration import default_name, register_model, why_unknown

    unknown = None if name else why_unknown(run, tracking_uri)
    if unknown:
        click.echo(f"not registered in MLflow: {unknown}; --register NAME records it there")
        return
    try:
        click.echo(register_model(bundle, run, name or default_name(bundle), tracking_uri))
    except InputError as error:
        if name:
            raise
        click.echo(f"not registered in MLflow: {str(error).removeprefix('--register: ')}", err=True)
