"""A Python function as a model: code of somebody else, run only where the user says so."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.model import Model, Raw
from srcmatters.errors import InputError, did_you_mean, first_line
from srcmatters.files import sha256_of

BATCHES = ("torch", "numpy")


class FunctionModel(Model):
    """A function of a batch.

    Args:
        name: what tables call it.
        contract: see :class:`Model`.
        function: takes (N, ...) float32 and returns one or several values for each image.
        batch: "torch" or "numpy": what it is handed.
        sha256: of the file that defines it.
    """

    kind = "Python function"

    def __init__(
        self,
        name: str,
        contract: InputContract,
        function: Callable[[Any], Any],
        batch: str,
        sha256: str | None,
    ) -> None:
        super().__init__(name, contract, sha256)
        self.function = function
        self.batch = batch

    @torch.no_grad()
    def forward(self, inputs: torch.Tensor) -> Raw:
        """See :class:`Model`; the function gets a copy, which it may change."""
        batch = inputs.clone()
        try:
            return self.function(batch.numpy() if self.batch == "numpy" else batch)
        except SystemExit as error:  # it would end the program without a word
            raise RuntimeError(f"it ends the program with {error.code}") from error


def open_function(module: str, function: str, options: ContractOptions, trust: bool) -> Model:
    """A function of an installed package, or of a file.

    Args:
        module: "package.module", or the path of a Python file.
        function: its name.
        options: of the contract; ``batch`` says what the function is handed. Without it: NumPy where its
            parameter is annotated so, a torch tensor otherwise.
        trust: whether the code may run.

    Raises:
        InputError: not trusted; not there; its module fails as it is imported.
    """
    if options.batch is not None and options.batch not in BATCHES:
        raise InputError(f"batch: {options.batch!r} is unknown{did_you_mean(options.batch, BATCHES)}")
    path = _path_of(module)
    digest = sha256_of(path) if path is not None and path.is_file() else None
    what = f"the function {function} of {path or module}" + (f" (sha256 {digest[:12]})" if digest else "")
    if not trust:
        raise InputError(f"{module}:{function}: it would run {what}, expected --trust to allow it")
    loaded = getattr(_imported(module, path), function, None)
    if not callable(loaded):
        raise InputError(f"{module}:{function}: no function of this name in {path or module}")
    contract = settled_contract(options, {}, f"{module}:{function}")
    name = f"{Path(module).stem if module.endswith('.py') else module}:{function}"
    model = FunctionModel(name, contract, loaded, options.batch or annotated_batch(loaded), digest)
    model.runs = what
    return model


def _path_of(module: str) -> Path | None:
    """The file of a module, found without running it; None where it has none."""
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise InputError(f"{module}: no such file, expected file.py:function")
        return path
    parts = module.split(".")
    # Finding a submodule would import its parent.
    spec = (
        importlib.util.find_spec(parts[0]) if parts[0] not in sys.modules else sys.modules[parts[0]].__spec__
    )
    if spec is None:
        raise InputError(
            f"{module}: no such package is installed, expected package.module:function or file.py:function"
        )
    origin = Path(spec.origin) if spec.origin and spec.has_location else None
    if len(parts) == 1 or origin is None:
        return origin
    inside = origin.parent.joinpath(*parts[1:])
    return next((one for one in (inside.with_suffix(".py"), inside / "__init__.py") if one.is_file()), None)


def _imported(module: str, path: Path | None) -> ModuleType:
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        assert path is not None
        described = importlib.util.spec_from_file_location(f"srcmatters_audited_{path.stem}", path)
        assert described is not None and described.loader is not None
        loaded = importlib.util.module_from_spec(described)
        sys.modules[described.name] = loaded  # what dataclasses and pickles of the file look for
        described.loader.exec_module(loaded)
        return loaded
    except (Exception, SystemExit) as error:  # somebody else's code may raise anything, or be a script
        raise InputError(
            f"{module}: fails as it is imported ({type(error).__name__}: {first_line(error)})"
        ) from error


def annotated_batch(function: Callable[..., Any]) -> str:
    """What a function is handed by its annotation: "numpy" for an ndarray, otherwise "torch"."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "torch"
    annotation = str(parameters[0].annotation) if parameters else ""
    return "numpy" if "ndarray" in annotation or "numpy" in annotation.lower() else "torch"
