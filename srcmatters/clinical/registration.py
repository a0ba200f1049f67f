"""An exported bundle in the MLflow model registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from srcmatters.clinical.exported import open_bundle
from srcmatters.errors import InputError
from srcmatters.images.reading import first_line


def register_model(bundle: str | Path, name: str, tracking_uri: str) -> str:
    """Register the ONNX model of an exported bundle, with its signature and card.

    The new version gets the alias "audited" or "unaudited", and as tags the run that it comes from, threshold
    and calibration. ONNX, because reading it runs no code.

    Args:
        bundle: what :func:`srcmatters.clinical.export.export` wrote.
        name: of the registered model, made on first use.
        tracking_uri: MLflow store.

    Returns:
        NAME/VERSION and its alias, in words.

    Raises:
        InputError: the store cannot be used, or MLflow's part for ONNX is not installed.
    """
    import mlflow

    opened = open_bundle(bundle)
    rules = opened.rules
    shape = (-1, 1, *[rules["image_size"]] * rules["spatial_dims"])
    tensor = mlflow.types.TensorSpec
    signature = mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([tensor(np.dtype(np.float32), shape, "image")]),
        outputs=mlflow.types.Schema([tensor(np.dtype(np.float32), (-1, 2), "logits")]),
    )
    alias = "audited" if rules["audited"] else "unaudited"
    tags = {
        "srcmatters.audited": str(rules["audited"]),
        "srcmatters.threshold": str(rules["threshold"]["value"]),
        "srcmatters.calibration": rules["calibration"]["method"],
        **({"srcmatters.run": rules["mlflow_run"]} if rules["mlflow_run"] else {}),
    }
    try:
        import onnx

        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_experiment("exports")
        with mlflow.start_run(run_name=f"export of {rules['name']}"):
            mlflow.log_artifacts(str(opened.folder / "docs"), "docs")
            logged = mlflow.onnx.log_model(
                onnx.load(str(opened.folder / "models" / "model.onnx")), name="model", signature=signature
            )
        client = mlflow.MlflowClient(tracking_uri)
        version = mlflow.register_model(logged.model_uri, name).version
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)
    except ImportError as error:
        raise InputError(f'--register: no {error.name}, expected pip install "srcmatters[export]"') from error
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(f"--register: {name} cannot be registered ({first_line(error)})") from error
    return f"{name}/{version}, {name}@{alias}"
