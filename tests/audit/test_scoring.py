"""Scoring: decoded once, what it says, what an interruption loses, and what a mistake says."""

from pathlib import Path

import numpy as np
import pytest
from audit_cases import BrightCorner
from PIL import Image
from torch import Tensor

from srcmatters.audit.audit_run import audit_model
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.console import print_audit
from srcmatters.audit.contract import InputContract
from srcmatters.audit.doses import dosed
from srcmatters.audit.record import write_record
from srcmatters.audit.result import Question
from srcmatters.audit.scoring import Scorer
from srcmatters.audit.state_scores import State
from srcmatters.cohorts import read_cases
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome


@pytest.fixture
def images(radiograph_cohort: Path) -> CaseImages:
    return CaseImages(read_cases(radiograph_cohort))


def test_scores_are_those_of_the_model_on_the_confounded_image(images: CaseImages) -> None:
    model, tag = BrightCorner(2.0), dosed("tag")
    scored = Scorer(model, images, batch_size=7).score([None, tag])
    case = images.native(5)
    clean = model.log_odds(model.contract.model_input(case["image"])[None])
    changed = tag.confounder(case["image"], case["case_id"])
    confounded = model.log_odds(model.contract.model_input(changed)[None])
    assert scored.log_odds[:, 5, 0] == pytest.approx([clean[0, 0], confounded[0, 0]], abs=1e-5)
    assert len(set(scored.digests)) == len(images)


def test_the_batch_size_changes_nothing(images: CaseImages) -> None:
    states = [None, dosed("tag"), dosed("noise", 3.0)]
    one, many = (Scorer(BrightCorner(), images, size).score(states).log_odds for size in (1, 64))
    assert np.allclose(one, many, atol=1e-6)


class _Dies(BrightCorner):
    def forward(self, inputs: Tensor) -> Tensor:
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().forward(inputs)


def test_an_interrupted_audit_goes_on(images: CaseImages, tmp_path: Path) -> None:
    states = [None, dosed("tag")]
    with pytest.raises(KeyboardInterrupt):
        Scorer(_Dies(), images, 32, store=tmp_path).score(states)
    model = BrightCorner()
    scored = Scorer(model, images, 32, store=tmp_path).score(states)
    assert model.calls == 1  # 48 cases: the chunk of the first 32 was kept, 16 cases in two states were not
    whole = Scorer(BrightCorner(), images, 32).score(states)
    assert np.array_equal(scored.log_odds, whole.log_odds) and scored.digests == whole.digests


def test_other_states_or_another_contract_are_other_scores(images: CaseImages, tmp_path: Path) -> None:
    Scorer(BrightCorner(), images, 32, store=tmp_path).score([None, dosed("tag")])
    other = BrightCorner()
    other.contract = other.contract.but(inverted=True)
    for model, states in ((BrightCorner(), [None, dosed("tag", 3.0)]), (other, [None, dosed("tag")])):
        Scorer(model, images, 32, store=tmp_path).score(states)
        assert model.calls > 0


def test_an_unreadable_image_is_counted_with_its_reason(radiograph_cohort: Path, tmp_path: Path) -> None:
    cases = read_cases(radiograph_cohort).iloc[:12].copy()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    cases.loc[3, "image"] = str(broken)
    scored = Scorer(BrightCorner(), CaseImages(cases)).score([None, dosed("tag")])
    assert np.isnan(scored.log_odds[:, 3]).all() and np.isfinite(np.delete(scored.log_odds, 3, 1)).all()
    ((state, row, reason),) = scored.refused
    assert (state, row) == (0, 3) and "broken.png" in reason
    audited = audit_model(BrightCorner(), CaseImages(cases), [Question("tag")], controls=False)
    ((where, kind, count),) = audited.refusals
    assert (where, count) == ("clean", 1) and "broken" not in kind and str(tmp_path) not in kind
    write_record(audited, tmp_path)
    assert "broken.png" in (tmp_path / "excluded.csv").read_text()
    assert "broken" not in (tmp_path / "audit.json").read_text()
    printed: list[str] = []
    print_audit(audited, printed.append, lambda text, **_: text)
    named = f"! 1 case has no score in one state or more, {cases['case_id'].iloc[3]} (clean): "
    (line,) = [one for one in printed if one.startswith(named)]
    assert str(broken) in line and line.endswith("; excluded.csv lists them")
    with pytest.raises(InputError, match="no image can be scored"):
        Scorer(BrightCorner(), CaseImages(cases.iloc[[3]])).score([None])


def innocent_scores(images: CaseImages) -> np.ndarray:
    return Scorer(BrightCorner(0.0), images).score([None]).log_odds[0, :, 0]


def test_an_audit_from_images_to_verdicts(images: CaseImages) -> None:
    questions = [Question("tag"), Question("noise", {"dose_factor": 0.5})]
    leaning = audit_model(BrightCorner(30.0), images, questions)
    by_confounder = {one.subject: one.outcome for one in leaning.outputs[0].verdicts}
    assert by_confounder["tag"] is Outcome.LEANS and leaning.outcome is Outcome.LEANS
    assert leaning.outputs[0].verdicts[0].subject == "tag"  # the worst first
    checks = {one.check for one in leaning.outputs[0].findings}
    assert {"sham", "perturbations", "refitted_head", "text_in_images", "origin", "overlap"} <= checks
    # Labels that the model knows: what is bright in the middle is positive.
    clean = innocent_scores(images)
    images.cases["label"] = (clean > np.median(clean)).astype(int)
    innocent = audit_model(BrightCorner(0.0), images, questions, controls=False)
    (tag,) = [one for one in innocent.outputs[0].verdicts if one.subject == "tag"]
    assert tag.value == 0 and tag.outcome is not Outcome.LEANS
    again = audit_model(BrightCorner(0.0), images, questions, controls=False)
    one, other = (audited.outputs[0].scores.confounded[State("tag")] for audited in (innocent, again))
    assert np.array_equal(one, other)


def test_a_confounder_that_the_models_crop_cuts_away_gets_no_verdict(
    radiograph_cohort: Path, tmp_path: Path
) -> None:
    cases = read_cases(radiograph_cohort)
    for row, path in enumerate(cases["image"]):
        with Image.open(path) as image:
            wide = Image.new("L", (3 * image.width, image.height))
            wide.paste(image, (image.width, 0))
            wide.save(tmp_path / f"{row}.png")
    cases["image"] = [str(tmp_path / f"{row}.png") for row in range(len(cases))]
    model = BrightCorner()
    model.contract = InputContract(size=(64, 64), resize="crop")
    audit = audit_model(model, CaseImages(cases), [Question("tag"), Question("noise")], controls=False)
    verdicts = {one.subject: one for one in audit.outputs[0].verdicts}
    assert verdicts["tag"].outcome is Outcome.SKIPPED
    assert "changes nothing in the images that the model gets" in verdicts["tag"].reason
    assert verdicts["noise"].outcome is not Outcome.SKIPPED
