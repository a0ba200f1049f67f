"""Options of the command line that declare a model's input and output, and allow its code to run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from srcmatters.audit.contract import CHANNELS, LAYOUTS, MODALITIES, OUTPUT_KINDS
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors.functions import BATCHES
from srcmatters.audit.reshaping import RESIZES
from srcmatters.audit.value_ranges import NAMED_RANGES
from srcmatters.errors import InputError
from srcmatters.images.windows import WINDOWS

_OPTIONS = (
    click.option("--modality", type=click.Choice(MODALITIES), help="Of the model's images."),
    click.option("--size", metavar="ROWSxCOLUMNS", help="Of its input: 224, 224x192, 32x32x32, or native."),
    click.option("--resize", type=click.Choice(RESIZES), help="How an image comes to this size."),
    click.option("--channels", type=click.Choice(CHANNELS), help="One, or the grey value three times."),
    click.option(
        "--layout", type=click.Choice([name.replace("_", "-") for name in LAYOUTS]), help="NCHW or NHWC."
    ),
    click.option(
        "--range",
        "value_range",
        metavar="LOW..HIGH",
        help=f"Of its grey values: {', '.join(NAMED_RANGES)}, or any LOW..HIGH.",
    ),
    click.option("--inverted/--not-inverted", default=None, help="Bone is dark."),
    click.option(
        "--transposed/--not-transposed",
        default=None,
        help="Rows and columns swapped, as MONAI's default readers do.",
    ),
    click.option("--window", metavar="NAME", help=f"Of CT: {', '.join(WINDOWS)}, or CENTRE/WIDTH in HU."),
    click.option("--patch_mm", type=float, help="Of CT: side of the box around a case."),
    click.option("--slab_mm", type=float, help="Of CT: what is read around a case along z."),
    click.option(
        "--output",
        "outputs",
        multiple=True,
        metavar="[TENSOR:]INDEX",
        help="Which value is the finding: its index, or its name where the model tells; may be repeated.",
    ),
    click.option("--output-kind", type=click.Choice(OUTPUT_KINDS), help="What the value is."),
    click.option("--finding", "findings", multiple=True, help="What to call each --output."),
    click.option("--batch", type=click.Choice(BATCHES), help="What a Python function is handed."),
    click.option("--trust", is_flag=True, help="Run the model's own Python code."),
    click.option("--device", default="cpu", show_default=True, help="Where torch runs the model."),
)


def door_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options; it is handed ``contract``, ``trust`` and ``device``."""

    @functools.wraps(command)
    def with_contract(**values: Any) -> Any:
        names = ContractOptions.__dataclass_fields__
        declared = {name: values.pop(name) for name in names}
        return command(contract=_declared(declared), **values)

    for option in reversed(_OPTIONS):
        with_contract = option(with_contract)
    return with_contract


def _declared(values: dict[str, Any]) -> ContractOptions:
    layout, window = values["layout"], values["window"]
    return ContractOptions(
        **{
            **values,
            "layout": None if layout is None else layout.replace("-", "_"),
            "window": window if window is None or window in WINDOWS else _centre_and_width(window),
        }
    )


def _centre_and_width(text: str) -> tuple[float, float]:
    try:
        centre, width = (float(part) for part in text.split("/"))
    except ValueError:
        raise InputError(
            f"--window: got {text!r}, expected CENTRE/WIDTH in HU, or one of: {', '.join(WINDOWS)}"
        ) from None
    return centre, width
