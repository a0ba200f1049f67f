"""The examples of docs/audit.md that say "tested" run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model

_DOCS = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()


def _example(name: str) -> str:
    match = re.search(rf"^{name} \(tested\).*?```python\n(.*?)```", _DOCS, re.DOTALL | re.MULTILINE)
    assert match is not None
    assert len(match[1].strip().splitlines()) == 3
    return match[1]


def test_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        num_labels=2,
    )
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit.py").write_text(_example("transformers"))
    model = open_model(
        "vit.py:score",
        ContractOptions(size="32", channels="rgb", value_range="-1..1", output_kind="logits"),
        trust=True,
    )
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        logits = network(images).logits
    np.testing.assert_allclose(model.log_odds(images)[:, 0], logits[:, 1] - logits[:, 0], atol=1e-5)


def test_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    stream = np.random.default_rng(0)
    images, labels = stream.random((40, 1, 8, 8), dtype=np.float32), np.arange(40) % 2
    fitted = LogisticRegression().fit(images.reshape(40, -1), labels)
    np.savez(tmp_path / "logistic.npz", coef=fitted.coef_[0], intercept=fitted.intercept_)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.py").write_text(_example("scikit-learn"))
    model = open_model("linear.py:score", ContractOptions(size="8", output_kind="logit"), trust=True)
    expected = fitted.decision_function(images.reshape(40, -1))
    np.testing.assert_allclose(model.log_odds(torch.from_numpy(images))[:, 0], expected, atol=1e-5)
