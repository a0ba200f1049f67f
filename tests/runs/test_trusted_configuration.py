"""A run that somebody sent runs no code of theirs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from srcmatters.errors import InputError
from srcmatters.packaged_bundles import bundles_folder
from srcmatters.runs.trained_run import TrainedRun, open_images
from srcmatters.runs.trusted_configuration import evaluated, foreign_code

CONFIG = yaml.safe_load((bundles_folder() / "xray_classification" / "configs" / "train.yaml").read_text())
NAMES = ("cache", "chosen")


def written(folder: Path, **changes: Any) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
    return folder


def touching(file: Path) -> str:
    return f"$__import__('pathlib').Path('{file}').touch()"


def test_every_packaged_configuration_is_evaluated_unasked_whatever_its_values() -> None:
    for file in bundles_folder().glob("*/configs/train.yaml"):
        config = yaml.safe_load(file.read_text())
        assert foreign_code({**config, "dataset_dir": "/data", "p_art": 1, "device": "cpu"}, config) is None


@pytest.mark.parametrize("where", ["dataset_dir", "fold", "case_table", "imports", "preprocessing"])
def test_code_of_a_foreign_run_is_not_evaluated(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "it ran"
    code: Any = touching(mark)
    if where == "imports":
        code = [*CONFIG["imports"], "$import antigravity"]
    if where == "preprocessing":
        code = {"_target_": "os.mkdir", "path": str(mark)}
    folder = written(tmp_path, **{where: code})
    run = TrainedRun(folder, {"settings": {}}, {})
    with pytest.raises(InputError, match="--trust"):
        run.images()
    with pytest.raises(InputError, match="--trust"):
        open_images(folder)
    assert not mark.exists()


def test_the_file_of_a_macro_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"x": touching(tmp_path / "it ran")}))
    folder = written(tmp_path, body_part=f"%{tmp_path / 'other.yaml'}::x")
    with pytest.raises(InputError, match="no packaged bundle has"):
        evaluated(folder, "cache")
    assert not (tmp_path / "it ran").exists()


def test_what_is_not_needed_need_not_be_trusted_and_trust_evaluates_it(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    folder = written(tmp_path, optimizer={"_target_": "torch.optim.SGD", "lr": touching(mark)}, seed=7)
    assert evaluated(folder, "seed") == [7] and not mark.exists()
    folder = written(tmp_path, seed=touching(mark))
    evaluated(folder, "seed", trust=True)
    assert mark.exists()
