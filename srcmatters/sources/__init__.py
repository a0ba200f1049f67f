"""Sources: pre-trained weights, loaded strictly, with the input they expect."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
