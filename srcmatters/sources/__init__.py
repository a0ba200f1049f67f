"""Sources: pre-trained weights, loaded strictly, with the input they expect."""

from srcmatters.sources.conversion import convert, guess_scheme
from srcmatters.sources.loading import load_strictly
from srcmatters.sources.networks import EfficientNetLite0, create_network
from srcmatters.sources.normalisation import InputNormalisation, PositiveZScore
from srcmatters.sources.report import ConversionReport
from srcmatters.sources.source import Source, classifier_of, create_classifier, load_source
from srcmatters.sources.weight_files import read_weights

__all__ = [
    "ConversionReport",
    "EfficientNetLite0",
    "InputNormalisation",
    "PositiveZScore",
    "Source",
    "classifier_of",
    "convert",
    "create_classifier",
    "create_network",
    "guess_scheme",
    "load_source",
    "load_strictly",
    "read_weights",
]
