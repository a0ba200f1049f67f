"""The rules of an exported bundle: what it may be used on, how it decides, what watches its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from srcmatters.errors import InputError
from srcmatters.evaluation.classification import fix_threshold
from srcmatters.evaluation.environments import scores_as_assigned
from srcmatters.export.input_ranges import input_ranges
from srcmatters.export.model_card.author_statements import FIRST_VERSION, Authors
from srcmatters.exported_bundle.calibration import ProbabilityCalibration, fit_calibration
from srcmatters.exported_bundle.input_rules import declared_actions
from srcmatters.exported_bundle.monitors import DISTANCE_NUMBERS, ConfounderProbe, FeatureDistance
from srcmatters.exported_bundle.rules_schema import RULES_VERSION
from srcmatters.runs.file_names import VALIDATION
from srcmatters.runs.prediction_table import log_odds
from srcmatters.runs.trained_run import TrainedRun, TrainingImages


@dataclass(frozen=True)
class ExportOptions:
    """How a run is exported.

    Args:
        study: folder of the runs that audit it, or of an audit of it; None: the run audits itself.
        unaudited: export without an audit, even where a confounder was tested, and say so on every output.
        sensitivity: wished share of the positives that are found, (0, 1]; None: Youden's threshold.
        calibration: "temperature", "isotonic" or "none".
        finding: what label 1 means: "Mass".
        code: value, scheme and meaning of the finding: ("4147007", "SCT", "Mass").
        data: open the images of the training, for monitors, ranges and the comparison of the files.
        trust: evaluate configurations that hold code which no packaged bundle has, to open the images.
        failure_images: show the worst errors as images in the card.
        authors: what they say of the model.
        actions: by the rules of :data:`srcmatters.exported_bundle.input_rules.CHOICES`, what is done with an
            image that breaks them; the others keep their default.

    Raises:
        InputError: an unknown rule, or an action that it does not have.
    """

    study: str | Path | None = None
    unaudited: bool = False
    sensitivity: float | None = None
    calibration: str = "temperature"
    finding: str = "positive"
    code: tuple[str, str, str] | None = None
    data: bool = True
    trust: bool = False
    failure_images: bool = False
    authors: Authors = field(default_factory=Authors)
    actions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        declared_actions(self.actions)


@dataclass(frozen=True)
class Monitors:
    """What travels along and watches the input.

    Args:
        distance: to the training images; None where no image was opened.
        probes: one for each audited confounder that changes images.
    """

    distance: FeatureDistance | None = None
    probes: tuple[ConfounderProbe, ...] = ()


def decision_rule(run: TrainedRun, options: ExportOptions) -> tuple[ProbabilityCalibration, float]:
    """Calibration and threshold, fixed on validation cases that are confounded as the training was.

    Raises:
        InputError: validation cases of one class only, or what the options ask for does not exist.
    """
    table = run.validation
    scores, labels = log_odds(scores_as_assigned(table)), table["label"].to_numpy()
    fitted = fit_calibration(scores, labels, options.calibration)
    threshold = fix_threshold(labels, fitted(scores), options.sensitivity)
    if np.isnan(threshold):
        file = run.folder / VALIDATION
        raise InputError(f"{file}: cases of one class only, expected both to fix a threshold")
    return fitted, threshold


def spatial_dims(network: nn.Module) -> int:
    """2 or 3, as the convolutions of a classifier have it."""
    return max(weight.ndim for weight in network[1].parameters()) - 2  # type: ignore[index]


def declared_rules(
    run: TrainedRun,
    network: nn.Module,
    options: ExportOptions,
    fitted: ProbabilityCalibration,
    threshold: float,
    images: TrainingImages | None,
    audited: dict[str, Any] | None,
) -> dict[str, Any]:
    """``clinical.json`` but for the monitors.

    Args:
        run: the run.
        network: its network.
        options: of the export.
        fitted: the calibration.
        threshold: on the calibrated probability.
        images: of the training; None: the ranges of the input are not known.
        audited: the audit, None without one.
    """
    settings = run.settings
    ct = "unit" in settings
    ranges = dict.fromkeys(("spacing_mm", "size", "depth_mm", "views", "positions"))
    sensitivity = options.sensitivity
    dims = spatial_dims(network)
    # Its registered model is called so: that of volumes is no version of that of slices.
    shown = ("CT volumes" if dims == 3 else "CT slices") if ct else "radiographs"
    return {
        "version": RULES_VERSION,
        "name": f"{options.finding} on {shown}",
        "model_version": options.authors.say("version", FIRST_VERSION),
        "modality": "ct" if ct else "radiograph",
        "body_part": str(run.config.get("body_part") or ""),
        "network": settings["network"],
        "image_size": int(settings["image_size"]),
        "unit": settings.get("unit", "display"),
        "window": settings["window"] if settings.get("unit") == "HU" else None,
        "patch_mm": settings.get("patch_mm") or None,
        "slab_mm": settings.get("slab_mm") or None,
        "spatial_dims": dims,
        "finding": {
            "positive": options.finding,
            "negative": f"no {options.finding}" if options.finding != "positive" else "negative",
            "code": list(options.code) if options.code else None,
        },
        "threshold": {
            "value": threshold,
            "rule": "youden" if sensitivity is None else f"sensitivity {sensitivity:g}",
            "fixed_on": "validation",
            "cases": len(run.validation),
        },
        "calibration": fitted.record(),
        "input": ranges if images is None else input_ranges(images.cases("train")),
        "actions": declared_actions(options.actions),
        "audited": audited is not None,
        "audit": audited,
        "mlflow_run": run.mlflow_run,
        "trained": {**settings, "dataset_sha256": run.record.get("dataset_sha256")},
    }


def monitor_records(monitors: Monitors, file: Path) -> dict[str, Any]:
    """The monitors as ``clinical.json`` describes them; their arrays are written to ``file``."""
    arrays: dict[str, np.ndarray] = {}

    def kept(owner: Any, prefix: str, names: tuple[str, ...]) -> dict[str, str]:
        stored = {name: f"{prefix}_{name}" for name in names}
        arrays.update({key: getattr(owner, name) for name, key in stored.items()})
        return stored

    records = [
        {
            "confounder": probe.confounder,
            "kind": "detectability probe",
            "arrays": kept(probe, f"probe{number}", ("mean", "scale", "weight")),
            **{
                name: getattr(probe, name)
                for name in ("bias", "threshold", "auc", "sensitivity", "false_alarms")
            },
        }
        for number, probe in enumerate(monitors.probes)
    ]
    distance, ood = monitors.distance, None
    if distance is not None:
        ood = {
            "layer": "stages",
            "arrays": kept(distance, "ood", ("mean", "scale", "basis", "precision")),
            **{name: getattr(distance, name) for name in DISTANCE_NUMBERS},
        }
    if arrays:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return {"ood": ood, "monitors": records}
