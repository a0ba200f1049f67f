"""`srcmatters predict`: an exported bundle on files, and the answers as a table and as DICOM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srcmatters.clean_shutdown import ended_cleanly
from srcmatters.deployment.retrieval.options import (
    ArchiveOptions,
    archive_options,
    check_source,
    open_archive,
    parse_selection,
)
from srcmatters.errors import InputError

if TYPE_CHECKING:
    from srcmatters.deployment.prediction.prediction_files import NewFolder
    from srcmatters.deployment.prediction.predictor import Prediction, Predictor
    from srcmatters.deployment.retrieval.retrieved_predictions import Retrieval


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--out", type=click.Path(path_type=Path), help="New folder for everything [default: print].")
@click.option("--sr", is_flag=True, help="Write a DICOM Structured Report for each answer; needs --out.")
@click.option("--sc", is_flag=True, help="Write where the network looked as DICOM images; needs --out.")
@click.option("--json", "as_json", is_flag=True, help="JSON beside the CSV, or printed instead of it.")
@click.option("--identifiers", is_flag=True, help="Write UIDs of study and series instead of hashes.")
@archive_options
@ended_cleanly()
def predict(
    bundle: Path,
    paths: tuple[Path, ...],
    out: Path | None,
    sr: bool,
    sc: bool,
    as_json: bool,
    identifiers: bool,
    **where: Any,
) -> None:
    """Read PATHs (files, folders, a zip archive), or studies --from an archive, with an exported BUNDLE."""
    if (sr or sc) and out is None:
        raise InputError("--sr, --sc: expected --out with them, a new folder to write to")
    archive = ArchiveOptions(**where)
    check_source(paths, archive)
    _check_unused(archive)
    from srcmatters.deployment.prediction.prediction_files import NewFolder
    from srcmatters.deployment.redaction import silence_libraries

    silence_libraries()
    with NewFolder(out) if out else nullcontext() as folder, _open(bundle, sc) as predictor:
        retrieval = None if paths else _retrieval(archive, predictor, identifiers)
        try:
            predictions = predictor.predict(paths) if retrieval is None else retrieval.predictions()
            with closing(predictions):
                rows, summary_parts = _read(predictions, predictor, folder, (sr, sc), identifiers)
        except (OSError, MemoryError) as error:  # no file's fault: those are refused one by one
            why = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"this machine cannot go on ({why}), expected room for a decoder") from error
        if not rows:
            raise InputError(_nothing_in(paths))
        summary_parts += retrieval.remarks if retrieval else ()
        _write(rows, predictor, folder, as_json)
    summary = ", ".join(summary_parts)
    click.echo(f"{out}: {summary}" if out else summary, err=out is None)


def _check_unused(archive: ArchiveOptions) -> None:
    """Refuse options that say how to ask an archive where none is asked: they would change nothing."""
    if archive.server is not None:
        return
    context = click.get_current_context()
    names = {option.name for option in fields(archive)}
    unused = [
        option.opts[0]
        for option in context.command.params
        if option.name in names
        and context.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
    ]
    if unused:
        raise InputError(f"{', '.join(unused)}: expected --from URL with it")


def _open(bundle: Path, captures: bool) -> Predictor:
    """What reads with the bundle; a wish that its network cannot fulfil is refused before any reading."""
    from srcmatters.deployment.prediction.predictor import Predictor
    from srcmatters.exported_bundle.bundle import open_bundle

    with open_bundle(bundle) as opened:
        if captures:
            from srcmatters.exported_bundle.saliency import check_feature_maps

            check_feature_maps(opened.rules["network"])
        return Predictor(opened)


def _nothing_in(paths: tuple[Path, ...]) -> str:
    """An empty table would look like an answer."""
    others = f" and {len(paths) - 1} others" if len(paths) > 1 else ""
    return f"{paths[0] if paths else '--from'}{others}: no image in it, expected DICOM, NIfTI or pictures"


def _retrieval(options: ArchiveOptions, predictor: Predictor, identifiers: bool) -> Retrieval:
    from srcmatters.deployment.retrieval.retrieved_predictions import Retrieval

    selection = parse_selection(options.studies, options.queries, options.max_studies)
    return Retrieval(open_archive(options), selection, predictor, options.timeout, identifiers)


def _read(
    predictions: Iterable[Prediction],
    predictor: Predictor,
    folder: NewFolder | None,
    wishes: tuple[bool, bool],
    identifiers: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the table, with the DICOM objects written meanwhile, and the parts of the summary."""
    from srcmatters.deployment.prediction.prediction_files import row
    from srcmatters.deployment.prediction.predictor import STATUSES
    from srcmatters.exported_bundle.disclaimers import audit_disclaimer

    rows, counts, without = [], Counter[str](), 0
    for number, prediction in enumerate(predictions, 1):
        if folder is not None and any(wishes):
            prediction, written = _write_dicom(number, prediction, predictor, folder, wishes)
            without += not written
        counts[prediction.status] += 1
        rows.append(row(prediction, predictor.rules, identifiers))
    parts = [f"{counts[status]} {status}" for status in STATUSES]
    if without:
        parts.append(f"{without} without DICOM objects (refused or no DICOM)")
    if predictor.passed_over:
        parts.append(f"{predictor.passed_over} files passed over that are no images")
    if mark := audit_disclaimer(predictor.rules):
        parts.append(f"bundle: {mark}")
    return rows, parts


def _write_dicom(
    number: int, prediction: Prediction, predictor: Predictor, folder: NewFolder, wishes: tuple[bool, bool]
) -> tuple[Prediction, bool]:
    """Write the DICOM objects; an image whose header allows none is flagged instead."""
    from dataclasses import replace

    from srcmatters.deployment.dicom_results.result_objects import result_objects

    try:
        answers = result_objects(prediction, predictor, *wishes)
    except InputError as error:
        reason = prediction.item.message(str(error))
        return replace(prediction, status="flagged", reasons=(*prediction.reasons, reason)), False
    for answer in answers:
        folder.write_dicom("reports" if answer.Modality == "SR" else "saliency", number, answer)
    return prediction, bool(answers)


def _write(rows: list[dict[str, Any]], predictor: Predictor, folder: NewFolder | None, as_json: bool) -> None:
    from srcmatters.deployment.prediction import prediction_files

    table = prediction_files.as_csv(rows)
    text = prediction_files.as_json(rows, predictor.rules) if as_json else ""
    if folder is None:
        click.echo(text or table, nl=False)
        return
    folder.write_text("predictions.csv", table)
    if as_json:
        folder.write_text("predictions.json", text)
