"""What `srcmatters audit refit` does: door, cases, new head, both audits, comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.audit.questions import parse_questions
from srcmatters.audit.refit import NETWORK, refit
from srcmatters.cohorts import open_cohort
from srcmatters.errors import InputError


def run_refit(
    model: str,
    contract: ContractOptions,
    trust: bool,
    device: str,
    out: Path,
    options: Mapping[str, Any],
    write: Callable[[str], None],
) -> None:
    """Refit the last layer of a model and print what came of it.

    Raises:
        InputError: whatever the user can mend, in one line.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out: {out} exists, expected a new folder")
    if not 0 < options["margin"] <= 0.5:
        raise InputError(f"--margin: got {options['margin']}, expected an AUC above 0 and up to .5")
    opened = open_model(model, contract, trust=trust, device=device)
    if not isinstance(opened, TorchModel):
        raise InputError(
            f"{model}: got {opened.kind}, expected a run or a bundle: only their last layer is fitted"
        )
    modality = "ct" if opened.contract.modality == "ct" else "xray"
    cases = open_cohort(options["dataset_dir"], options["cases"], modality)
    questions = parse_questions(options["confounders"], opened.contract)
    tested = parse_questions(options["tested"], opened.contract) if options["tested"] else []
    for one in refit(opened, cases, questions, tested, out, options, write):
        write(f"{one.outcome.value.ljust(14)}  {one.text}")
    write(f"{out / NETWORK}: as TorchScript; it takes the same input")
