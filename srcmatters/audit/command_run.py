"""What `srcmatters audit run` does, in order: cases, door, input conventions, audit, files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from srcmatters.audit.audit_run import audit_model
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.console import print_audit
from srcmatters.audit.contract_sweep import Sweep, sweep
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.model import Model
from srcmatters.audit.exit_rule import FAILED, ExitRule
from srcmatters.audit.mlflow_record import track
from srcmatters.audit.page import PAGE, PDF, write_page
from srcmatters.audit.questions import parse_questions
from srcmatters.audit.record import EXCLUDED, RECORD, write_record
from srcmatters.audit.result import Audit, Question
from srcmatters.audit.scores_in_python import run_scores
from srcmatters.audit.twins import check_unseen, open_twins
from srcmatters.cohorts import open_cohort, read_cases
from srcmatters.errors import InputError
from srcmatters.images import file_digest
from srcmatters.reports.printing import find_browser, print_pdf
from srcmatters.runs.mlflow_store import require_usable

_STORE = ".scores"
#: Cases on which input conventions are compared: of 200 a cost of .05 AUC would be found in .13 to .61 of the
#: audits, of 440 in .53 to .99 (scores that correlate by .7 to .9).
SWEPT = 500


def run_audit(
    model: str,
    contract: ContractOptions,
    trust: bool,
    device: str,
    options: Mapping[str, Any],
    write: Callable[[str], None],
    styled: Callable[..., str],
) -> int | None:
    """Run an audit and write its folder.

    Args:
        model: what is audited, see :func:`srcmatters.audit.doors.open_model`; with ``pairs`` the scores.
        contract: what the user declares of the input.
        trust: whether code of the model's maker may run.
        device: of the model.
        options: of the command line.
        write: prints a line.
        styled: colours a text.

    Returns:
        Exit status 3 where --fail-if says so, else None.

    Raises:
        InputError: whatever the user can mend, in one line.
    """
    questions: list[Question] = []
    images: CaseImages | None = None
    rule = ExitRule.parse(options["fail_if"]) if options["fail_if"] else None
    plan = _plan(options)
    out = Path(options["out"])
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out} is a file, expected a folder")
    if (out / RECORD).exists() and not options["overwrite"]:
        raise InputError(f"--out: {out} holds an audit already, expected another folder, or --overwrite")
    if options["pdf"]:
        find_browser()  # said before minutes of scoring
    require_usable(options["tracking_uri"])  # likewise
    if options["pairs"] is not None:
        audited = run_scores(
            model,
            options["pairs"],
            plan=plan,
            from_sr=options["from_sr"],
            output_kind=contract.output_kind,
        )
        target = Path(options["pairs"]).name
    else:
        audited, questions, images = _of_model(model, contract, trust, device, options, plan)
        target = Path(str(options["dataset_dir"])).name
    for name in (RECORD, EXCLUDED, PAGE, PDF, "scores*.csv"):
        for old in out.glob(name):
            old.unlink()
    record = write_record(audited, out)
    page = write_page(audited, out, questions, images if options["images"] else None)
    shutil.rmtree(out / _STORE, ignore_errors=True)
    if options["pdf"]:
        print_pdf(page, out / PDF)
    print_audit(audited, write, styled)
    write("")
    write(f"{page}, {record}")
    where = track(audited, out, options["tracking_uri"] or None, target)
    if where:
        write(where)
    return FAILED if rule is not None and rule.fails(audited) else None


def _plan(options: Mapping[str, Any]) -> AuditPlan:
    if not 0 < options["margin"] <= 0.5:
        raise InputError(f"--margin: got {options['margin']}, expected an AUC above 0 and up to .5")
    threshold = options["threshold"]
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold: got {threshold}, expected a probability between 0 and 1")
    return AuditPlan(margin=options["margin"], threshold=threshold, seed=options["seed"])


def _of_model(
    spec: str,
    contract: ContractOptions,
    trust: bool,
    device: str,
    options: Mapping[str, Any],
    plan: AuditPlan,
) -> tuple[Audit, list[Question], CaseImages]:
    if options["dataset_dir"] is None:
        raise InputError("--dataset_dir: missing, expected the folder of a case table, or phantom")
    opened = open_model(
        spec, contract, trust=trust, tracking_uri=options["tracking_uri"] or "", device=device
    )
    modality = opened.contract.modality
    cases = open_cohort(options["dataset_dir"], options["cases"], "ct" if modality == "ct" else "xray")
    cases, left_out = _unseen(opened, cases)
    images = CaseImages(cases, modality, opened.contract.unit, opened.contract.slab_mm)
    twins = open_twins(options["twins"], contract, opened, options["tracking_uri"] or "")
    check_unseen(twins, cases)
    questions = parse_questions(options["confounders"], opened.contract)
    compared = _swept(opened, images, plan, options) if options["sweep"] else None
    audited = audit_model(
        opened,
        images,
        questions,
        plan,
        twins=twins,
        training_table=_training_table(options["trained_on"]),
        controls=options["controls"],
        sweep=None if compared is None else compared.table,
        batch_size=options["batch_size"],
        num_workers=options["num_workers"],
        store=Path(options["out"]) / _STORE,
        notes=[*opened.notes, *([] if compared is None else compared.notes), *left_out],
    )
    return audited, questions, images


def _unseen(model: Model, cases: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The cases that a run of ours was tested on, where the table is the one that it was trained on."""
    if model.trained_on is None:
        return cases, []
    tested = cases["case_id"].isin(model.trained_on.test_cases)
    if not tested.any() or tested.all():
        return cases, []
    remark = (
        f"{int((~tested).sum())} of {len(cases)} cases trained or validated this run and are left out; the"
        f" audit is of its {int(tested.sum())} test cases."
    )
    return cases[tested].reset_index(drop=True), [remark]


def _swept(model: Model, images: CaseImages, plan: AuditPlan, options: Mapping[str, Any]) -> Sweep:
    """The usual input conventions on a sample of the cases, both labels in their shares."""
    rows = np.arange(len(images))
    if len(rows) > SWEPT:
        rows = np.sort(np.random.default_rng(plan.seed).choice(rows, SWEPT, replace=False))
    readable = [int(row) for row in rows if _is_readable(images, int(row))]
    table = images.cases.iloc[readable]
    compared = sweep(
        model,
        (images.native(row) for row in tqdm(readable, desc="conventions", leave=False, disable=None)),
        table["label"].to_numpy(dtype=int),
        table["patient_id"].to_numpy(),
        batch_size=options["batch_size"],
        confidence=plan.confidence,
    )
    if compared.stops and not options["force"]:
        raise InputError(
            "; ".join((compared.stops, *compared.warnings))
            + "; expected another contract, or --force to go on"
        )
    return compared.forced() if compared.stops else compared


def _is_readable(images: CaseImages, row: int) -> bool:
    try:
        images.native(row)
    except (InputError, OSError):
        return False
    return True


def _training_table(path: Path | None) -> pd.DataFrame | None:
    """Case table of the training data, with the digests of those of its images that are here."""
    if path is None:
        return None
    table = read_cases(path.parent, path.name)
    digests = [file_digest(image) if Path(image).exists() else None for image in table["image"]]
    return table.assign(digest=pd.Series(digests, index=table.index, dtype=object))
