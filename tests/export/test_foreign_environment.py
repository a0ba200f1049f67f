"""An exported bundle where this package is not: its README's commands work, and find the same scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from exported_runs import BUNDLES, train
from foreign_python import CONSTRAINTS, asked_for, commands, installed, linked, run
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image
from pydicom.uid import JPEGLSLossless

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.prediction.decoding_tasks import prepare
from srcmatters.deployment.prediction.predictor import recipe_of
from srcmatters.export import model_files
from srcmatters.export.bundle_scripts.radiographs import displayed
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.export.run_export import export
from srcmatters.exported_bundle.bundle import ExportedBundle, open_bundle
from srcmatters.runs.trained_run import open_run

XRAY, SLICE, VOLUME = "xray_classification", "ct_slice_classification", "ct_volume_classification"
_CONFOUNDER = {
    XRAY: {"confounder": "tag"},
    SLICE: {"confounder": "kernel", "force": True, "patch_mm": 32},
    VOLUME: {"confounder": "kernel", "force": True, "patch_mm": 20},
}
_SENT = [(XRAY, "isotonic"), (VOLUME, "temperature")]


@dataclass(frozen=True)
class Sent:
    """A bundle as its receiver has it, and images to try it on."""

    folder: Path
    images: Path

    @property
    def bundle(self) -> ExportedBundle:
        return open_bundle(self.folder)

    def expected(self, path: Path) -> float:
        """The probability that this package finds."""
        prepared = prepare(path, recipe_of(self.bundle.rules)).image
        with torch.inference_mode():
            logits = self.bundle.network()(torch.from_numpy(prepared)[None]).double()[0]
        return float(self.bundle.calibrate(float(logits[1] - logits[0])))


@pytest.fixture(scope="module")
def sent(
    request: pytest.FixtureRequest, ct_cohort: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sent]:
    """A bundle of the kind and calibration that the test asks for, with the weights and TorchScript."""
    kind, calibration = request.param
    base = tmp_path_factory.mktemp(kind)
    cohort = ct_cohort
    if kind == XRAY:
        cohort = base / "cohort"
        write_phantom_cohort(cohort, patients=24, file_format="dicom", image_size=64, difficulty=0.0)
    needed = {name: model_files._WRITERS[name] for name in ("model.pt", "model.ts")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLES.parent)  # the CT bundles share files with the one of radiographs
        patch.setattr(model_files, "_WRITERS", needed)
        out = train(kind, cohort, base / "run", target="phantom", **_CONFOUNDER[kind])
        options = ExportOptions(finding="Mass", calibration=calibration)
        folder = export(open_run(str(out), ""), base / "bundle", options)
    # The schema is fetched from MONAI's site where it is not there; tests ask nobody.
    shutil.copy(BUNDLES / "metadata_schema.json", folder / "schema.json")
    images = base / "images"
    images.mkdir()
    if kind == XRAY:
        _radiographs(sorted(cohort.rglob("*.dcm")), images)
    else:
        for path in sorted(cohort.rglob("*.nii.gz"))[:3]:
            shutil.copy(path, images)
    return Sent(folder, images)


def _radiographs(paths: list[Path], images: Path) -> None:
    """The kinds of file that a folder of radiographs may hold, and one that is none."""
    shutil.copy(paths[0], images / "plain.dcm")
    inverted = pydicom.dcmread(paths[0])
    inverted.PhotometricInterpretation = "MONOCHROME1"
    inverted.save_as(images / "inverted.dcm")
    packed = pydicom.dcmread(paths[1])
    packed.compress(JPEGLSLossless)
    packed.save_as(images / "packed.dcm")
    deep = pydicom.dcmread(paths[0])
    del deep.WindowCenter, deep.WindowWidth
    pixels = deep.pixel_array.astype(np.uint16) * 9 + 100
    deep.BitsAllocated, deep.BitsStored, deep.HighBit = 16, 12, 11
    deep.PixelData = pixels.tobytes()
    deep.save_as(images / "deep.dcm")
    grey = pydicom.dcmread(paths[2]).pixel_array
    Image.fromarray(grey).save(images / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(images / "sixteen.png")
    Image.fromarray(np.stack([grey, grey // 2, grey], -1)).save(images / "colour.jpg")
    (images / "notes.txt").write_text("no image")


def _scores_agree(sent: Sent, python: Path, images: Path, out: Path) -> None:
    """Score the images by the README's own command, and compare with this package."""
    (score,) = [command for command in commands(sent.folder) if command[2:4] == ["monai.bundle", "run"]]
    run(python, score, sent.folder, DIR=images, OUT=out)
    scores = pd.read_csv(out / "scores.csv", names=["file", "probability", "decision"])
    assert len(scores) == len([path for path in images.iterdir() if path.name != "notes.txt"])
    threshold = sent.bundle.rules["threshold"]["value"]
    for row in scores.itertuples():
        own = sent.expected(Path(str(row.file)))
        assert row.probability == pytest.approx(own, abs=1e-4), row.file
        assert row.decision == (own >= threshold)
    assert scores["probability"].nunique() > 1, "the images are told apart by their scores"


