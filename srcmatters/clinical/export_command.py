"""`srcmatters export`: a run as a bundle for people who do not have this package."""

from __future__ import annotations

from pathlib import Path

import click

TRACKING_URI = "sqlite:///mlruns/mlflow.db"


@click.command()
@click.argument("run")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="New folder, or FILE.zip.")
@click.option("--audit", "study", type=click.Path(path_type=Path), help="Study of runs trained alike.")
@click.option("--unaudited", is_flag=True, help="Export without an audit; every output says so.")
@click.option("--finding", default="positive", show_default=True, help="What label 1 means: Mass.")
@click.option("--finding-code", nargs=3, metavar="VALUE SCHEME MEANING", help="4147007 SCT Mass")
@click.option("--sensitivity", type=float, help="Wished on the validation cases [default: Youden].")
@click.option(
    "--calibration", default="temperature", show_default=True, help="temperature, isotonic or none."
)
@click.option("--no-data", is_flag=True, help="Open no image: no monitors, no ranges of the input.")
@click.option("--register", metavar="NAME", help="Also register the model in MLflow under this name.")
@click.option("--tracking-uri", default=TRACKING_URI, show_default=True, help="MLflow store.")
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
    no_data: bool,
    register: str | None,
    tracking_uri: str,
    runs: Path,
) -> None:
    """Export RUN: its output_dir, an MLflow run id, or a registered model as NAME/VERSION or NAME@ALIAS.

    --runs is the folder below which the output of an MLflow run is looked for.
    """
    from srcmatters.clinical.export import check_target
    from srcmatters.clinical.export import export as write_bundle
    from srcmatters.clinical.export_rules import ExportOptions
    from srcmatters.clinical.trained_run import open_run

    check_target(to)
    options = ExportOptions(study, unaudited, sensitivity, calibration, finding, finding_code, not no_data)
    found = open_run(run, tracking_uri, runs)
    write_bundle(found, to, options)
    click.echo(f"{to}: exported; read docs/model_card.html in it first")
    if register:
        from srcmatters.clinical.registration import register_model

        click.echo(register_model(to, register, tracking_uri))
