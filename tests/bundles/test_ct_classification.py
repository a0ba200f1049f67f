"""The CT bundles as a user meets them, 2D and 3D: the same ids, outputs and refusals as the X-ray bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow, create_workflow, verify_metadata, verify_net_in_out
from PIL import Image

from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.confounders import create_confounder
from srcmatters.errors import find_input_error
from srcmatters.images import load_ct, window
from srcmatters.phantom import draw_patient
from srcmatters.preprocessing import ResamplePatchd, StateCache
from srcmatters.runs.prediction_table import read_predictions
from srcmatters.studies.bundle_files import read_config_files

REPOSITORY = Path(__file__).parents[2]
BUNDLES = REPOSITORY / "bundles"
NAMES = ("ct_slice_classification", "ct_volume_classification")
QUICK: dict[str, Any] = {
    "confounder": "none",
    "source": "random",
    "network": "resnet10",
    "image_size": 32,
    "max_epochs": 1,
    "batch_size": 8,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
}
Start = Callable[..., ConfigWorkflow]


def config(bundle: str, name: str = "train.yaml") -> str:
    return str(BUNDLES / bundle / "configs" / name)


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(ct_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """The workflow of a bundle, from the root of the repository as the README says."""
    monkeypatch.chdir(REPOSITORY)

    def workflow(bundle: str, *overlays: str, **overrides: Any) -> ConfigWorkflow:
        places = {"dataset_dir": str(ct_cohort), "output_dir": str(tmp_path / "out")}
        files = [config(bundle), *(config(bundle, name) for name in overlays)]
        settings = {**QUICK, **places, **overrides}
        return create_workflow(config_file=files, run_id="training", logging_file=False, **settings)

    return workflow


@pytest.fixture
def refused(start: Start) -> Callable[..., str]:
    """The one line that a user sees."""

    def message(bundle: str, **overrides: Any) -> str:
        with pytest.raises(Exception) as caught:
            start(bundle, **overrides).run()
        mistake = find_input_error(caught.value)
        assert mistake is not None, f"not said as a user's mistake: {caught.value!r}"
        assert "\n" not in str(mistake)
        return str(mistake)

    return message


def cache_of(workflow: ConfigWorkflow) -> StateCache:
    return workflow.parser.get_parsed_content("cache")


def test_a_run_leaves_the_evidence_that_an_x_ray_run_leaves(
    start: Start, bundle: str, tmp_path: Path
) -> None:
    start(bundle, p_art=1.0, confounder="tag").run()
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "config.yaml",
        "figures/examples.png",
        "figures/training_curves.png",
        "metrics.json",
        "mlflow.json",
        "model.pt",
        "predictions.csv",
        "validation.csv",
    ]
    predictions = read_predictions(out / "predictions.csv")
    assert {"manufacturer", "contrast", "slice_thickness_mm", "diameter_mm"} <= set(predictions)
    assert not {"x_mm", "y_mm", "z_mm"} & set(predictions)
    record = json.loads((out / "metrics.json").read_text())
    assert record["settings"]["unit"] == "HU" and record["settings"]["patch_mm"] > 0
    assert record["detectability_auc"] > 0.6
    assert np.asarray(Image.open(out / "figures" / "examples.png")).std() > 10
    assert "%bundles" not in (out / "config.yaml").read_text()


@pytest.mark.slow
def test_the_same_command_gives_the_same_file_whatever_the_workers(
    start: Start, bundle: str, tmp_path: Path
) -> None:
    written = []
    for number, workers in enumerate((0, 2)):
        out = tmp_path / f"out{number}"
        start(bundle, num_workers=workers, output_dir=str(out), cache_dir=str(tmp_path / f"{number}")).run()
        written.append((out / "predictions.csv").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("name", [pytest.param("low_dose_ct", marks=pytest.mark.slow), "kernel"])
def test_the_scanner_acts_on_whole_slices_before_anything_is_cut_out(
    start: Start, ct_cohort: Path, bundle: str, name: str
) -> None:
    cache = cache_of(start(bundle, confounder=name, force=True))
    size = [QUICK["image_size"]] * (2 if "slice" in bundle else 3)
    settings = read_config_files([Path(config(bundle))])
    confounder = create_confounder(name)
    assert confounder is not None
    for row in (0, 5):
        case = read_cases(ct_cohort).iloc[row].to_dict()
        half = settings["slab_mm"] / 2
        scan = load_ct(case["image"], slab_mm=(case["z_mm"] - half, case["z_mm"] + half))
        assert scan.shape[1:3] == load_ct(case["image"]).shape[1:3]
        stored = confounder(scan, case["case_id"]).round().clamp(min=-1024)  # as the file of the scan has it
        shown = window(stored, "lung")
        patch = ResamplePatchd("image", size, settings["patch_mm"])({**case, "image": shown})["image"]
        torch.testing.assert_close(cache.state("confounded")[row], patch)
        assert not torch.equal(cache.state("clean")[row], patch)


def test_a_letter_is_put_where_the_network_sees_it(start: Start, bundle: str) -> None:
    cache = cache_of(start(bundle, confounder="tag", image_size=64, patch_mm=120, slab_mm=0))
    added = (cache.state("confounded") - cache.state("clean")).flatten(1)
    # White on white it cannot be seen, which is a matter of the anatomy there.
    assert (added >= 0).all() and (added.amax(1) > 0.3).float().mean() >= 0.5


def test_dose_is_not_simulated_on_grey_values(
    refused: Callable[..., str], bundle: str, grey_patches: Path
) -> None:
    message = refused(bundle, dataset_dir=str(grey_patches), unit="display", confounder="low_dose_ct")
    assert "low_dose_ct needs HU" in message and "unit: display" in message


@pytest.fixture(scope="session")
def grey_patches(ct_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms as others publish their nodules: 8-bit patches, no HU, no position."""
    folder = tmp_path_factory.mktemp("grey")
    cases = read_cases(ct_cohort)
    cut = ResamplePatchd("image", (48, 48, 6), (72, 72, 15))
    for row, case in enumerate(cases.to_dict("records")):
        patch = cut({**case, "image": window(load_ct(case["image"]), "lung")})["image"][0]
        grey = (patch.permute(1, 0, 2) * 255).round().numpy().astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(grey, np.diag([-1.5, -1.5, 2.5, 1])), folder / f"{row}.nii.gz")
    table = cases.drop(columns=["x_mm", "y_mm", "z_mm", "case_id"])
    table["image"] = [f"{row}.nii.gz" for row in range(len(table))]
    table.to_csv(folder / "cases.csv", index=False)
    return folder