def _verifies(sent: Sent, python: Path) -> None:
    """Both of MONAI's verifications, by the README's own commands."""
    verifications = [command for command in commands(sent.folder) if command[3].startswith("verify_")]
    assert [command[3] for command in verifications] == ["verify_metadata", "verify_net_in_out"]
    for command in verifications:
        run(python, command, sent.folder)


@pytest.mark.parametrize(
    "sent", [*_SENT[:1], *(pytest.param(one, marks=pytest.mark.slow) for one in _SENT[1:])], indirect=True
)
def test_the_declared_packages_are_enough(sent: Sent, tmp_path: Path) -> None:
    needed = [asked_for(command) for command in commands(sent.folder) if command[2] == "pip"]
    python = linked(tmp_path / "python", [one for command in needed for one in command])
    with pytest.raises(AssertionError, match="No module named 'srcmatters'"):
        run(python, ["python", "-c", "import srcmatters"], tmp_path)
    _scores_agree(sent, python, sent.images, tmp_path / "out")
    if sent.bundle.rules["modality"] == "radiograph":
        _verifies(sent, python)


@pytest.mark.parametrize("sent", _SENT, indirect=True)
def test_metadata_and_readme_name_the_same_versions(sent: Sent) -> None:
    metadata = json.loads((sent.folder / "configs" / "metadata.json").read_text())
    (requirements, _) = [asked_for(command) for command in commands(sent.folder) if command[2] == "pip"]
    declared = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"]}
    declared |= {"numpy": metadata["numpy_version"], **metadata["required_packages_version"]}
    assert {one.name: str(one.specifier) for one in requirements} == {
        name: f"=={version}" for name, version in declared.items()
    }


@pytest.mark.parametrize("sent", _SENT, indirect=True)
def test_the_torchscript_is_a_bundle_for_an_application_with_its_own_images(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MONAI Deploy's operator for bundles does: one image in memory, without a name or a batch."""
    monkeypatch.chdir(tmp_path)
    # An application of CT has the bundle's folder on its path; one of radiographs needs the file alone.
    if sent.bundle.rules["modality"] == "ct":
        monkeypatch.syspath_prepend(str(sent.folder))
    texts = {"metadata.json": "", "inference.json": ""}
    network = torch.jit.load(str(sent.folder / "models" / "model.ts"), _extra_files=texts).eval()
    assert json.loads(texts["metadata.json"]) == json.loads(
        (sent.folder / "configs" / "metadata.json").read_text()
    )
    parser = ConfigParser(json.loads(texts["inference.json"]))
    before, inferer, after = (
        parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")
    )
    path = next(iter(sorted(sent.images.glob("plain.dcm")) or sorted(sent.images.glob("*.nii.gz"))))
    if path.suffix == ".dcm":
        image = displayed(pydicom.dcmread(path))
        with pytest.raises(RuntimeError) as refused:
            before({"image": image * 255})
        assert "expected (rows, columns) as displayed, in [0, 1]" in str(refused.value.__cause__)
    else:
        loaded = LoadImage(image_only=True)(path)
        # What the operator makes of an image that says where it lies, but not that it has no channel.
        meta = {"spacing": loaded.pixdim, "original_affine": loaded.affine, "affine": loaded.affine}
        image = MetaTensor.ensure_torch_and_prune_meta(loaded.numpy(), meta)
    ready = before({"image": image})["image"]
    assert ready.meta is not None, "what Deploy reads of the preprocessed image"
    with torch.inference_mode():
        (logits,) = inferer(ready[None], network)
    probability, _ = after({"pred": logits})["pred"]
    assert float(probability) == pytest.approx(sent.expected(path), abs=1e-4)


@pytest.mark.slow
# A temperature tells all images apart; isotonic steps give what is unlike the phantoms one probability.
@pytest.mark.parametrize("sent", [(kind, "temperature") for kind in (XRAY, SLICE, VOLUME)], indirect=True)
def test_what_pip_installs_by_the_readme_is_enough(
    sent: Sent, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    install, verify = [command for command in commands(sent.folder) if command[2] == "pip"]
    python = installed(tmp_path / "python", install)
    with pytest.raises(AssertionError, match="No module named 'srcmatters'"):
        run(python, ["python", "-c", "import srcmatters"], tmp_path)
    run(python, [*verify, "--quiet", "-c", str(CONSTRAINTS)], tmp_path)
    _scores_agree(sent, python, sent.images, tmp_path / "out")
    _verifies(sent, python)
    real = request.getfixturevalue("shared_data") / "dicom"
    images = tmp_path / "real"
    images.mkdir()
    if sent.bundle.rules["modality"] == "ct":
        shutil.copytree(real / "ct-series", images / "ct-series")
        shutil.copy(next(sent.images.iterdir()), images)
    else:
        for path in real.glob("chest-*.dcm"):
            shutil.copy(path, images)
    _scores_agree(sent, python, images, tmp_path / "real-out")
