"""A finished run as an export needs it: from its folder, an MLflow run, or a registered model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.confounders.pair_names import is_pair
from srcmatters.errors import InputError, find_input_error, first_line
from srcmatters.files import foreign_text
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.runs.file_names import (
    CONFIG,
    METRICS,
    MLFLOW_RUN,
    NETWORK_CODE,
    PREDICTIONS,
    VALIDATION,
    WEIGHTS,
)
from srcmatters.runs.prediction_table import read_predictions
from srcmatters.runs.trusted_configuration import CodeOfItsOwn, evaluated
from srcmatters.sources import classifier_of, is_own, read_constructor, read_weights
from srcmatters.sources.constructor import code_digest

_FILES = {
    WEIGHTS: "a fine-tuned run, or one of depth screen with save_model: true",
    CONFIG: "the output of a run",
    PREDICTIONS: "the output of a run",
    VALIDATION: "a run that kept its validation cases, on which threshold and calibration are fixed;"
    " run it again with this version",
}
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w.-]+))")


@dataclass(frozen=True)
class TrainingImages:
    """The images that a run was trained on, and who of them trained.

    Args:
        cache: both states of every case.
        chosen: the cases of the run.
    """

    cache: StateCache
    chosen: StudyCases

    def cases(self, part: str) -> pd.DataFrame:
        """Rows of the case table of "train", "validation" or "test"."""
        return self.cache.cases.iloc[getattr(self.chosen.split, part)]

    def as_trained(self, part: str) -> torch.Tensor:
        """(n, 1, H, W[, D]) of a part, each image in the state that it has in this study."""
        rows = getattr(self.chosen.split, part)
        state = self.chosen.states(rows, self.cache.states)
        return self.cache.images[torch.from_numpy(state), torch.from_numpy(np.asarray(rows, np.int64))]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        folder: its output_dir.
        record: its metrics.json.
        config: its config.yaml, not evaluated.
        mlflow_run: run id, where it was found by one or its output records it.
    """

    folder: Path
    record: dict[str, Any]
    config: dict[str, Any]
    mlflow_run: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What a user chose."""
        return self.record["settings"]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Prediction table of the test cases."""
        return read_predictions(self.folder / PREDICTIONS)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """Prediction table of the validation cases."""
        return read_predictions(self.folder / VALIDATION)

    def network(self, trust: bool = False) -> nn.Module:
        """The trained network, in evaluation mode on the CPU.

        Args:
            trust: build a network of one's own, which runs the code that the run kept.

        Raises:
            CodeOfItsOwn: it has such a network and is not trusted.
        """
        path = self.folder / WEIGHTS
        return classifier_of(read_weights(path), self.network_words(trust), origin=str(path)).eval()

    def network_words(self, trust: bool = False) -> str:
        """Name of the network, or what builds it from the file that the run kept; see :meth:`network`."""
        words = str(self.settings["network"])
        if not is_own(words):
            return words
        constructor = read_constructor(words)
        if constructor.foreign and not trust:
            raise CodeOfItsOwn(
                f"{self.folder}: its network is built by code of somebody's own ({constructor.origin}:"
                f"{constructor.function}); --trust runs it, for a run that you made yourself"
            )
        if constructor.recorded is None:
            return words
        code = self.folder / NETWORK_CODE
        if not code.is_file() or code_digest(code) not in constructor.recorded:
            raise InputError(f"{code}: not the file {constructor.recorded} that built the network of the run")
        return f"{code}:{constructor.call}"

    def images(self, trust: bool = False) -> TrainingImages:
        """The images, opened (or decoded again) by the run's own configuration.

        Args:
            trust: evaluate a configuration with code of its own, see
                :func:`srcmatters.runs.trusted_configuration.evaluated`.

        Raises:
            InputError: the configuration holds code of its own, or it or the images are not there any more.
        """
        try:
            cache, chosen = evaluated(self.folder, "cache", "chosen", trust=trust)
        except Exception as error:  # a configuration may raise anything
            reason = find_input_error(error) or first_line(error.__cause__ or error)
            raise InputError(
                f"{self.folder}: its images cannot be opened ({reason}); `--no-data` exports without run-time"
                " monitors"
            ) from error
        return TrainingImages(cache, chosen)


