"""An exported bundle in the MLflow model registry, linked to the run that it comes from."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from srcmatters.errors import InputError, first_line
from srcmatters.export.mlflow_descriptions import model_text, version_text
from srcmatters.export.model_card.card import render_card
from srcmatters.exported_bundle.bundle import ExportedBundle, open_bundle
from srcmatters.runs.mlflow_tracking import Tracker
from srcmatters.runs.trained_run import TrainedRun

#: Experiment of runs that were not tracked when they were trained, and are registered nevertheless.
EXPERIMENT = "exports"
_DOCS = ("README.md", "checklist.md", "applied_model_card.xml")
_RUNTIME = ("onnxruntime", "numpy")


def check_name(name: str) -> None:
    """Refuse what MLflow, or ``NAME/VERSION`` and ``NAME@ALIAS``, cannot hold.

    Raises:
        InputError: an empty name, or one with / : @ in it.
    """
    if not name.strip() or re.search(r"[/:@]", name):
        raise InputError(f"--register: got {name!r}, expected a name without / : @")


def default_name(bundle: str | Path) -> str:
    """What a bundle is called where nobody names it: its own name, "Mass on radiographs"."""
    with open_bundle(bundle) as opened:
        return re.sub(r"[/:@]", "-", opened.rules["name"])


def why_unknown(run: TrainedRun, tracking_uri: str) -> str | None:
    """Why a store does not know a run, in words; None if it does.

    A store that does not exist yet is not made by asking it.
    """
    if run.mlflow_run is None:
        return "the run was not tracked"
    database = re.match(r"sqlite:///(.+)", tracking_uri)
    if database and not Path(database[1]).is_file():
        return f"there is no store {tracking_uri}"
    if _known(run.mlflow_run, tracking_uri) is None:
        return f"{_address(tracking_uri)} has no run {run.mlflow_run}"
    return None


def register_model(bundle: str | Path, run: TrainedRun, name: str, tracking_uri: str) -> str:
    """Register the ONNX model of an exported bundle, with its signature and card.

    The new version gets the alias "audited" or "unaudited", its description from the card, and as tags
    threshold and calibration. It is linked to the run; one that the store does not know is recorded there
    first, with settings and metrics. ONNX, because reading it runs no code.

    Args:
        bundle: what :func:`srcmatters.export.run_export.export` wrote.
        run: that it was exported from.
        name: of the registered model, made on first use.
        tracking_uri: MLflow store.

    Returns:
        NAME/VERSION and its alias, in words.

    Raises:
        InputError: the store cannot be used, or MLflow's part for ONNX is not installed.
    """
    import mlflow

    check_name(name)
    with open_bundle(bundle) as opened:
        card = json.loads((opened.folder / "docs" / "model_card.json").read_text(encoding="utf-8"))
        try:
            unknown = why_unknown(run, tracking_uri) is not None
            run_id = _record(run, tracking_uri) if unknown else str(run.mlflow_run)
            mlflow.set_tracking_uri(tracking_uri)
            client = mlflow.MlflowClient(tracking_uri)
            with _without_mlflows_words():
                uri = _log(client, opened, card, name, run_id)
                version = mlflow.register_model(uri, name, tags=_tags(opened.rules)).version
            client.update_model_version(name, version, version_text(opened.rules, card))
            if not client.get_registered_model(name).description:
                client.update_registered_model(name, model_text(card))
            alias = "audited" if opened.rules["audited"] else "unaudited"
            client.set_registered_model_alias(name, alias, version)
        except ImportError as error:
            raise InputError(
                f'--register: no {error.name}, expected pip install "srcmatters[export]"'
            ) from error
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise InputError(f"--register: {name} cannot be registered ({first_line(error)})") from error
    return f"registered in MLflow as {name}/{version}, {name}@{alias}"


def _known(run_id: str, tracking_uri: str) -> Any:
    import mlflow

    try:
        known_run = mlflow.MlflowClient(tracking_uri).get_run(run_id)
    except mlflow.exceptions.MlflowException:
        return None
    return known_run if known_run.info.lifecycle_stage == "active" else None


def _record(run: TrainedRun, tracking_uri: str) -> str:
    """A run in the store for one that was trained without it; by its metrics.json it is found again."""
    tracker = Tracker(tracking_uri, EXPERIMENT, run.settings, system_metrics=False)
    numbers = {key: value for key, value in run.record.items() if isinstance(value, int | float)}
    with tracker.run(), tempfile.TemporaryDirectory() as folder:
        tracker.log_metrics(numbers)
        shutil.copy(run.folder / "metrics.json", folder)
        tracker.log_folder(Path(folder))
    return str(tracker.run_id)


def _log(client: Any, opened: ExportedBundle, card: Mapping[str, Any], name: str, run_id: str) -> str:
    """Put model and card into the store, beside the other artifacts of the run's experiment; its URI."""
    import mlflow
    import onnx

    network = onnx.load(str(opened.folder / "models" / "model.onnx"))
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        name=re.sub(r"[^\w -]+", "-", name),
        source_run_id=run_id,
        params=run.data.params,
        model_type="onnx",
    )
    logged = mlflow.onnx.log_model(
        network,
        model_id=model.model_id,
        run_id=run_id,
        signature=_signature(opened.rules),
        pip_requirements=list(_RUNTIME),
        save_as_external_data=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        _write_docs(opened.folder / "docs", card, Path(folder))
        client.log_model_artifacts(model.model_id, folder, "docs")
    return logged.model_uri


def _signature(rules: Mapping[str, Any]) -> Any:
    import mlflow

    shape = (-1, 1, *[rules["image_size"]] * rules["spatial_dims"])
    tensor = mlflow.types.TensorSpec
    return mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([tensor(np.dtype(np.float32), shape, "image")]),
        outputs=mlflow.types.Schema([tensor(np.dtype(np.float32), (-1, 2), "logits")]),
    )


def _write_docs(docs: Path, card: Mapping[str, Any], folder: Path) -> None:
    """The texts of a bundle; its card without pictures of patients, which an export may hold on wish."""
    errors = [{key: one[key] for key in one if key != "image"} for one in card["failures"]]
    bare = {**card, "failures": errors}
    (folder / "model_card.json").write_text(json.dumps(bare, indent=2) + "\n")
    (folder / "model_card.html").write_text(render_card(bare), encoding="utf-8")
    for name in _DOCS:
        if (docs / name).is_file():
            shutil.copy(docs / name, folder)


def _tags(rules: Mapping[str, Any]) -> dict[str, str]:
    return {
        "srcmatters.audited": str(rules["audited"]),
        "srcmatters.threshold": f"{rules['threshold']['value']:.4f}",
        "srcmatters.calibration": rules["calibration"]["method"],
    }


@contextmanager
def _without_mlflows_words() -> Iterator[None]:
    """MLflow tells on the error stream what is said in one line afterwards."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _address(tracking_uri: str) -> str:
    """The store without the name and password that its address may hold."""
    return re.sub(r"://[^/@]+@", "://", tracking_uri)
