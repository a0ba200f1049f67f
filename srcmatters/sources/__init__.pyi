from .conversion import (
    convert as convert,
)
from .conversion import (
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
)
from .networks import (
    create_network as create_network,
)
from .normalisation import (
    InputNormalisation as InputNormalisation,
)
from .normalisation import (
    PositiveZScore as PositiveZScore,
)
from .source import (
    Source as Source,
)
from .source import (
    classifier_of as classifier_of,
)
from .source import (
    create_classifier as create_classifier,
)
from .source import (
    load_source as load_source,
)
from .weight_files import (
    read_weights as read_weights,
)
