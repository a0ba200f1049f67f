"""The last layer of a finished model, fitted again on exact pairs with and without a confounder."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from srcmatters.audit.audit_run import audit_model
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.compare import Comparison, compare
from srcmatters.audit.doors.settling import synthetic_inputs
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.audit.doses import Dosed, available_doses
from srcmatters.audit.page import write_page
from srcmatters.audit.record import write_record
from srcmatters.audit.result import Audit, Question
from srcmatters.audit.scoring import Scorer
from srcmatters.clean_shutdown import ended_cleanly
from srcmatters.errors import InputError
from srcmatters.files import atomic_path, sha256_of
from srcmatters.training.linear_head import LinearHead
from srcmatters.training.mitigation.paired import fit_paired
from srcmatters.training.mitigation.training_cases import TrainingCases

NETWORK, BEFORE, AFTER = "refitted.ts", "before", "after"
_SHARE = 2  # one part in this many of a table is audited, where no run says which cases are its test


def divided(model: TorchModel, cases: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cases on which the head is fitted, and cases on which both heads are audited; no patient is in both.

    Of a run of ours its test cases are audited, and the head is fitted on the others; of any other model half
    of the patients.

    Raises:
        InputError: too few cases of a label on one side.
    """
    tested = np.zeros(len(cases), dtype=bool)
    if model.trained_on is not None:
        tested = cases["case_id"].isin(model.trained_on.test_cases).to_numpy()
    if not tested.any() or tested.all():
        _check_labels(cases, 2 * AuditPlan().least_cases, "fit the head and audit it")
        folds = StratifiedGroupKFold(_SHARE, shuffle=True, random_state=seed)
        _, rows = next(folds.split(cases, cases["label"], cases["patient_id"]))
        tested = np.zeros(len(cases), dtype=bool)
        tested[rows] = True
    parts = cases[~tested].reset_index(drop=True), cases[tested].reset_index(drop=True)
    for part, purpose in zip(parts, ("fit the head", "audit it"), strict=True):
        _check_labels(part, AuditPlan().least_cases, purpose)
    return parts


def _check_labels(cases: pd.DataFrame, least: int, purpose: str) -> None:
    fewest = min(int((cases["label"] == label).sum()) for label in (0, 1))
    if fewest < least:
        raise InputError(
            f"--dataset_dir: {fewest} cases of the rarer label are left to {purpose}, expected {least} or"
            " more"
        )


def refitted_model(
    model: TorchModel, images: CaseImages, questions: Sequence[Question], seed: int = 0, batch_size: int = 32
) -> TorchModel:
    """A copy of a model whose head was fitted again, so that confounders change its log-odds as little as
    can be.

    The loss and its penalty are those of :func:`srcmatters.training.mitigation.paired.fit_paired`: the label
    is learnt from the clean state of every case, and the squared difference of the log-odds to every
    confounder's state costs. The features stay as they are: what they do not keep apart no head can.

    Args:
        model: with a head; see :meth:`TorchModel.head`.
        images: of the cases on which the head is fitted.
        questions: confounders.
        seed: of confounders and inner folds.
        batch_size: of the passes.

    Raises:
        InputError: several findings, no head, or an image that cannot be read.

    Source: the last layer alone after Kirichenko, Izmailov and Wilson 2023, the penalty after Heinze-Deml
    and Meinshausen 2021. Heads fitted to both states with their labels, without the penalty, kept more of
    the reaction in each of three planted networks (docs/mitigation.md).
    """
    if len(model.outputs) != 1:
        raise InputError(f"{model.name}: {len(model.outputs)} findings, expected one: --output INDEX")
    if model.head() is None or not isinstance(model.network, nn.Module):
        raise InputError(
            f"{model.name}: its last layer cannot be told apart, expected a run, a bundle with weights, or an"
            " exported bundle, with one logit or two"
        )
    scorer = Scorer(model, images, batch_size)
    states: list[Dosed] = []
    for question in questions:
        present, _ = available_doses(question.name, question.args, seed)
        states += [one for one in present if one.dose == 1.0]
    clean = np.tile(_features(scorer, None), (len(states), 1))
    cases = images.cases
    pairs = TrainingCases(
        clean,
        np.concatenate([_features(scorer, state) for state in states]),
        np.tile(cases["label"].to_numpy(dtype=int), len(states)),
        np.zeros(len(clean), dtype=bool),
        np.tile(cases["patient_id"].to_numpy(), len(states)),
        np.tile(cases["case_id"].to_numpy(dtype=str), len(states)),
        seed,
    )
    fitted = fit_paired(pairs)
    return _with_head(model, fitted)


