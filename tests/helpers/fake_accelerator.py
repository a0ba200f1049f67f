"""A device without hardware: its tensors hold values, and an operation that mixes them with the CPU's fails.

Values are computed on the CPU behind the device's back, so code whose course depends on values runs, and its
result can be compared with that on the CPU. Device faults are those of CUDA: a tensor of the CPU that meets
one of the accelerator must have no dimension, be an index into it, or be copied. Streams, mixed precision and
memory are not imitated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend


class _Hook(torch._C._acc.PrivateUse1Hooks):
    """Whether the device is there: only while :func:`accelerator` runs."""

    there = False

    def is_available(self) -> bool:
        return _Hook.there

    def has_primary_context(self, device: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


# Autograd runs backward on an accelerator that has a name alone.
_setup_privateuseone_for_python_backend(rename="fake", hook=_Hook())
# The name outlives this module, and whoever forks the random state asks every device for its own.
torch.fake.get_rng_state = lambda *_: torch.empty(0, dtype=torch.uint8)  # type: ignore[attr-defined]
torch.fake.set_rng_state = lambda *_: None  # type: ignore[attr-defined]
DEVICE = torch.device("fake:0")
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}


class OnAccelerator(torch.Tensor):
    """A tensor of the accelerator; its values are a tensor of the CPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnAccelerator:
        strided = values.layout == torch.strided
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.shape,
            strides=values.stride() if strided else None,
            storage_offset=values.storage_offset() if strided else None,
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"OnAccelerator({tuple(self.shape)}, {self.dtype})"

    def tolist(self) -> Any:
        """The values as numbers, as a device gives them."""
        return self.values.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def _is_ours(device: object) -> bool:
    return isinstance(device, torch.device) and device.type == DEVICE.type


def _left_behind(func: Any, args: Sequence[Any], tensors: Sequence[torch.Tensor]) -> str | None:
    """Which tensor of the CPU an operation on the accelerator must not take."""
    if func in _COPIES:
        return None
    if func in _INDEXING:
        if not isinstance(args[0], OnAccelerator):
            return f"{func}: indices on {DEVICE}, the tensor on cpu"
        tensors = [value for value in args[2:3] if isinstance(value, torch.Tensor)]
    for tensor in tensors:
        if not isinstance(tensor, OnAccelerator) and tensor.ndim > 0:
            return f"{func}: {tuple(tensor.shape)} on cpu, another tensor on {DEVICE}"
    return None


def computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The result of an operation, on the device where CUDA would have it."""
    kwargs = dict(kwargs)
    flat, form = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    ours = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, OnAccelerator)}
    device = kwargs.get("device")
    there = _is_ours(device) if device is not None else bool(ours)
    if func is _aten.copy_.default:
        there = isinstance(args[0], OnAccelerator)
    if ours:
        fault = _left_behind(func, args, tensors)
        if fault is not None:
            raise RuntimeError(f"Expected all tensors to be on the same device, but {fault}")
    if func is _aten.is_pinned.default:
        return False
    inner = [value.values if isinstance(value, OnAccelerator) else value for value in flat]
    inner_args, inner_kwargs = tree_unflatten(inner, form)
    if _is_ours(device):
        inner_kwargs["device"] = torch.device("cpu")
    if func is _aten._to_copy.default and there != isinstance(args[0], OnAccelerator):
        # Between devices a copy is a copy, also where the dtype stays.
        inner_kwargs.setdefault("dtype", inner_args[0].dtype)
    result = func(*inner_args, **inner_kwargs)

    def placed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not there:
            return value
        if id(value) in ours:
            return ours[id(value)]
        # The bits of lazy conjugation and negation would be lost on the outside.
        return OnAccelerator(value.resolve_conj().resolve_neg())

    return tree_map(placed, result)


class _FromNumbers(TorchFunctionMode):
    """Takes what makes tensors of numbers: it reaches no dispatch before the tensor is on its device."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnAccelerator):
            kwargs = {"dtype": args[0].dtype, "device": DEVICE, **kwargs}
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor) and _is_ours(kwargs.get("device")):
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


class _Accelerator(TorchDispatchMode):
    """Takes what creates tensors on the device, which no tensor argument announces."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


@contextmanager
def accelerator(monkeypatch: Any) -> Iterator[torch.device]:
    """The device, while the block runs; its random numbers are those of the CPU."""
    generator: Callable[..., torch.Generator] = torch.Generator

    def on_cpu(device: object = "cpu") -> torch.Generator:
        return generator()

    with monkeypatch.context() as patch, _Accelerator(), _FromNumbers():
        patch.setattr(torch, "Generator", on_cpu)
        patch.setattr(_Hook, "there", True)
        yield DEVICE
