"""From a finished run to a bundle that needs no part of this package, written completely or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from torch import nn

from srcmatters.audit.record import is_audit
from srcmatters.clean_shutdown import ended_cleanly
from srcmatters.errors import InputError, first_line
from srcmatters.evaluation.natural_shortcut import NaturalShortcut, natural_shortcut
from srcmatters.export import bundle_scripts
from srcmatters.export.bundle_metadata import bundle_metadata, requirements
from srcmatters.export.declared_rules import (
    ExportOptions,
    Monitors,
    decision_rule,
    declared_rules,
    monitor_records,
    spatial_dims,
)
from srcmatters.export.licence import licence_text
from srcmatters.export.model_audit import model_audit
from srcmatters.export.model_card.card import CardFacts, model_card, render_card
from srcmatters.export.model_card.chai import as_xml
from srcmatters.export.model_card.checklist import checklist
from srcmatters.export.model_card.failures import described, pictures, worst_errors
from srcmatters.export.model_card.statements import probability_noun
from srcmatters.export.model_files import describe_script, write_model_files
from srcmatters.export.monitor_fitting import features_of, fit_distance, fit_probe
from srcmatters.export.performance import performance
from srcmatters.export.study_evidence import audit
from srcmatters.exported_bundle.bundle import ARRAYS, RULES, SUMS, WEIGHTS, sums
from srcmatters.exported_bundle.input_rules import INPUT_RULES
from srcmatters.exported_bundle.rules_schema import NAME
from srcmatters.exported_bundle.saliency import check_feature_maps
from srcmatters.files import sha256_of
from srcmatters.images.windows import window_edges
from srcmatters.markdown import escaped
from srcmatters.runs.trained_run import TrainedRun, TrainingImages, open_run
from srcmatters.sources import is_own

_COMPARED = 8  # images on which the files are compared
_SCRIPTS = Path(bundle_scripts.__path__[0])
_SCRIPT = {"radiograph": "radiographs.py", "ct": "ct.py"}  # what stock MONAI lacks for each modality


def export(run: TrainedRun, to: str | Path, options: ExportOptions | None = None) -> Path:
    """Export a run.

    Args:
        run: of :func:`srcmatters.runs.trained_run.open_run`.
        to: a folder that does not exist or is empty, or a file that ends in .zip.
        options: None: the default ones.

    Returns:
        ``to``.

    Raises:
        InputError: no audit and no ``unaudited``; validation cases of one class; images that are not
            there any more; a file that computes something else than the network; or ``to`` cannot be written.
    """
    options, to = options or ExportOptions(), Path(to)
    check_target(to)
    if not re.fullmatch(NAME, options.finding) or not options.finding.strip():
        raise InputError(
            f"--finding: got {options.finding[:40]!r}, expected a name such as Mass: one line of at most 200"
            " characters"
        )
    if options.failure_images:
        _check_failure_images(run, options)
    audited = None if options.unaudited else evidence(run, options.study)
    if audited is None and not options.unaudited:
        raise InputError(
            f"{run.folder}: no audit: it was trained under no confounder (confounder"
            f" {run.settings['confounder']}, p_art {run.settings['p_art']}); give a study of such runs, or an"
            f" audit of it (srcmatters audit run {run.folder}), with --audit, or export with --unaudited"
        )
    with _whole(to) as folder:
        _write(run, folder, options, audited)
    return to


def evidence(run: TrainedRun, study: str | Path | None) -> dict[str, Any] | None:
    """What audits the run: a study or an audit of it, told apart by what the path holds."""
    return model_audit(run, study) if study is not None and is_audit(study) else audit(run, study)


def _write(run: TrainedRun, folder: Path, options: ExportOptions, audited: dict[str, Any] | None) -> None:
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True)
    network = run.network(options.trust)
    fitted, threshold = decision_rule(run, options)
    images = run.images(options.trust) if options.data else None
    parity = write_model_files(
        network, run.network_words(options.trust), _compared(run, network, images), folder / "models"
    )
    probed = {} if audited is None else _take_places(audited)
    monitors = Monitors() if images is None else _fit_monitors(run, network, images, probed, options.trust)
    shortcut = None if images is None else _shortcut(images)
    rules = declared_rules(run, network, options, fitted, threshold, images, audited)
    target = str(run.settings["target"])
    rules["shortcut"] = (shortcut.mark(target) or None) if isinstance(shortcut, NaturalShortcut) else None
    rules |= monitor_records(monitors, folder / ARRAYS)
    rules["weights_sha256"] = sha256_of(folder / WEIGHTS)
    (folder / RULES).write_text(_json(rules))
    (folder / SUMS).write_text(sums(folder, is_own(rules["network"])))
    figures, subgroups = performance(run, fitted, threshold)
    errors = worst_errors(run.predictions, fitted, threshold)
    made: dict[str, bytes | None] = {}
    if options.failure_images and images is not None:
        made = pictures(errors, images, network, run.settings["network"])
    shown = {name: content for name, content in made.items() if content is not None}
    failures = described(errors, [name if name in shown else None for name in made])
    facts = CardFacts(run, rules, figures, subgroups, parity, shortcut, images, failures, options.authors)
    card = model_card(facts)
    _describe(folder, rules, card, render_card(card, shown))
    for name, content in shown.items():
        (folder / "docs" / name).parent.mkdir(exist_ok=True)
        (folder / "docs" / name).write_bytes(content)


def _describe(folder: Path, rules: Mapping[str, Any], card: Mapping[str, Any], page: str) -> None:
    """Write the configurations, into the TorchScript as well, the licences and the texts."""
    metadata, inference = bundle_metadata(rules, card), _inference(rules)
    (folder / "configs" / "metadata.json").write_text(_json(metadata))
    (folder / "configs" / "inference.yaml").write_text(inference)
    (folder / "scripts").mkdir()
    shutil.copyfile(_SCRIPTS / _SCRIPT[rules["modality"]], folder / "scripts" / _SCRIPT[rules["modality"]])
    describe_script(folder / "models", metadata, inference)
    (folder / "LICENSE").write_text(licence_text(card), encoding="utf-8")
    readme = templates().get_template("readme.md.j2")
    docs = {
        "model_card.json": _json(card),
        "model_card.html": page,
        "applied_model_card.xml": as_xml(card["AppliedModelCard"]),
        "checklist.md": checklist(card),
        "README.md": readme.render(
            rules=rules, card=card, requirements=requirements(metadata), input_rules=INPUT_RULES
        ),
    }
    for name, text in docs.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")


def _check_failure_images(run: TrainedRun, options: ExportOptions) -> None:
    if not options.data:
        raise InputError("--failure-images: needs the images of the run, so not with --no-data")
    check_feature_maps(run.settings["network"])


def _compared(run: TrainedRun, network: nn.Module, images: TrainingImages | None) -> torch.Tensor:
    """Images on which the files of the network are compared: the run's own, or noise where there are none."""
    if images is not None:
        return images.as_trained("validation")[:_COMPARED].as_subclass(torch.Tensor).clone()
    dims = spatial_dims(network)
    size = [int(run.settings["image_size"])] * dims
    return torch.rand(4, 1, *size, generator=torch.Generator().manual_seed(0))


