"""Timing two ways of doing the same thing so that a busy machine slows both.

from paired import paired_medians
paired_medians({"ours": f, "published": g}, repeats=21)
# {"ours": 3.4, "published": 45.1, "published/ours": 13.2}    milliseconds, and the ratio
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

SHORTEST_MS = 50.0  # a measurement repeats its function until it takes this long, as a loader would


def paired_medians(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 21,
    threads: int | None = 1,
    warm_up: int = 3,
    synchronise: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Time functions in turns and report medians.

    Every round measures every function once, in alternating order, so what else the machine does hits all of
    them; the ratio is the median of the rounds' ratios, not the ratio of the medians.

    Args:
        functions: name and function without arguments; the first is the one that the others are compared
            with.
        repeats: number of rounds, >= 1.
        threads: threads of torch while it runs (the caller's number comes back afterwards); None leaves it.
            Set OMP_NUM_THREADS as well: other libraries read it when they are imported.
        warm_up: calls before anything is measured.
        synchronise: waits for a device, torch.cuda.synchronize say.

    Returns:
        name -> milliseconds per call, and "other/first" -> how many times longer the other one takes.
    """
    if repeats < 1 or not functions:
        raise ValueError(f"repeats {repeats}, {len(functions)} functions: expected at least one of each")
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        calls = {name: _calls(function, warm_up, synchronise) for name, function in functions.items()}
        rounds: dict[str, list[float]] = {name: [] for name in functions}
        for turn in range(repeats):
            order = list(functions)[:: 1 if turn % 2 == 0 else -1]
            for name in order:
                rounds[name].append(_milliseconds(functions[name], calls[name], synchronise))
    finally:
        torch.set_num_threads(before)
    result = {name: statistics.median(times) for name, times in rounds.items()}
    first, *others = functions
    for name in others:
        ratios = [theirs / ours for theirs, ours in zip(rounds[name], rounds[first], strict=True)]
        result[f"{name}/{first}"] = statistics.median(ratios)
    return result


def _calls(function: Callable[[], object], warm_up: int, synchronise: Callable[[], None] | None) -> int:
    for _ in range(max(warm_up, 1)):
        once = _milliseconds(function, 1, synchronise)
    return max(math.ceil(SHORTEST_MS / max(once, 1e-4)), 1)


def _milliseconds(
    function: Callable[[], object], calls: int, synchronise: Callable[[], None] | None
) -> float:
    if synchronise is not None:
        synchronise()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    if synchronise is not None:
        synchronise()
    return (time.perf_counter() - start) * 1e3 / calls
