"""`srcmatters audit` as people type it: a file, a product behind a wall, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from pydicom import dcmread
from torch import Tensor, nn
from torch.nn import functional

from srcmatters.audit.commands import audit
from srcmatters.errors import InputError


class Corner(nn.Module):
    """Brightness of the image, plus the brightest pixel of its upper left corner."""

    def forward(self, images: Tensor) -> Tensor:
        corner = images[:, :, :20, :20].flatten(1).max(1).values
        return (8 * (images.mean((1, 2, 3)) - 0.4) + 6 * corner)[:, None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "corner.ts"
    torch.jit.trace(Corner(), torch.rand(2, 1, 64, 64)).save(str(path))
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(audit, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    return f"{result.output}\nexit {result.exit_code}"


ASKED = ("--confounder", "tag", "--confounder", "noise", "--tracking_uri", "")
DECLARED = ("--size", "64", "--output-kind", "logit", "--finding", "Mass", "--no-controls")


def outcomes(folder: Path) -> dict[str, str]:
    record = json.loads((folder / "audit.json").read_text())
    findings = record["outputs"][0]["findings"]
    return {one["subject"]: one["outcome"] for one in findings if one["check"] == "sensitivity"}


def test_a_torchscript_file_from_door_to_page(model: Path, radiograph_cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    shown = run(
        "run",
        model,
        "--dataset_dir",
        radiograph_cohort,
        "--out",
        out,
        *DECLARED,
        *ASKED,
        "--force",
        "--fail-if",
        "leans",
    )
    assert "A letter in the corner (tag) raises the score" in shown and shown.endswith("exit 3")
    assert {path.name for path in out.iterdir()} == {"audit.json", "audit.html", "scores.csv"}
    with pytest.raises(InputError, match="holds an audit already"):
        run("run", model, "--dataset_dir", radiograph_cohort, "--out", out, *DECLARED, *ASKED, "--no-sweep")
    with pytest.raises(InputError, match=r"--out: .*audit.json is a file, expected a folder"):
        run("run", model, "--dataset_dir", radiograph_cohort, "--out", out / "audit.json", *DECLARED, *ASKED)
    record = json.loads((out / "audit.json").read_text())
    assert record["contract"]["size"] == {"value": "64 x 64", "origin": "declared"}
    assert record["sweep"] and record["model"]["sha256"]


def test_a_product_behind_a_wall_gets_the_verdict_of_the_opened_network(
    model: Path, radiograph_cohort: Path, tmp_path: Path
) -> None:
    opened, pairs, answered = (tmp_path / name for name in ("opened", "pairs", "answered"))
    run("run", model, "--dataset_dir", radiograph_cohort, "--out", opened, *DECLARED, *ASKED, "--no-sweep")
    prepared = run("prepare", "--dataset_dir", radiograph_cohort, "--out", pairs, *ASKED[:4])
    assert "336 images" in prepared  # 48 cases, clean and two confounders at three doses
    network, rows = torch.jit.load(str(model)), []
    for file in sorted((pairs / "images").glob("*.dcm")):
        header = dcmread(file)
        pixels = header.pixel_array.astype(np.float32) / (2**header.BitsStored - 1)
        image = functional.interpolate(
            torch.from_numpy(pixels)[None, None], (64, 64), antialias=True, mode="bilinear"
        )
        rows.append({"id": file.stem, "score": torch.sigmoid(network(image)).item()})
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    run("run", tmp_path / "scores.csv", "--pairs", pairs, "--out", answered, "--tracking_uri", "")
    assert outcomes(answered) == outcomes(opened)
    checks = json.loads((answered / "audit.json").read_text())["outputs"][0]["findings"]
    assert any(one["check"] == "refusals" and one["outcome"] == "WITHIN MARGIN" for one in checks)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--margin", "0"), "--margin: got 0"),
        (("--threshold", "2"), "--threshold: got 2"),
        (("--fail-if", "bad"), "--fail-if: got 'bad'"),
        (("--confounder", "noize"), "did you mean 'noise'"),
        (("--twins", "nowhere"), "nowhere"),
        (("--trained-on", "absent.csv"), "absent.csv"),
        (("--size", "12y"), "size: got '12y'"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, str], message: str, model: Path, radiograph_cohort: Path, tmp_path: Path
) -> None:
    options = [] if words[0] == "--confounder" else list(ASKED)
    command = ["run", model, "--dataset_dir", radiograph_cohort, "--out", tmp_path / "a", *DECLARED, *options]
    with pytest.raises(InputError, match=message) as caught:
        run(*command, "--no-sweep", "--tracking_uri", "", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a" / "audit.json").exists()


@pytest.mark.parametrize("name", ["absent.onnx", "runs/absent"])
def test_a_model_that_is_not_there(name: str, radiograph_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"MODEL: .*{name} does not exist"):
        run("run", tmp_path / name, "--dataset_dir", radiograph_cohort, "--out", tmp_path / "a")


def test_a_data_set_must_be_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--dataset_dir: missing"):
        run("run", model, "--out", tmp_path, *DECLARED)


def test_an_mlflow_server_that_is_down_is_said_before_anything_is_scored(
    model: Path, radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    asked = ("--confounder", "tag", "--no-sweep")
    with pytest.raises(InputError, match=r"tracking_uri: http://127\.0\.0\.1:9 does not answer"):
        run("run", model, "--dataset_dir", radiograph_cohort, "--out", tmp_path / "a", *DECLARED, *asked)
    assert not (tmp_path / "a").exists()
