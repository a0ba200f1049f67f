"""A model is anything that scores images: what all doors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from srcmatters.audit.contract import InputContract
from srcmatters.audit.doors.log_odds import log_odds_of
from srcmatters.errors import InputError, find_input_error, first_line

#: What a model may return: one tensor, or several by name or place.
Raw = Any
#: Words by which runtimes say that there is no memory, where they have no exception of their own.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "failed to allocate",
    "bad allocation",
)


@dataclass(frozen=True)
class TrainedOn:
    """What a run of ours tells of its training.

    Args:
        settings: of the run.
        test_cases: identifiers of the cases that it was tested on, which it never saw.
        validation_cases: identifiers of the cases that chose its epoch and threshold.
    """

    settings: Mapping[str, Any]
    test_cases: tuple[str, ...]
    validation_cases: tuple[str, ...]


class Model(ABC):
    """Images in the form of the contract to log-odds of the findings.

    Args:
        name: what tables call it; no path.
        contract: how it wants its images; settled by :func:`srcmatters.audit.doors.open_model`.
        sha256: of its file; None where it is none.
        classes: names of the values that it returns for an image, where its files tell them.

    Attributes:
        kind: which door it came through.
        outputs: names of the findings, in the order of ``contract.output``.
        runs: what is executed when it scores, in one line.
        batch_limit: images per pass that its file fixes; None: any number.
        trained_on: of a run of ours, None otherwise.
        notes: what a reader of the audit should know of the model, one line each.
    """

    kind: str = ""

    def __init__(
        self, name: str, contract: InputContract, sha256: str | None = None, classes: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.contract = contract
        self.sha256 = sha256
        self.classes = tuple(classes)
        self.outputs: tuple[str, ...] = ()
        self.runs = name
        self.batch_limit: int | None = None
        self.trained_on: TrainedOn | None = None
        self.notes: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, inputs: torch.Tensor) -> Raw:
        """One pass: (N, ...) in the form of the contract, float32, to what the model returns.

        Whatever it raises becomes one line.
        """

    def returned(self, inputs: torch.Tensor) -> np.ndarray:
        """(N, K) values that the model returns for each image.

        Raises:
            InputError: the model fails; names it.
        """
        return self._in_passes(
            inputs,
            lambda batch: one_row_per_image(
                self.forward(batch), len(batch), self.contract.output_tensor, self.name
            ),
        )

    def log_odds(self, inputs: torch.Tensor) -> np.ndarray:
        """(N, outputs) float64 log-odds of the findings.

        Args:
            inputs: (N, ...) in the form of the contract.

        Raises:
            InputError: the model fails on them, or returns what cannot be log-odds; names the model.
        """
        contract = self.contract
        return log_odds_of(self.returned(inputs), contract.output, contract.output_kind, self.name)

    def features(self, inputs: torch.Tensor) -> np.ndarray | None:
        """(N, F) float32, the input of the classification head; None where it cannot be had."""
        return None

    def head(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The head as (outputs, F) weights and (outputs,) biases of log-odds; None where it cannot be had."""
        return None

    def keep_head_if_last(self, inputs: torch.Tensor) -> None:  # noqa: B027  most doors know no head
        """Forget the head unless what it makes of the features is what the model returns, exactly enough.

        Args:
            inputs: (N, ...) in the form of the contract.
        """

    def _in_passes(self, inputs: torch.Tensor, run: Callable[[torch.Tensor], np.ndarray]) -> np.ndarray:
        """Results of as many passes as memory and the model's file ask for."""
        size = self.batch_limit or len(inputs)
        outputs: list[np.ndarray] = []
        start = 0
        while start < len(inputs):
            batch = inputs[start : start + size]
            try:
                outputs.append(self._padded(batch, run))
            except Exception as error:  # somebody else's code may raise anything
                if not is_out_of_memory(error) or len(batch) == 1 or self.batch_limit is not None:
                    raise self._failure(error, batch) from error
                size = len(batch) // 2
                continue
            start += len(batch)
        return np.concatenate(outputs)

    def _padded(self, batch: torch.Tensor, run: Callable[[torch.Tensor], np.ndarray]) -> np.ndarray:
        """A file for a fixed number of images gets this number; what is too much is dropped again."""
        missing = (self.batch_limit or len(batch)) - len(batch)
        if missing == 0:
            return run(batch)
        return run(torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]))[: len(batch)]

    def _failure(self, error: Exception, batch: torch.Tensor) -> InputError:
        mistake = find_input_error(error)
        if mistake is not None:
            return mistake
        shape = " x ".join(map(str, batch.shape))
        if is_out_of_memory(error):
            return InputError(
                f"{self.name}: out of memory on an input of {shape}, expected a smaller --size or another"
                " --device"
            )
        return InputError(
            f"{self.name}: fails on an input of {shape} ({type(error).__name__}: {first_line(error)})"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a pass failed for lack of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def tensors_of(raw: Raw) -> dict[str, Any]:
    """What a model returned, by name; unnamed ones are called by their place."""
    if isinstance(raw, Mapping):
        return {str(name): value for name, value in raw.items() if _is_array(value)}
    if isinstance(raw, list | tuple) and not _is_array(raw):
        return {str(place): value for place, value in enumerate(raw) if _is_array(value)}
    # transformers returns a mapping of this kind that is no Mapping in all of its versions.
    if not _is_array(raw) and hasattr(raw, "logits"):
        return {"logits": raw.logits}
    return {"": raw}


def one_row_per_image(raw: Raw, count: int, tensor: str | None, origin: str) -> np.ndarray:
    """(N, K) float64 of what a model returned.

    Args:
        raw: what it returned.
        count: number of images N.
        tensor: which tensor, where it returned several.
        origin: name of the model, for messages.

    Raises:
        InputError: several tensors and none selected, none of this name, or not one row for each image.
    """
    tensors = tensors_of(raw)
    if tensor is None and len(tensors) > 1:
        listed = ", ".join(f"{name} {tuple(np.shape(value))}" for name, value in tensors.items())
        raise InputError(
            f"{origin}: returns {len(tensors)} tensors ({listed}), expected --output NAME:INDEX to"
            " say which is the finding"
        )
    if tensor is not None and tensor not in tensors:
        raise InputError(f"{origin}: returns no tensor {tensor!r}, expected one of: {', '.join(tensors)}")
    if not tensors:
        raise InputError(f"{origin}: returns a {type(raw).__name__}, expected an array of (images, values)")
    selected = next(iter(tensors.values())) if tensor is None else tensors[tensor]
    if "complex" in str(getattr(selected, "dtype", "")):
        raise InputError(f"{origin}: returns {selected.dtype} numbers, expected real ones")
    try:
        values = (
            selected.detach().double().cpu().numpy()
            if isinstance(selected, torch.Tensor)
            else np.asarray(selected, np.float64)
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{origin}: returns a {type(selected).__name__}, expected an array of (images, values)"
        ) from error
    if values.ndim == 1 and len(values) == count:
        return values[:, None]
    if values.ndim < 2 or len(values) != count or values.size != count * values.shape[1]:
        raise InputError(
            f"{origin}: returns shape {values.shape} for {count} images, expected ({count}, values)"
        )
    return values.reshape(count, -1)


def _is_array(value: Any) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray | float | int):
        return True
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], float | int | list)
