"""Doors for what this tool made: finished runs, and the bundles that it exports of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.model import Model, TrainedOn
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import WEIGHTS as BUNDLE_WEIGHTS, open_bundle
from srcmatters.files import sha256_of
from srcmatters.preprocessing.feature_cache import head_of
from srcmatters.preprocessing.patches import slab_to_read
from srcmatters.runs.file_names import CONFIG, WEIGHTS
from srcmatters.runs.trained_run import TrainedRun, open_run
from srcmatters.sources import is_own

#: Steps of `preprocessing` in the configuration of a run that a contract stands for.
_STEPS = {
    "srcmatters.images.LoadRadiographd",
    "srcmatters.images.LoadCTd",
    "srcmatters.images.Windowd",
    "srcmatters.confounders.Confounderd",
    "srcmatters.confounders.ClipDisplayd",
    "srcmatters.preprocessing.AntialiasedResized",
    "srcmatters.preprocessing.ResamplePatchd",
}


def open_trained_run(
    spec: str,
    options: ContractOptions,
    tracking_uri: str,
    device: torch.device | str,
    trust: bool = False,
) -> Model:
    """A run of ours, by its folder, MLflow id or registered model.

    Its configuration is read as data, never evaluated. ``trust`` lets a network of one's own be built.

    Raises:
        InputError: see :func:`srcmatters.runs.trained_run.open_run`; or its preprocessing is another than
            this version's.
    """
    run = open_run(spec, tracking_uri)
    _check_preprocessing(run)
    network = run.network(trust)
    settings = run.settings
    contract = settled_contract(options, _read_contract(settings, _spatial_dims(network)), str(run.folder))
    model = TorchModel(
        _run_name(run),
        contract,
        network.to(device),
        "run",
        sha256_of(run.folder / WEIGHTS),
        ("negative", "positive"),
        device,
        head_of(network, settings["network"]),
    )
    model.trained_on = TrainedOn(
        settings, tuple(run.predictions["case_id"]), tuple(run.validation["case_id"])
    )
    model.runs = f"the network {settings['network']} with the weights of the run"
    return model


def open_exported_bundle(path: Path, options: ContractOptions, device: torch.device | str) -> Model:
    """A bundle that `srcmatters export` wrote, a folder or a zip.

    Raises:
        InputError: see :func:`srcmatters.exported_bundle.bundle.open_bundle`.
    """
    with open_bundle(path) as bundle:
        rules, network = bundle.rules, bundle.network()
        digest = sha256_of(bundle.folder / BUNDLE_WEIGHTS)
    settings = rules if rules["modality"] == "ct" else {"image_size": rules["image_size"]}
    contract = settled_contract(options, _read_contract(settings, rules["spatial_dims"]), str(path))
    classes = (rules["finding"]["negative"], rules["finding"]["positive"])
    head = None if is_own(rules["network"]) else head_of(network, rules["network"])
    model = TorchModel(
        rules["name"], contract, network.to(device), "exported bundle", digest, classes, device, head
    )
    model.runs = f"the network {rules['network']} with the weights of the bundle"
    return model


def _read_contract(settings: Mapping[str, Any], spatial_dims: int) -> dict[str, Any]:
    """Fields of the contract by what a user chose of a run; those of CT have a unit."""
    shared = {
        "size": (int(settings["image_size"]),) * spatial_dims,
        "resize": "stretch",
        "channels": "grey",
        "layout": "channels_first",
        "value_range": "0..1",
        "inverted": False,
        "transposed": False,
        "output": (1,),
        "output_kind": "logits",
    }
    if "unit" not in settings:
        return {**shared, "modality": "radiograph"}
    window = settings["window"] if settings["unit"] == "HU" else None
    patch_mm = settings.get("patch_mm") or None
    return {
        **shared,
        "modality": "ct",
        "window": tuple(window) if isinstance(window, list) else window,
        "patch_mm": patch_mm,
        "slab_mm": slab_to_read(settings.get("slab_mm") or 0, patch_mm, spatial_dims) or None,
    }


def _spatial_dims(network: nn.Module) -> int:
    return max(weight.ndim for weight in network.parameters()) - 2


def _run_name(run: TrainedRun) -> str:
    """What tells runs apart comes first: tables cut long names off."""
    settings = run.settings
    confounder = [settings.get("confounder"), *_numbered(settings, "p_art")]
    rest = [settings.get("source"), settings["network"], *_numbered(settings, "fold", "seed")]
    return " ".join(str(part) for part in (*confounder, *rest) if part)


def _numbered(settings: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{name} {settings[name]}" for name in names if name in settings]


def _check_preprocessing(run: TrainedRun) -> None:
    """Refuse a run whose configuration prepares images in another way: the contract would be another."""
    described = run.config.get("preprocessing")
    steps = described.get("transforms") if isinstance(described, dict) else None
    names = [step.get("_target_") if isinstance(step, dict) else step for step in steps or []]
    foreign = [str(name) for name in names if name not in _STEPS]
    if not names or foreign:
        raise InputError(
            f"{run.folder / CONFIG}: preprocessing holds {', '.join(foreign) or 'nothing'}, expected the"
            " steps of a bundle of this tool; export the network and declare its input"
        )
