"""Sources: pre-trained weights, loaded strictly, with the input they expect."""

from srcmatters.sources.networks import EfficientNetLite0, create_network
from srcmatters.sources.normalisation import InputNormalisation
from srcmatters.sources.source import Source, create_classifier, load_source, load_strictly, read_weights

__all__ = [
    "EfficientNetLite0",
    "InputNormalisation",
    "Source",
    "create_classifier",
    "create_network",
    "load_source",
    "load_strictly",
    "read_weights",
]
