"""The last layer of a finished model, fitted again: what leant leans less, on cases that it has not seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from srcmatters.audit.commands import audit as command
from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.model import TrainedOn
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.audit.refit import divided, refit
from srcmatters.audit.result import Question
from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome

OPTIONS = {"margin": 0.05, "seed": 0, "batch_size": 16}


class Pooled(nn.Module):
    """Brightness on a grid of 8 x 8; the head is handed in."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1))


def leaning(classes: int, index: int | None = None) -> TorchModel:
    """A network that reads the upper left corner, which a border darkens, and a little of the middle."""
    network, index = Pooled(classes).eval(), classes - 1 if index is None else index
    weight = torch.zeros(64)
    weight[:3], weight[24:40] = 30.0, 1.0
    with torch.no_grad():
        rows = [weight] if classes == 1 else [-weight / 2, weight / 2] if index else [weight / 2, -weight / 2]
        network.head.weight.copy_(torch.stack(rows))
        network.head.bias.zero_()
    kind = "logit" if classes == 1 else "logits"
    contract = InputContract(size=(64, 64), output=(index,), output_kind=kind)
    model = TorchModel("corner", contract, network, "run", head=network.head)
    model.outputs = ("Mass",)
    return model


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("cohort") / "phantoms"
    write_phantom_cohort(folder, 80, seed=3, image_size=64, difficulty=0.0)
    return read_cases(folder)


@pytest.mark.parametrize(
    ("classes", "index"),
    [(1, 0), pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(2, 0, marks=pytest.mark.slow)],
)
def test_a_head_that_read_the_border_reads_it_less(
    classes: int, index: int, cases: pd.DataFrame, tmp_path: Path
) -> None:
    model, lines = leaning(classes, index), []
    before = model.classification_head.weight.detach().clone()  # type: ignore[union-attr]
    (border, other) = refit(
        model,
        cases,
        [Question("letterbox")],
        [Question("jpeg"), Question("letterbox")],
        tmp_path / "out",
        OPTIONS,
        lines.append,
    )
    assert (border.confounder, other.confounder) == ("letterbox", "jpeg")
    assert border.outcome is Outcome.LEANS and border.difference > 0.1 and "head refitted" in border.text
    assert torch.equal(before, model.classification_head.weight)  # type: ignore[union-attr]
    scores = {name: pd.read_csv(tmp_path / "out" / name / "scores.csv") for name in ("before", "after")}
    assert scores["before"]["case_id"].tolist() == scores["after"]["case_id"].tolist()
    assert "head fitted on 40 cases, both audited on 40 others" in lines
    # The log-odds are those of the finding, whichever of the outputs it is.
    after = scores["after"]
    assert after.groupby("label")["log_odds_clean"].mean().diff().iloc[-1] > 0
    # What was written is what was audited.
    file = tmp_path / "out" / "refitted.ts"
    again = open_model(
        str(file),
        ContractOptions(
            size="64",
            channels="grey",
            output_kind=model.contract.output_kind,
            outputs=(str(index),),
            value_range="0..1",
        ),
    )
    image = torch.rand(3, 1, 64, 64)
    network = torch.jit.load(str(file))
    with torch.no_grad():
        raw = network(image).numpy()
    expected = raw[:, 0] if classes == 1 else raw[:, index] - raw[:, 1 - index]
    assert again.log_odds(image)[:, 0] == pytest.approx(expected, abs=1e-4)


def test_no_patient_fits_and_audits(cases: pd.DataFrame) -> None:
    twice = pd.concat([cases, cases.assign(case_id=cases["case_id"] + "b")], ignore_index=True)
    fitting, held_out = divided(leaning(1), twice, 0)
    assert (
        not set(fitting["patient_id"]) & set(held_out["patient_id"]) and len(fitting) + len(held_out) == 160
    )
    model = leaning(1)
    model.trained_on = TrainedOn({}, tuple(cases["case_id"][:40]), tuple(cases["case_id"][40:50]))
    fitting, held_out = divided(model, cases, 0)
    assert set(held_out["case_id"]) == set(cases["case_id"][:40])
    with pytest.raises(InputError, match="cases of the rarer label are left to"):
        divided(model, cases.iloc[:44], 0)
    rare = pd.concat([cases[cases["label"] == 0], cases[cases["label"] == 1].iloc[:1]])
    with pytest.raises(InputError, match="1 cases of the rarer label are left to fit the head and audit it"):
        divided(leaning(1), rare, 0)


def test_what_is_interrupted_leaves_nothing(
    cases: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srcmatters.audit.refit.write_page", stop)
    with pytest.raises(KeyboardInterrupt):
        refit(leaning(1), cases, [Question("letterbox")], [], tmp_path / "out", OPTIONS, print)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_refitted_is_one_line(cases: pd.DataFrame, tmp_path: Path) -> None:
    headless = leaning(1)
    headless.classification_head = None
    with pytest.raises(InputError, match="its last layer cannot be told apart"):
        refit(headless, cases, [Question("letterbox")], [], tmp_path / "a", OPTIONS, print)
    assert not (tmp_path / "a").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    done = CliRunner().invoke(
        command,
        [
            "refit",
            "m.onnx",
            "--dataset_dir",
            "phantom",
            "--confounder",
            "tag",
            "--out",
            str(tmp_path / "full"),
        ],
    )
    assert isinstance(done.exception, InputError) and "expected a new folder" in str(done.exception)
