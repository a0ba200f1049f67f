from .in_python import (
    run as run,
)
from .result import (
    Audit as Audit,
)
from .scores_in_python import (
    prepare as prepare,
    run_scores as run_scores,
)
