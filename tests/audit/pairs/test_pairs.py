"""What is sent through a product says nothing of the state, and what comes back is matched with it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from srcmatters.audit.pairs import (
    PairState,
    as_stored,
    plan_pairs,
    read_returned,
    write_pairs,
)
from srcmatters.audit.pairs.plan import smallest_loss
from srcmatters.audit.preparation import prepare_pairs
from srcmatters.audit.scores_in_python import run_scores
from srcmatters.confounders import create_confounder
from srcmatters.errors import InputError
from srcmatters.evaluation.resampling import Ranking, auc, auc_influence
from srcmatters.images import load_ct, load_radiograph

_KINDS = [("radiograph", "dicom"), ("radiograph", "png"), ("ct", "dicom"), ("ct", "nifti")]


def _load(case: dict[str, Any]) -> MetaTensor:
    return load_radiograph(case["image"])


def _load_ct(case: dict[str, Any]) -> MetaTensor:
    return load_ct(case["image"])


def _states(modality: str) -> list[PairState]:
    tag, noise = create_confounder("tag"), create_confounder("noise")
    assert tag is not None and noise is not None
    if modality == "radiograph":
        return [PairState("tag", 1.0, tag), PairState("noise", 1.0, noise)]
    kernel: Callable[..., torch.Tensor] = lambda image, case: image + 5  # noqa: E731
    return [PairState("brighter", 1.0, kernel), PairState("brighter", 3.0, lambda image, case: image + 15)]


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """24 cases of 16 patients, 8-bit PNG of two sizes."""
    folder = tmp_path_factory.mktemp("cases")
    stream = np.random.default_rng(0)
    rows = []
    for number in range(24):
        side = 40 + 8 * (number % 2)
        path = folder / f"Mrs Smith {number}.png"
        Image.fromarray((stream.random((side, side)) * 200).astype(np.uint8)).save(path)
        patient = f"MRN-{4711 + number % 16}"
        rows.append((f"case-{number}", patient, str(path), number % 2, "PA" if number % 3 else "AP"))
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label", "view"])


@pytest.fixture(scope="module")
def scans(ct_cohort: Path) -> pd.DataFrame:
    cases = pd.read_csv(ct_cohort / "cases.csv").iloc[:6]
    case_id = [f"ct-{number}" for number in range(len(cases))]
    return cases.assign(image=[str(ct_cohort / name) for name in cases["image"]], case_id=case_id)


@pytest.fixture(scope="module")
def pairs(
    radiographs: pd.DataFrame, scans: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> dict[Any, Path]:
    """Every format, written once."""
    made = {}
    for modality, file_format in _KINDS:
        cases, load = (scans, _load_ct) if modality == "ct" else (radiographs, _load)
        plan = plan_pairs(cases, _states(modality), modality=modality, file_format=file_format, seed=1)
        out = tmp_path_factory.mktemp("sent") / file_format
        made[modality, file_format] = write_pairs(plan, load, out, lambda line: None)
    return made


def _manifest(pairs: Path) -> pd.DataFrame:
    return pd.read_csv(pairs / "manifest.csv", dtype={"case_id": str})


@pytest.mark.parametrize("kind", _KINDS)
def test_what_is_read_again_is_the_state_in_the_stored_depth(
    kind: tuple[str, str], pairs: dict[Any, Path], radiographs: pd.DataFrame, scans: pd.DataFrame
) -> None:
    modality, _ = kind
    cases = (scans if modality == "ct" else radiographs).set_index("case_id")
    states = {(state.confounder, state.dose): state.change for state in _states(modality)}
    manifest = _manifest(pairs[kind])
    assert len(manifest) == 3 * len(cases)
    for row in manifest.iloc[::5].itertuples():
        original = (_load_ct if modality == "ct" else _load)({"image": cases.loc[row.case_id, "image"]})
        changed = states.get((row.confounder, row.dose), lambda image, case: image)(original, row.case_id)
        path = pairs[kind] / "images" / row.file
        again = load_ct(path) if modality == "ct" else load_radiograph(path)
        expected = as_stored(changed, None if modality == "ct" else 8)
        np.testing.assert_allclose(np.asarray(again), np.asarray(expected), atol=1e-6)
        if kind == ("ct", "dicom") or kind == ("ct", "nifti"):
            np.testing.assert_allclose(again.affine, original.affine, atol=1e-4)


def test_storing_rounds_to_the_nearest_value() -> None:
    shown = torch.rand(1, 20, 20)
    for bits in (8, 12, 16):
        step = 1 / (2**bits - 1)
        assert (as_stored(shown, bits) - shown).abs().max() <= 0.5 * step + 1e-7
    hounsfield = torch.rand(1, 20, 20, 2) * 2000 - 1000
    assert (as_stored(hounsfield, None) - hounsfield).abs().max() <= 0.5


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind[1] == "dicom"])
def test_dicom_is_valid(kind: tuple[str, str], pairs: dict[Any, Path]) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    file = next(path for path in sorted((pairs[kind] / "images").rglob("*.dcm")))
    result = subprocess.run([checker, str(file)], capture_output=True, text=True, check=False)
    errors = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")]
    assert errors == []


def test_no_identifier_leaves(pairs: dict[Any, Path]) -> None:
    for kind, folder in pairs.items():
        for path in (folder / "images").rglob("*"):
            assert not re.search("Smith|case|ct-", path.name)
            if path.is_file():
                content = path.read_bytes()
                assert not any(
                    word in content for word in (b"MRN", b"Smith", b"case-", b"phantom", b"PHANTOM")
                ), kind
    assert set(pd.read_csv(pairs["radiograph", "png"] / "images.csv").columns) == {"id", "file"}


def _seen_from_outside(pairs: Path) -> pd.DataFrame:
    """Numbers of everything but the pixels: names, order, sizes, times, header elements, UIDs."""
    rows = []
    for place, name in enumerate(pd.read_csv(pairs / "images.csv")["file"]):
        path = pairs / "images" / name
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        sizes = [file.stat().st_size for file in files]
        row: dict[str, float] = {
            "place": place,
            "size": sum(sizes),
            "files": len(files),
            "time": files[0].stat().st_mtime,
        }
        row |= {f"letter{at}": ord(letter) for at, letter in enumerate(name)}
        if files[0].suffix == ".dcm":
            for element in pydicom.dcmread(files[0], stop_before_pixels=True).iterall():
                text = str(element.value)
                row[f"{element.tag} length"] = len(text)
                digits = re.sub(r"\D", "", text)[:15]
                row[f"{element.tag} digits"] = float(digits or 0)
        elif files[0].suffix == ".png":
            row["mode"] = len(Image.open(files[0]).info)
        rows.append(row)
    return pd.DataFrame(rows).fillna(-1.0)


def _tiny(modality: str) -> MetaTensor:
    if modality == "ct":
        affine = torch.diag(torch.tensor([-0.7, -0.7, 2.0, 1.0], dtype=torch.float64))
        return MetaTensor(
            torch.rand(1, 6, 6, 2) * 500, affine=affine, meta={"unit": "HU", "spacing_known": True}
        )
    return MetaTensor(torch.rand(1, 6, 6))


def _told(outside: pd.DataFrame, carried: np.ndarray, cases: np.ndarray) -> float:
    """Cross-validated AUC of a classifier that sees all but the pixels."""
    forest = RandomForestClassifier(12, min_samples_leaf=8, random_state=0, class_weight="balanced")
    scores = cross_val_predict(
        forest, outside, carried, groups=cases, cv=GroupKFold(4), method="predict_proba"
    )[:, 1]
    return float(roc_auc_score(carried, scores))


def _exchanged(carried: np.ndarray, cases: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    exchanged = carried.copy()
    for case in np.unique(cases):
        exchanged[cases == case] = stream.permutation(carried[cases == case])
    return exchanged


@pytest.mark.parametrize(
    "kind", [*_KINDS[:1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in _KINDS[1:])]
)
def test_the_state_cannot_be_told_but_from_pixels(
    kind: tuple[str, str], radiographs: pd.DataFrame, tmp_path: Path
) -> None:
    modality, file_format = kind
    count = 100
    cases = pd.DataFrame({"case_id": [f"c{n}" for n in range(count)], "label": np.arange(count) % 2})
    cases = cases.assign(patient_id=cases["case_id"], image=radiographs["image"][0])
    smooth = PairState("smooth", 1.0, lambda image, case: image * 0 + image.mean())
    noisy = PairState("noisy", 1.0, lambda image, case: image * torch.rand_like(image))
    plan = plan_pairs(cases, [smooth, noisy], modality=modality, file_format=file_format, seed=3)
    out = write_pairs(plan, lambda case: _tiny(modality), tmp_path / "out", lambda line: None)
    states = _manifest(out).set_index("id").loc[pd.read_csv(out / "images.csv")["id"]]
    outside = _seen_from_outside(out)
    numbers = pd.factorize(states["case_id"])[0]
    stream = np.random.default_rng(0)
    for state in ("clean", "noisy"):
        carried = (states["confounder"] == state).to_numpy().astype(int)
        # The same after the states of every case were exchanged at random: what chance alone gives.
        by_chance = [_told(outside, _exchanged(carried, numbers, stream), numbers) for _ in range(12)]
        assert _told(outside, carried, numbers) < np.mean(by_chance) + 4 * np.std(by_chance, ddof=1)
        assert np.std(by_chance) < 0.08
    assert outside["size"].nunique() == outside["files"].nunique() == outside["time"].nunique() == 1


def test_the_order_is_shuffled(pairs: dict[Any, Path]) -> None:
    manifest = _manifest(pairs["radiograph", "png"])
    neighbours = (manifest["case_id"].to_numpy()[1:] == manifest["case_id"].to_numpy()[:-1]).mean()
    assert neighbours < 0.2


def test_number_and_size_are_said_before_and_a_sample_says_what_it_can_show(
    radiographs: pd.DataFrame, tmp_path: Path
) -> None:
    plan = plan_pairs(radiographs, _states("radiograph"), max_images=40, seed=2)
    assert len(plan.cases) == 13 and plan.images == 39 and set(plan.cases["label"]) == {0, 1}
    lines: list[str] = []

    def announce(line: str) -> None:
        assert not (tmp_path / "out").exists()
        lines.append(line)

    write_pairs(plan, _load, tmp_path / "out", announce)
    size = sum(path.stat().st_size for path in (tmp_path / "out" / "images").iterdir())
    assert lines[0].startswith("39 images, about ")
    announced = float(re.search(r"about ([\d.]+) MB", lines[0])[1]) * 1e6  # type: ignore[index]
    assert announced == pytest.approx(size, rel=0.35)
    assert "a sample of 13 of 24 cases" in lines[1]


def test_what_an_interruption_leaves_is_nothing(radiographs: pd.DataFrame, tmp_path: Path) -> None:
    def interrupted(written: int) -> None:
        if written > 9:
            raise KeyboardInterrupt

    plan = plan_pairs(radiographs, _states("radiograph"))
    with pytest.raises(KeyboardInterrupt):
        write_pairs(plan, _load, tmp_path / "out", lambda line: None, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_loss_is_what_simulation_finds() -> None:
    """A reaction to a confounder whose loss is the announced one is told from 0 about four times in five."""
    stream, positives, negatives = np.random.default_rng(0), 100, 100
    loss = smallest_loss(positives, negatives)
    labels = np.repeat([1, 0], [positives, negatives])
    patients = np.arange(200)

    def areas(shift: float) -> tuple[float, float]:
        clean = stream.normal(size=200) + 1.466 * labels  # AUC .85
        confounded = clean + shift * (1 + stream.normal(size=200))
        aligned, reverse = np.where(labels, confounded, clean), np.where(labels, clean, confounded)
        first, second = (Ranking(labels, scores, patients) for scores in (aligned, reverse))
        error = np.sqrt(np.sum((auc_influence(first, 200) - auc_influence(second, 200)) ** 2))
        return auc(first) - auc(second), float(error)

    shifts = np.linspace(0.02, 0.6, 30)
    means = [np.mean([areas(shift)[0] for _ in range(60)]) for shift in shifts]
    shift = float(np.interp(loss, means, shifts))
    power = np.mean([value > 1.96 * error for value, error in (areas(shift) for _ in range(300))])
    assert power >= 0.75  # an announcement may be careful, but must not promise too much


@pytest.fixture
def answers(pairs: dict[Any, Path]) -> pd.DataFrame:
    manifest = _manifest(pairs["radiograph", "dicom"])
    scores = np.linspace(0.1, 0.9, len(manifest))
    return pd.DataFrame({"id": manifest["id"], "score": scores})


def test_answers_are_matched_by_any_name(
    answers: pd.DataFrame, pairs: dict[Any, Path], tmp_path: Path
) -> None:
    folder = pairs["radiograph", "dicom"]
    manifest = _manifest(folder)
    results = []
    for column, prefix in (("id", ""), ("file", "C:/archive/"), ("sop_uid", ""), ("study_uid", "")):
        table = pd.DataFrame({"Image": prefix + manifest[column], "Probability": answers["score"]})
        table.sample(frac=1, random_state=0).to_csv(tmp_path / "answers.csv", index=False)
        results.append(read_returned(folder, tmp_path / "answers.csv"))
    for result in results:
        row = manifest.iloc[7]
        place = result.cases.index[result.cases["case_id"] == row["case_id"]][0]
        scores = (
            result.clean
            if row["confounder"] == "clean"
            else result.confounded[row["confounder"], row["dose"]]
        )
        score = answers["score"][7]
        assert scores[place] == pytest.approx(np.log(score / (1 - score)))
        assert result.notes == () and set(result.confounded) == {("tag", 1.0), ("noise", 1.0)}


def test_missing_double_and_refused_answers_are_counted(
    answers: pd.DataFrame, pairs: dict[Any, Path], tmp_path: Path
) -> None:
    folder = pairs["radiograph", "dicom"]
    manifest = _manifest(folder)
    tags = manifest.index[manifest["confounder"] == "tag"]
    table = answers.astype({"score": object})
    table.loc[tags[:3], "score"] = "refused"
    contradictory = pd.DataFrame({"id": [table["id"][tags[5]]], "score": [0.99]})
    repeated = table.loc[[tags[6]]]
    stranger = pd.DataFrame({"id": ["SENT9999999"], "score": [0.5]})
    table = pd.concat([table.drop(index=tags[4]), contradictory, repeated, stranger])
    table.to_csv(tmp_path / "answers.csv", index=False)
    result = read_returned(folder, tmp_path / "answers.csv")
    row = result.refusals.set_index("confounder").loc["tag"]
    assert row[["sent", "scored", "refused", "missing", "contradictory"]].tolist() == [24, 19, 3, 1, 1]
    assert result.refusals.set_index("confounder").loc["clean", "scored"] == 24
    assert np.isnan(result.confounded["tag", 1.0]).sum() == 5
    text = "; ".join(result.notes)
    assert (
        "1 of 72 images came back without an answer" in text
        and "3 of 72 images came back without a score" in text
    )
    assert (
        "2 images came back more than once, 1 of them with different scores" in text
        and "1 answer to images" in text
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "columns a, b, expected two with a comma between: an identifier (id, image"),
        ("id;score\nX;.5\n", "columns id;score, expected two with a comma between"),
        ("id,score\nX,.5\n", "none of its 1 identifier (such as 'X') was sent"),
        ("id,score\n", "no rows, expected one for each image of"),
        ("id,score,probability\nX,.5,.5\n", "columns score and probability, expected one of scores"),
        ('id,score\nX,.5\nY,"0,5"\n', "row 3, score: got '0,5', expected a number such as 0.53"),
        ("id,score\nX,50 %\n", "row 2, score: got '50 %', expected a number such as 0.53"),
        ("", "not readable"),
    ],
)
def test_answers_that_are_none(content: str, message: str, pairs: dict[Any, Path], tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_returned(pairs["radiograph", "png"], tmp_path / "answers.csv")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (
            lambda p: 100 * p,
            "scores from 10 to 90, expected probabilities from 0 to 1 (percent divided by 100)",
        ),
        (lambda p: 200 * (p - 0.5), "log-odds of up to 80; above 36.7 all probabilities are 1"),
        (lambda p: np.full(len(p), "rejected"), "no image has a score, expected one number an image"),
    ],
)
def test_scores_that_would_be_misread_are_refused(
    scale: Any, message: str, answers: pd.DataFrame, pairs: dict[Any, Path], tmp_path: Path
) -> None:
    scores = scale(answers["score"].to_numpy())
    answers.assign(score=scores).to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(InputError, match=re.escape(message)):
        read_returned(pairs["radiograph", "dicom"], tmp_path / "answers.csv")


def test_log_odds_that_are_all_positive_are_taken_where_they_are_declared(
    answers: pd.DataFrame, pairs: dict[Any, Path], tmp_path: Path
) -> None:
    folder = pairs["radiograph", "dicom"]
    answers.assign(score=30 * answers["score"]).to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(InputError, match="or --output-kind logit for log-odds"):
        run_scores(tmp_path / "answers.csv", folder)
    audit = run_scores(tmp_path / "answers.csv", folder, output_kind="logit")
    assert audit.outputs[0].scores.clean.max() > 20


def test_rounding_and_letter_case_change_nothing(
    answers: pd.DataFrame, pairs: dict[Any, Path], tmp_path: Path
) -> None:
    folder = pairs["radiograph", "dicom"]
    answers.to_csv(tmp_path / "a.csv", index=False)
    rounded = answers.assign(id=answers["id"].str.lower())
    rounded.loc[0, "score"], rounded.loc[1, "score"] = 1.0002, -0.0002
    rounded.to_csv(tmp_path / "b.csv", index=False)
    one, other = (read_returned(folder, tmp_path / name) for name in ("a.csv", "b.csv"))
    same = np.isclose(one.clean, other.clean) | (np.abs(other.clean) > 16)
    assert same.all() and (np.abs(other.clean) < 17).all()


def test_answers_to_another_sending_match_nothing(
    radiographs: pd.DataFrame, answers: pd.DataFrame, tmp_path: Path
) -> None:
    plan = plan_pairs(radiographs, _states("radiograph"), modality="radiograph", file_format="dicom", seed=1)
    again = write_pairs(plan, _load, tmp_path / "again", lambda line: None)
    assert _manifest(again)["id"].str.len().max() <= 16
    answers.to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(InputError, match=r"none of its 72 identifiers \(such as 'SENT"):
        read_returned(again, tmp_path / "answers.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_format": "nifti"}, "format: 'nifti' of a radiograph"),
        ({"max_images": 5}, "max_images: got 5, expected 6 or more"),
    ],
)
def test_what_cannot_be_planned(changes: dict[str, Any], message: str, radiographs: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        plan_pairs(radiographs, _states("radiograph"), **changes)


def test_nothing_is_overwritten(radiographs: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        write_pairs(plan_pairs(radiographs, _states("radiograph")), _load, tmp_path, lambda line: None)


def test_nifti_holds_whole_hounsfield_units(pairs: dict[Any, Path]) -> None:
    file = next((pairs["ct", "nifti"] / "images").iterdir())
    assert np.asarray(nibabel.load(file).dataobj).dtype == np.int16


def test_a_ct_in_display_values_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    for number in range(4):
        values = stream.integers(0, 256, (16, 16, 4)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"c{number}.nii")
    rows = [f"c{number}.nii,p{number},{number % 2}" for number in range(4)]
    (tmp_path / "cases.csv").write_text("image,patient_id,label\n" + "\n".join(rows) + "\n")
    options = {
        "dataset_dir": str(tmp_path),
        "cases": "cases.csv",
        "modality": "ct",
        "confounders": ["kernel"],
        "file_format": "nifti",
        "max_images": None,
        "seed": 0,
        "out": tmp_path / "pairs",
    }
    with pytest.raises(InputError, match=r"c0.nii: a CT in display values \(8 bit\), expected HU"):
        prepare_pairs(options, lambda _: None)
    assert not (tmp_path / "pairs").exists()
    for number in range(4):  # HU that are wrong in another way keep their own message
        values = stream.normal(0, 1, (16, 16, 4)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"c{number}.nii")
    with pytest.raises(InputError, match="look standardised"):
        prepare_pairs(options, lambda _: None)
