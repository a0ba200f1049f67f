"""The command line declares a contract."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.door_options import door_options
from srcmatters.errors import InputError


def _given(*words: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    @click.command()
    @click.option("--out")
    @door_options
    def command(**options: Any) -> None:
        seen.update(options)

    CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    return seen


def test_nothing_is_declared_unless_it_is_said() -> None:
    assert _given() == {"contract": ContractOptions(), "trust": False, "device": "cpu", "out": None}


def test_every_option_reaches_the_contract() -> None:
    words = (
        "--size 224x192 --resize pad --channels bgr --layout channels-last --range 0..255 --inverted"
        " --transposed"
        " --output 1 --output pneumonia --output-kind softmax --finding Mass --finding Pneumonia"
        " --batch numpy"
        " --modality radiograph --trust"
    )
    options = _given(*words.split())
    assert options["trust"] and options["contract"] == ContractOptions(
        modality="radiograph",
        size="224x192",
        resize="pad",
        channels="bgr",
        layout="channels_last",
        value_range="0..255",
        inverted=True,
        transposed=True,
        outputs=("1", "pneumonia"),
        output_kind="softmax",
        findings=("Mass", "Pneumonia"),
        batch="numpy",
    )


def test_windows_by_name_and_by_number() -> None:
    assert _given("--window", "lung")["contract"].window == "lung"
    assert _given("--window", "40/400", "--patch_mm", "30")["contract"] == ContractOptions(
        window=(40.0, 400.0), patch_mm=30.0
    )
    with pytest.raises(InputError, match="--window: got 'lungs'"):
        _given("--window", "lungs")