@pytest.mark.slow
def test_grey_patches_train_as_they_are(
    start: Start, bundle: str, grey_patches: Path, tmp_path: Path
) -> None:
    metrics = start(
        bundle, dataset_dir=str(grey_patches), unit="display", confounder="noise", force=True
    ).run()
    assert metrics[-1]["cases"] == 8 and metrics[-1]["unreadable_images"] == 0
    patches = cache_of(start(bundle, dataset_dir=str(grey_patches), unit="display", confounder="none")).images
    assert 0 <= float(patches.min()) < 0.4 and 0.6 < float(patches.max()) <= 1


def test_a_wrong_unit_is_said(refused: Callable[..., str], bundle: str, grey_patches: Path) -> None:
    message = refused(bundle, dataset_dir=str(grey_patches))
    assert ".nii.gz" in message and "unit: display" in message


@pytest.mark.parametrize(
    ("column", "value"), [("contrast", "True"), ("slice_thickness_mm", ">=2.5"), ("manufacturer", None)]
)
def test_columns_of_the_scan_are_sampled_confounders(
    start: Start, ct_cohort: Path, tmp_path: Path, column: str, value: str | None
) -> None:
    cases = read_cases(ct_cohort)
    value = value or str(cases["manufacturer"].mode()[0])
    start(NAMES[0], confounder=column, confounder_args={"value": value}, p_art=1.0, num_folds=2).run()
    predictions = read_predictions(tmp_path / "out" / "predictions.csv")
    assert set(predictions["environment"]) <= {"iid", "ood", "iid+ood"}
    assert (predictions["score_clean"] == predictions["score_confounded"]).all()


def test_screening_fits_a_head_on_frozen_features(start: Start, bundle: str, tmp_path: Path) -> None:
    start(bundle, "screen.yaml", p_art=1.0).run()
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["settings"]["depth"] == "screen" and record["settings"]["unit"] == "HU"
    assert "inverse_regularisation" in record


def test_inference_repeats_the_clean_scores_of_the_test(
    start: Start, bundle: str, ct_cohort: Path, tmp_path: Path
) -> None:
    start(bundle).run()
    settings = {"ckpt": str(tmp_path / "out" / "model.pt"), "network": "resnet10", "image_size": 32}
    places = {"dataset_dir": str(ct_cohort), "output_dir": str(tmp_path / "scores"), "device": "cpu"}
    workflow = create_workflow(
        config_file=config(bundle, "inference.yaml"),
        logging_file=False,
        cases="cases.csv",
        **settings,
        **places,
    )
    workflow.run()
    scores = pd.read_csv(tmp_path / "scores" / "scores.csv")
    assert list(scores) == ["image", "x_mm", "y_mm", "z_mm", "probability"] and len(scores) == 24
    saved = read_predictions(tmp_path / "out" / "predictions.csv")
    by_case = dict(zip(read_cases(ct_cohort)["case_id"], scores["probability"], strict=True))
    np.testing.assert_allclose([by_case[case] for case in saved["case_id"]], saved["score_clean"], atol=1e-5)


