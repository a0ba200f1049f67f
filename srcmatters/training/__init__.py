"""Training: what the bundles' configurations name."""

from typing import Any

import lazy_loader

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Names of this room, and those that the configurations of earlier runs look for here."""
    if name in __all__:
        return _attached(name)
    from srcmatters.training.earlier_configurations import earlier_name

    return earlier_name(name)