def _features(scorer: Scorer, state: Dosed | None) -> np.ndarray:
    features = scorer.features(state)
    assert features is not None  # the model has a head
    return features


@torch.no_grad()
def _with_head(model: TorchModel, fitted: LinearHead) -> TorchModel:
    changed = copy.copy(model)
    # Copied together: the head must be the one inside of the network.
    changed.network, head = copy.deepcopy((model.network, model.classification_head))
    assert head is not None
    changed.classification_head = head
    (index,) = model.contract.output
    weight = torch.from_numpy(fitted.weight).to(head.weight)
    if len(head.weight) == 1:
        rows, biases = weight[None], torch.tensor([fitted.bias])
    else:  # log-odds are the difference of both
        rows = torch.stack([-weight / 2, weight / 2])[[1 - index, index]]
        biases = torch.tensor([-fitted.bias / 2, fitted.bias / 2])[[1 - index, index]]
    head.weight.copy_(rows)
    if head.bias is None:
        head.bias = nn.Parameter(torch.zeros(len(head.weight)).to(head.weight))
    head.bias.copy_(biases.to(head.bias))
    changed.name, changed.trained_on = f"{model.name}, head refitted", None
    return changed


def write_network(model: TorchModel, path: Path) -> str:
    """Write a network as TorchScript for any batch size; its SHA-256."""
    example = synthetic_inputs(model.contract, 2).to(model.device, model.dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what many read
        network = torch.jit.trace(model.network, example)
        torch.jit.save(network, str(path))
        other = torch.jit.load(str(path), map_location=model.device)
        if not torch.allclose(other(example[:1]), model.network(example[:1]), atol=1e-4, rtol=1e-4):
            raise InputError(f"{path}: computes something else than the network, which depends on its input")
    return sha256_of(path)


def refit(
    model: TorchModel,
    cases: pd.DataFrame,
    questions: Sequence[Question],
    tested: Sequence[Question],
    out: Path,
    options: Mapping[str, Any],
    write: Callable[[str], None],
) -> list[Comparison]:
    """Refit the head, audit both models on cases that the head has not seen, and write everything to ``out``.

    Args:
        model: behind its door.
        cases: case table.
        questions: confounders.
        tested: further confounders that both are audited on: a cure may make another one worse.
        out: a folder that does not exist or is empty.
        options: seed, batch_size, margin.
        write: prints a line.

    Raises:
        InputError: see :func:`refitted_model`, :func:`divided`; or the folder cannot be written.
    """
    contract, plan = model.contract, AuditPlan(margin=options["margin"], seed=options["seed"])
    titles = {one.title for one in questions}
    audited_questions = [*questions, *(one for one in tested if one.title not in titles)]
    fitting, held_out = divided(model, cases, plan.seed)
    images = [
        CaseImages(one, contract.modality, contract.unit, contract.slab_mm) for one in (fitting, held_out)
    ]
    write(f"head fitted on {len(fitting)} cases, both audited on {len(held_out)} others")
    changed = refitted_model(model, images[0], questions, plan.seed, options["batch_size"])
    try:
        with ended_cleanly(), atomic_path(out) as folder:
            folder.mkdir()
            changed.sha256 = write_network(changed, folder / NETWORK)
            for name, one in ((BEFORE, model), (AFTER, changed)):
                audited = audit_model(
                    one, images[1], audited_questions, plan, controls=False, batch_size=options["batch_size"]
                )
                (folder / name).mkdir()
                write_record(audited, folder / name)
                write_page(audited, folder / name, audited_questions, None)
                _print(name, audited, write)
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror})") from error
    return compare(out / BEFORE, out / AFTER)


def _print(name: str, audited: Audit, write: Callable[[str], None]) -> None:
    output = audited.outputs[0]
    clean = next(one.text for one in output.findings if one.check == "clean_performance")
    write(f"{name}: {clean}")
    for verdict in output.verdicts:
        write(f"  {verdict.outcome.value if verdict.outcome else '–':14}  {verdict.text}")
