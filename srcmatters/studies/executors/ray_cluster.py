"""The Ray cluster that cells run on: one that is there already, or one started on this machine."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from srcmatters.clean_shutdown import signals_handled
from srcmatters.errors import InputError

# Outcomes are all that Ray has to carry; the smallest object store that it accepts is about this.
_OBJECT_STORE_BYTES = 100_000_000
_LISTENING_SECONDS = 10.0
# No telemetry; and 127.0.0.1 instead of the network's address, which Ray prefers even where it is told
# otherwise: its switch for that is named after other systems, and read when Ray is imported.
_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray counts shares of a GPU in ten-thousandths.
_SHARES = 10_000


def import_ray() -> ModuleType:
    """Ray, which is an extra.

    Raises:
        InputError: it is not installed, or cannot be imported; names the command that installs it.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            f"executor: ray cannot be imported ({error}),"
            ' expected it installed: pip install -c constraints.txt -e ".[ray]"'
        ) from error
    return ray


def connect(address: str | None, cores: int) -> bool:
    """Connect this process to a cluster; nothing is sent to anybody else.

    Args:
        address: "auto" for the cluster that this machine belongs to, "host:port", "ray://host:port" (needs
            ``ray[client]``), "local" for a cluster of this machine alone that ends with this process. None:
            ``$RAY_ADDRESS``, as in a Ray job, or else "local".
        cores: of a local cluster.

    Returns:
        Whether this call connected; False if the process was connected before.

    Raises:
        InputError: no Ray, or no cluster at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address == "local":
        os.environ |= _PRIVATE
        options |= {"num_cpus": cores, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    # Ray takes SIGTERM for itself as it connects; the driver has its own way of ending cleanly.
    with signals_handled(None, signal.SIGTERM):
        ray = import_ray()
        if ray.is_initialized():
            return False
        _require_listening(address)
        try:
            ray.init(address, **options)
        except Exception as error:  # of any kind: a node that starts too slowly is a bare Exception
            message = " ".join(str(error).split())[:200]
            where = "Ray does not start here" if address == "local" else f"no Ray cluster at {address!r}"
            raise InputError(f"address: {where} ({message})") from error
    return True


def _require_listening(address: str) -> None:
    """Ray itself tries an address for minutes, and neither Ctrl-C nor SIGTERM ends that."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # "auto" or "local"
        return
    if not port.isdigit():
        raise InputError(f"address: got {address!r}, expected auto, local, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _LISTENING_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"address: no Ray cluster at {address!r} ({error})") from error


def gpu_share(nodes: Sequence[Mapping[str, Any]], per_gpu: int) -> float:
    """The share of a GPU that a cell asks Ray for.

    Args:
        nodes: as ``ray.nodes()`` describes them.
        per_gpu: cells that share a GPU; 0: none is used.

    Returns:
        0 if the cluster has no GPU.
    """
    has_gpus = any(resources.get("GPU", 0) >= 1 for resources in _alive(nodes))
    return math.floor(_SHARES / per_gpu) / _SHARES if has_gpus and per_gpu else 0.0


def cluster_slots(nodes: Sequence[Mapping[str, Any]], cpus_per_cell: float, gpus_per_cell: float) -> int:
    """How many cells fit on the living nodes at the same time, other users of the cluster aside.

    Args:
        nodes: as ``ray.nodes()`` describes them.
        cpus_per_cell: cores of a cell, more than 0.
        gpus_per_cell: share of a GPU, 0 for none: only nodes that have one hold a cell then.
    """
    per_cell = {"CPU": cpus_per_cell, "GPU": gpus_per_cell}
    return sum(
        min(math.floor(resources.get(name, 0) / amount) for name, amount in per_cell.items() if amount)
        for resources in _alive(nodes)
    )


def _alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in nodes if node["Alive"]]
