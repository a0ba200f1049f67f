"""An audit from Python: a model, cases, and an object with tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from srcmatters.audit.audit_run import audit_model
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.functions import FunctionModel, annotated_batch
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.opening import open_model
from srcmatters.audit.doors.settling import settle_outputs
from srcmatters.audit.page import write_page
from srcmatters.audit.questions import parse_questions
from srcmatters.audit.record import write_record
from srcmatters.audit.result import Audit
from srcmatters.cohorts import check_cases, open_cohort
from srcmatters.errors import InputError, did_you_mean


def run(
    model: str | Path | Callable[..., Any],
    cases: pd.DataFrame | str | Path,
    confounders: Sequence[str] = (),
    *,
    plan: AuditPlan | None = None,
    controls: bool = True,
    trust: bool = False,
    batch_size: int = 32,
    num_workers: int = 0,
    out: str | Path | None = None,
    **contract: Any,
) -> Audit:
    """Audit a model: what does it lose when the correlation with a confounder is reversed?

    Args:
        model: what `srcmatters audit run` takes, or a function or module of a batch (N, C, H, W[, D]) float32
            that returns a value, or several, for each image.
        cases: case table whose ``image`` holds paths, or the folder of one, or "phantom".
        confounders: names, with arguments where need be (``"noise dose_factor=0.1"``); none: all that fit.
        plan: margin, threshold, seed, declared before any score is looked at.
        controls: ask the checks that score further images, too.
        trust: run code of a function that is given by name.
        batch_size: inputs per forward pass.
        num_workers: processes that decode.
        out: folder for audit.json, audit.html and the scores; None: nothing is written.
        contract: fields of :class:`srcmatters.audit.declared_contract.ContractOptions`, as the command line
            has them: ``size="224", value_range="imagenet", channels="rgb"``.

    Returns:
        The audit; ``Audit.table()`` has a row per verdict, ``outputs[0].scores.table()`` every score.

    Raises:
        InputError: whatever the caller can mend, in one line.

    Example:
        >>> audit = srcmatters.audit.run("model.onnx", "images", size="224", value_range="imagenet")
        >>> audit.table()[["confounder", "outcome", "value", "low", "high"]]
    """
    unknown = [name for name in contract if name not in ContractOptions.__dataclass_fields__]
    if unknown:
        known = list(ContractOptions.__dataclass_fields__)
        raise InputError(f"{unknown[0]}: unknown argument{did_you_mean(unknown[0], known)}")
    options = ContractOptions(**contract)
    opened = _opened(model, options, trust)
    modality = opened.contract.modality
    if isinstance(cases, pd.DataFrame):
        table = check_cases(cases.copy(), "cases")
    else:
        table = open_cohort(cases, modality="ct" if modality == "ct" else "xray")
    images = CaseImages(table, modality, opened.contract.unit, opened.contract.slab_mm)
    questions = parse_questions(list(confounders), opened.contract)
    audit = audit_model(
        opened,
        images,
        questions,
        plan,
        controls=controls,
        batch_size=batch_size,
        num_workers=num_workers,
        notes=opened.notes,
    )
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_record(audit, Path(out))
        write_page(audit, Path(out), questions, None)
    return audit


def _opened(model: str | Path | Callable[..., Any], options: ContractOptions, trust: bool) -> Model:
    if isinstance(model, (str, Path)):
        return open_model(str(model), options, trust=trust)
    if not callable(model):
        raise InputError(f"model: got a {type(model).__name__}, expected a path, a function or a module")
    if isinstance(model, nn.Module):
        model.eval()
    name = getattr(model, "__name__", type(model).__name__)
    opened = FunctionModel(
        name, settled_contract(options, {}, name), model, options.batch or annotated_batch(model), None
    )
    settle_outputs(opened, options)
    return opened
