from .in_python import (
    run as run,
)
from .result import (
    Audit as Audit,
)
