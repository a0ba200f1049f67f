"""What earlier versions left is read as before: their configurations repeat, export and open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from monai.bundle import create_workflow

from srcmatters.cli import command
from srcmatters.runs.trained_run import open_images, open_run

# config.yaml as version 0.1.0 wrote it, its two places replaced.
EARLIER = Path(__file__).with_name("config_of_version_0_1.yaml").read_text()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, radiograph_cohort: Path) -> Path:
    """The folder of a run that was repeated from the configuration of version 0.1.0."""
    out = tmp_path_factory.mktemp("earlier") / "out"
    out.mkdir()
    config = out.parent / "config.yaml"
    config.write_text(EARLIER.replace("{cohort}", str(radiograph_cohort)).replace("{output_dir}", str(out)))
    create_workflow(config_file=str(config), run_id="training", logging_file=False).run()
    shutil.copy(config, out / "config.yaml")
    return out


def test_a_configuration_of_version_0_1_trains_and_opens(earlier: Path) -> None:
    run = open_run(str(earlier), "")
    assert len(run.predictions) == 16 and run.settings["depth"] == "finetune"
    images = run.images(trust=True)  # its expressions are those of an earlier bundle
    assert len(images.cases("train")) == 21 and images.as_trained("train").shape[1:] == (1, 32, 32)
    assert open_images(earlier, trust=True).states == 2


@pytest.mark.slow
def test_a_run_of_version_0_1_is_exported(earlier: Path, tmp_path: Path) -> None:
    words = ["export", str(earlier), "--to", str(tmp_path / "bundle"), "--finding", "Mass", "--no-register"]
    words.append("--trust")
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "bundle" / "models" / "model.pt").is_file()


def test_a_name_that_never_was_is_said_so() -> None:
    import srcmatters.training

    with pytest.raises(AttributeError, match="has no attribute 'StateCash'"):
        _ = srcmatters.training.StateCash