def test_inference_refuses_another_window_than_the_network_was_trained_with(
    start: Start, tmp_path: Path, ct_cohort: Path
) -> None:
    start(NAMES[0]).run()
    with pytest.raises(Exception) as caught:
        create_workflow(
            config_file=config(NAMES[0], "inference.yaml"),
            logging_file=False,
            ckpt=str(tmp_path / "out" / "model.pt"),
            network="resnet10",
            image_size=32,
            window="bone",
            dataset_dir=str(ct_cohort),
            output_dir=str(tmp_path / "scores"),
        ).run()
    assert "window: got 'bone', expected 'lung'" in str(find_input_error(caught.value))


@pytest.fixture(scope="session")
def left_sided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One patient with a mass in the left lung, in every format."""
    folder = tmp_path_factory.mktemp("left")
    index = next(i for i in range(20) if (n := draw_patient(i, 3, 0.0, label=1).nodule) and n.side == "left")
    for file_format in ("nifti", "dicom"):
        whole = folder / file_format
        write_phantom_cohort(whole, index + 1, 3, "ct", file_format, difficulty=0.0, slab_mm=20.0)
    case = read_cases(folder / "nifti").iloc[index]
    scan = load_ct(case["image"])
    shown = window(scan, "lung")[0, :, :, scan.shape[-1] // 2]
    Image.fromarray((np.asarray(shown) * 255).astype(np.uint8)).save(folder / "slice.png")
    itk.imwrite(itk.imread(str(case["image"])), str(folder / "scan.mha"))
    dicom = Path(read_cases(folder / "dicom").iloc[index]["image"])
    return {
        "nifti": Path(case["image"]),
        "dicom": dicom,
        "itk": folder / "scan.mha",
        "png": folder / "slice.png",
    }


def test_a_left_sided_mass_is_on_the_right_of_the_picture_in_every_format(
    start: Start, bundle: str, left_sided: dict[str, Path], tmp_path: Path
) -> None:
    pictures = {}
    for name, path in left_sided.items():
        folder = tmp_path / name
        folder.mkdir()
        target = folder / path.name
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
        rows = [f"{path.name},p{row},{row % 2},{row}\n" for row in range(12)]
        (folder / "cases.csv").write_text("".join(["image,patient_id,label,case_id\n", *rows]))
        unit = "display" if name == "png" else "HU"
        settings = {"patch_mm": 0, "image_size": 64, "unit": unit, "slab_mm": 0, "confounder": "none"}
        image = cache_of(start(bundle, dataset_dir=str(folder), **settings)).images[0, 0, 0]
        pictures[name] = image if image.ndim == 2 else image[..., image.shape[-1] // 2]
    whole = pictures.pop("nifti")
    lungs = (
        (whole < 0.4)
        & (torch.cumsum(whole > 0.5, 1) > 0)
        & (torch.cumsum((whole > 0.5).flip(1), 1).flip(1) > 0)
    )
    left, right = lungs[:, 32:].sum(), lungs[:, :32].sum()
    assert left < right, "the mass takes its room in the patient's left lung, on the right of the picture"
    for name, picture in pictures.items():
        difference = float((picture - whole).abs().mean())
        assert difference < 0.6 * float((picture - whole.flip(1)).abs().mean()), name


def test_all_bundles_have_the_same_ids() -> None:
    ids = {name: set(read_config_files([Path(config(name))])) for name in ("xray_classification", *NAMES)}
    ct = {
        "gaps",
        "unit",
        "window",
        "patch_mm",
        "slab_mm",
        "patch_size",
        "place",
    }
    assert ids[NAMES[0]] == ids[NAMES[1]] == ids["xray_classification"] | ct


def test_metadata_and_network_are_what_monai_expects(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    meta = config(bundle, "metadata.json")
    verify_metadata(meta_file=meta, filepath=str(BUNDLES / "metadata_schema.json"))
    verify_net_in_out(
        net_id="network_def", meta_file=meta, config_file=config(bundle), source="random", network="resnet10"
    )


def test_a_chest_bundle_refuses_other_body_parts(
    refused: Callable[..., str], bundle: str, shared_data: Path, tmp_path: Path
) -> None:
    shutil.copy(shared_data / "dicom" / "extremity-cr.dcm", tmp_path / "a.dcm")
    rows = [f"a.dcm,p{row},{row % 2},{row}\n" for row in range(12)]
    (tmp_path / "cases.csv").write_text("".join(["image,patient_id,label,case_id\n", *rows]))
    message = refused(bundle, dataset_dir=str(tmp_path), confounder="none")
    assert "a.dcm" in message and "expected" in message


@pytest.mark.slow
def test_real_nodules_train_in_both_bundles(start: Start, bundle: str, shared_data: Path) -> None:
    settings = {"dataset_dir": str(shared_data / "lidc-nodules"), "unit": "display", "num_folds": 5}
    if "slice" in bundle:
        settings |= {"source": "imagenet", "network": "efficientnet_lite0", "image_size": 96}
    metrics = start(bundle, max_epochs=12, validation_folds=8, batch_size=16, **settings).run()
    assert metrics[-1]["clean_auc"] > 0.75
