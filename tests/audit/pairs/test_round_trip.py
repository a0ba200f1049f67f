"""A script plays the vendor: what comes back gives the scores of the opened network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from srcmatters.audit.contract import InputContract
from srcmatters.audit.pairs import PairState, as_stored, plan_pairs, read_returned, stored_bits, write_pairs
from srcmatters.cohorts import read_cases
from srcmatters.confounders import create_confounder
from srcmatters.errors import InputError
from srcmatters.images import load_radiograph

_CONTRACT = InputContract(size=(32, 32))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 5, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(784, 1)
        ).eval()


@pytest.fixture(scope="module")
def cases(radiograph_cohort: Path) -> pd.DataFrame:
    return read_cases(radiograph_cohort).iloc[:12]


@pytest.fixture(scope="module")
def states() -> list[PairState]:
    made = {name: create_confounder(name) for name in ("noise", "tag")}
    return [PairState(name, 1.0, confounder) for name, confounder in made.items() if confounder is not None]


@pytest.fixture(scope="module")
def sent(cases: pd.DataFrame, states: list[PairState], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("round") / "pairs"
    return write_pairs(plan_pairs(cases, states), _load, out, lambda line: None)


def _load(case: dict[str, Any]) -> torch.Tensor:
    return load_radiograph(case["image"])


def _logit(network: torch.nn.Module, image: torch.Tensor) -> float:
    with torch.no_grad():
        return float(network(_CONTRACT.model_input(image).unsqueeze(0)))


def _vendor(network: torch.nn.Module, file: Path) -> tuple[pydicom.Dataset, float]:
    """Reads stored values as a product does, with pydicom alone, and returns a probability."""
    header = pydicom.dcmread(file)
    shown = header.pixel_array.astype(np.float32) / np.float32(2**header.BitsStored - 1)
    return header, float(
        torch.sigmoid(torch.tensor(_logit(network, torch.from_numpy(shown)[None]), dtype=torch.float64))
    )


def _check(
    pairs: Path,
    answers: Path,
    network: torch.nn.Module,
    cases: pd.DataFrame,
    states: list[PairState],
    **options: Any,
) -> None:
    returned = read_returned(pairs, answers, **options)
    assert returned.notes == ()
    assert returned.cases["case_id"].tolist() == cases["case_id"].tolist()
    for state in (None, *states):
        scores = returned.clean if state is None else returned.confounded[state.confounder, state.dose]
        expected = []
        for case in cases.to_dict("records"):
            image = _load(case)
            changed = image if state is None else state.change(image, case["case_id"])
            expected.append(_logit(network, as_stored(changed, stored_bits(case["image"]))))
        np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_answers_of_a_vendor_are_the_scores_of_its_network(
    sent: Path, network: torch.nn.Module, cases: pd.DataFrame, states: list[PairState], tmp_path: Path
) -> None:
    rows = []
    for file in sorted((sent / "images").iterdir()):
        header, probability = _vendor(network, file)
        rows.append((header.AccessionNumber, probability))
    pd.DataFrame(rows, columns=["accession", "probability"]).to_csv(tmp_path / "scores.csv", index=False)
    _check(sent, tmp_path / "scores.csv", network, cases, states)


def _report(header: pydicom.Dataset, probability: float, percent: bool, others: bool) -> ComprehensiveSR:
    unit = codes.UCUM.Percent if percent else codes.UCUM.NoUnits
    values = [("Probability of mass", probability * (100 if percent else 1)), ("Operating threshold", 0.37)]
    values += [("Probability of effusion", 0.5)] if others else []
    measured = [
        Measurement(
            CodedConcept(name.upper().replace(" ", "")[:16], "99VENDOR", name),
            value,
            unit if "Prob" in name else codes.UCUM.NoUnits,
        )
        for name, value in values
    ]
    observer = ObserverContext(codes.DCM.Person, PersonObserverIdentifyingAttributes("Device"))
    group = MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(generate_uid(), "x"), measurements=measured
    )
    content = MeasurementReport(
        ObservationContext(observer_person_context=observer),
        CodedConcept("363680008", "SCT", "Radiographic imaging procedure"),
        [group],
    )
    return ComprehensiveSR(
        [header], content, generate_uid(), 1, generate_uid(), 1, "vendor", is_complete=True, is_final=False
    )


@pytest.mark.parametrize("percent", [False, True])
def test_answers_in_structured_reports(
    percent: bool,
    sent: Path,
    network: torch.nn.Module,
    cases: pd.DataFrame,
    states: list[PairState],
    tmp_path: Path,
) -> None:
    for file in sorted((sent / "images").iterdir()):
        header, probability = _vendor(network, file)
        _report(header, round(probability, 12), percent, False).save_as(tmp_path / file.name)
    _check(sent, tmp_path, network, cases, states, from_sr=True)


def test_a_report_of_several_findings_asks_which(
    sent: Path, network: torch.nn.Module, tmp_path: Path
) -> None:
    file = next((sent / "images").iterdir())
    header, probability = _vendor(network, file)
    _report(header, probability, False, True).save_as(tmp_path / "report.dcm")
    with pytest.raises(InputError, match="several numbers could be the score"):
        read_returned(sent, tmp_path, from_sr=True)
    returned = read_returned(sent, tmp_path, from_sr=True, finding="mass")
    assert returned.refusals["scored"].sum() == 1 and returned.refusals["missing"].sum() == 35
    with pytest.raises(InputError, match="no Structured Report below it"):
        read_returned(sent, sent / "images", from_sr=True)
