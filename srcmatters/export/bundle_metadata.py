"""``metadata.json`` of an exported bundle, valid against MONAI's schema."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from srcmatters import __version__

_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
# Fire is the command line of monai.bundle, GDCM decodes compressed DICOM.
_NEEDED = ("fire", "pyyaml", "pytorch-ignite", "pydicom", "python-gdcm")
_NEEDED_FOR = {"radiograph": ("pillow",), "ct": ("nibabel", "itk")}
_VERIFIES = "jsonschema"
_FRAMEWORK = {"monai": "monai", "pytorch": "torch", "numpy": "numpy"}
_MODALITY = {"radiograph": "DX", "ct": "CT"}


def bundle_metadata(rules: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """What MONAI reads of a bundle.

    Args:
        rules: ``clinical.json``.
        card: ``model_card.json``.
    """
    finding, dims = rules["finding"], rules["spatial_dims"]
    packages = (*_NEEDED, *_NEEDED_FOR[rules["modality"]])
    shared: dict[str, Any] = {"dtype": "float32", "is_patch_data": False}
    image = {
        "type": "image",
        "format": "hounsfield" if rules["unit"] == "HU" else "magnitude",
        "modality": _MODALITY[rules["modality"]],
        "num_channels": 1,
        "spatial_shape": [rules["image_size"]] * dims,
        "value_range": [0, 1],
        "channel_def": {"0": "image"},
    }
    pred = {
        "type": "logits",
        "format": "classes",
        "num_channels": 2,
        "spatial_shape": [],
        "value_range": [],
        "channel_def": {"0": finding["negative"], "1": finding["positive"]},
    }
    return {
        "schema": _SCHEMA,
        "version": card["version"],
        "changelog": {card["version"]: f"exported by srcmatters {__version__}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {name: metadata.version(name) for name in packages},
        "supported_apps": {},
        "name": rules["name"],
        "task": f"Binary classification: {finding['positive']} or {finding['negative']}",
        "description": " ".join(_described(rules, card)),
        "authors": card["developer"],
        "copyright": _copyright(card),
        "data_source": card["target_data"]["name"],
        "data_type": "PNG, JPEG, TIFF or DICOM"
        if rules["modality"] == "radiograph"
        else "NIfTI, ITK or DICOM",
        "image_classes": "grey values as displayed, 0 to 1",
        "label_classes": f"0: {finding['negative']}, 1: {finding['positive']}",
        "pred_classes": f"logits of ({finding['negative']}, {finding['positive']})",
        "eval_metrics": _metrics(card["performance"]),
        "intended_use": card["intended_use"],
        "references": card["references"],
        "network_data_format": {
            "inputs": {"image": {**image, **shared}},
            "outputs": {"pred": {**pred, **shared}},
        },
    }


def _described(rules: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
    """What was found before what it is."""
    shortcut = rules.get("shortcut")
    return [card["verdict"], *([f"{shortcut}."] if shortcut else []), card["summary"], card["notice"]]


def _copyright(card: Mapping[str, Any]) -> str:
    """Whose it is, and the licence of every part as ``LICENSE`` has it; the schema has no field for that."""
    parts = "; ".join(f"{row['part']}: {row['licence'].rstrip('.')}" for row in card["licence"])
    return f"{card['developer'].rstrip('.')}. {parts}."


def requirements(described: Mapping[str, Any]) -> dict[str, str]:
    """What pip is asked for by a bundle's README, in the versions that it was exported with.

    Args:
        described: of :func:`bundle_metadata`.

    Returns:
        "run": all that the bundle needs, as words of a command; "verify": what ``verify_metadata`` needs
        beside that.
    """
    versions = {name: described[f"{key}_version"] for key, name in _FRAMEWORK.items()}
    versions |= described["required_packages_version"]
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    return {"run": " ".join(pinned), "verify": f"{_VERIFIES}=={metadata.version(_VERIFIES)}"}


def _metrics(performance: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{environment} {name}": figures[name]["value"]
        for environment, figures in performance.items()
        for name in ("auroc", "sensitivity", "specificity")
        if figures[name]["value"] is not None
    }
