"""A model behind a wall: the images that are sent through it, and what comes back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
