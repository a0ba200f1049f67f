from .classifier import (
    Classifier as Classifier,
    weights_digest as weights_digest,
)
from .constructor import (
    is_own as is_own,
    network_name as network_name,
    read_constructor as read_constructor,
    same_network as same_network,
)
from .conversion import (
    convert as convert,
    guess_scheme as guess_scheme,
)
from .conversion_report import (
    ConversionReport as ConversionReport,
)
from .loading import (
    load_strictly as load_strictly,
)
from .networks import (
    EfficientNetLite0 as EfficientNetLite0,
    create_network as create_network,
)
from .normalisation import (
    InputNormalisation as InputNormalisation,
    PositiveZScore as PositiveZScore,
)
from .source import (
    Source as Source,
    classifier_of as classifier_of,
    create_classifier as create_classifier,
    load_source as load_source,
)
from .weight_files import (
    read_weights as read_weights,
)