def _take_places(audited: dict[str, Any]) -> dict[str, Path]:
    """One run of each audited confounder, in which its images are; the paths leave the record.

    An audit of the model alone has no such runs, and so no monitors.
    """
    probed: dict[str, Path] = {}
    for row in audited["tested"]:
        places = row.pop("output_dirs")
        name = str(row["confounder"])
        if row["confounder_args"] != "{}":
            name += f" {row['confounder_args']}"
        if places:
            probed.setdefault(name, Path(places[0]))
    return probed


def _fit_monitors(
    run: TrainedRun, network: nn.Module, images: TrainingImages, probed: Mapping[str, Path], trust: bool
) -> Monitors:
    name = run.settings["network"]
    training, validation, test = (
        features_of(network, name, images.as_trained(part)) for part in ("train", "validation", "test")
    )
    trained = set(images.cases("train")["case_id"])
    probes = []
    for confounder, folder in probed.items():
        same = folder.resolve() == run.folder.resolve()
        cache = images.cache if same else open_run(str(folder), "").images(trust).cache
        if cache.states == 1:
            continue  # sampled from the patients: no image was changed
        rows = torch.from_numpy(np.flatnonzero(cache.cases["case_id"].isin(trained)))
        patients = cache.cases["patient_id"].iloc[rows.numpy()].tolist()
        clean, confounded = (cache.state(state)[rows] for state in ("clean", "confounded"))
        probes.append(fit_probe(confounder, clean, confounded, patients))
    return Monitors(fit_distance(training, validation, test), tuple(probes))


def _shortcut(images: TrainingImages) -> NaturalShortcut | str:
    cases = images.cache.cases
    try:
        return natural_shortcut(
            images.cache.state("clean"), cases["label"].astype(int).tolist(), cases["patient_id"].tolist()
        )
    except InputError as error:
        return str(error)


def _inference(rules: Mapping[str, Any]) -> str:
    template = "ct_inference.yaml.j2" if rules["modality"] == "ct" else "radiograph_inference.yaml.j2"
    low, high = window_edges(rules["window"]) if rules["window"] else (0.0, 1.0)
    return (
        templates()
        .get_template(template)
        .render(
            **{**rules, "threshold": rules["threshold"]["value"]},
            window_low=low,
            window_high=high,
            output=probability_noun(rules),
            scores_file="scores.csv" if rules["audited"] else "scores_unaudited.csv",
        )
    )


def templates() -> jinja2.Environment:
    """The templates of configurations and texts, which are not HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("srcmatters.export"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escaped
    return environment


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, default=str, allow_nan=False) + "\n"


def check_target(to: Path) -> None:
    """Refuse a place where an export would replace something.

    Raises:
        InputError: it exists and is no empty folder, or its parent does not.
    """
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise InputError(f"--to: {to} exists, expected a new folder or zip file")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to: the folder {to.absolute().parent} does not exist")


@contextmanager
def _whole(to: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``to``, as a folder or zip, when it is complete."""
    # Absolute: "." has no name. Inside of a folder that is there, which may be a volume of its own.
    place = to.absolute()
    beside = place if place.is_dir() else place.parent
    working = beside / f".{place.name}.{os.getpid()}"
    packed = working.with_name(f"{working.name}.zip")
    with ended_cleanly():
        try:
            working.mkdir()
            yield working
            if place.suffix.lower() == ".zip" and not place.is_dir():
                _pack(working, packed, place.stem)
                packed.replace(place)
            elif place.is_dir():
                for part in sorted(working.iterdir()):
                    part.replace(place / part.name)
            else:
                working.replace(place)
        except OSError as error:
            raise InputError(f"--to: {to} cannot be written ({first_line(error)})") from error
        finally:
            shutil.rmtree(working, ignore_errors=True)
            packed.unlink(missing_ok=True)


def _pack(folder: Path, file: Path, top: str) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}")
