"""Images: one door for every file format, always the same way round, in a stated unit, placed in mm."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