def open_images(output_dir: str | Path, trust: bool = False) -> StateCache:
    """The preprocessed images of a run, opened (or decoded again) by its own configuration.

    Args:
        output_dir: of the run.
        trust: evaluate a configuration with code of its own.

    Raises:
        InputError: the configuration or the images are not there any more; names no file of the target.
    """
    if not (Path(output_dir) / CONFIG).is_file():
        raise InputError(f"the run kept no {CONFIG}")
    try:
        (cache,) = evaluated(Path(output_dir), "cache", trust=trust)
        return cache
    except CodeOfItsOwn as error:
        raise InputError(
            "the run's configuration has code of its own, which --trust evaluates for runs that you made"
        ) from error
    except Exception as error:  # whatever a configuration raises: the report is written without its images
        if find_input_error(error) is None and not isinstance(error.__cause__, OSError):
            raise InputError(
                f"the run's configuration cannot be evaluated ({type(error).__name__})"
            ) from error
        raise InputError("the images of the run are not there any more") from error


def open_run(run: str, tracking_uri: str, runs: str | Path = "mlruns") -> TrainedRun:
    """Find a finished run.

    Args:
        run: its output_dir; an MLflow run id; or a registered model as NAME/VERSION or NAME@ALIAS.
        tracking_uri: MLflow store of the latter two.
        runs: folder below which the output of an MLflow run is looked for: MLflow keeps no weights.

    Raises:
        InputError: no such run, or one that lacks a file; names what was expected.
    """
    if Path(run).is_dir():
        return _read(Path(run), None)
    version = _VERSION.fullmatch(run)
    if not _RUN_ID.fullmatch(run) and not version:
        raise InputError(
            f"RUN: {run!r} is no folder, expected the output_dir of a run, an MLflow run id, or NAME/VERSION"
            " or NAME@ALIAS of a registered model"
        )
    run_id, content = _tracked(run, version, tracking_uri)
    folders = [path.parent for path in _records(Path(runs)) if path.read_bytes() == content]
    if not folders:
        raise InputError(
            f"RUN: MLflow run {run_id} has no output below {runs}, expected a folder with its metrics.json"
            " and model.pt; give the folder instead"
        )
    return _read(folders[0], run_id)


def _records(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob(METRICS)) if (path.parent / WEIGHTS).is_file())


def _tracked(run: str, version: re.Match[str] | None, tracking_uri: str) -> tuple[str, bytes]:
    """Run id and the metrics.json that MLflow keeps of it, a copy of the run's own."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # for one small file
    try:
        if version is not None:
            run_ids = (
                client.get_model_version(version["name"], version["version"])
                if version["version"]
                else client.get_model_version_by_alias(version["name"], version["alias"])
            )
            run = str(run_ids.run_id)
        path = mlflow.artifacts.download_artifacts(
            run_id=run, artifact_path=METRICS, tracking_uri=tracking_uri
        )
        return run, Path(path).read_bytes()
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(f"RUN: {run!r} is not in MLflow ({first_line(error)})") from error


def _read(folder: Path, mlflow_run: str | None) -> TrainedRun:
    record = _mapping(folder / METRICS, json.loads)
    if "retest_of" in record:
        raise InputError(f"{folder}: a new test of a run, expected the run that trained the network")
    if not isinstance(record.get("settings"), dict) or "network" not in record["settings"]:
        raise InputError(f"{folder / METRICS}: no settings, expected the metrics of a run")
    confounder = record["settings"].get("confounder")
    if is_pair(confounder):
        raise InputError(
            f"{folder}: a run of the pair {confounder}, which only `srcmatters report` and `results` take;"
            " expected a run of one confounder"
        )
    for name, expected in _FILES.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}, expected {expected}")
    config = _mapping(folder / CONFIG, yaml.safe_load)
    return TrainedRun(folder, record, config, mlflow_run or _recorded(folder))


def _recorded(folder: Path) -> str | None:
    """The MLflow run that an output says it is of, None where it was not tracked."""
    file = folder / MLFLOW_RUN
    run_id = _mapping(file, json.loads).get("run_id") if file.is_file() else None
    if run_id is not None and not (isinstance(run_id, str) and _RUN_ID.fullmatch(run_id)):
        raise InputError(f"{file}: run_id: got {run_id!r}, expected 32 hexadecimal digits or null")
    return run_id


def _mapping(file: Path, parse: Any) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file.parent}: no {file.name}, expected the output of a finished run")
    try:
        content = parse(foreign_text(file))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not readable ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: got a {type(content).__name__}, expected a mapping")
    return content
