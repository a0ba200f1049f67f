"""Phantom: a procedural adult chest, its radiographs and its CT, from a seed.

No patient stands behind any image. Positives carry a lung nodule or mass and differ from their own
counterfactual (``patient.without_nodule()``) only there, so that whatever else predicts the label was put in
by a confounder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
