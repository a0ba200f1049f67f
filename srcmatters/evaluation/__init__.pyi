from .analysis import (
    Analysis as Analysis,
)
from .analysis import (
    analyse as analyse,
)
from .analysis_plan import (
    AnalysisPlan as AnalysisPlan,
)
from .environments import (
    Mixture as Mixture,
)
from .environments import (
    compute_metrics as compute_metrics,
)
from .environments import (
    confounder_effect as confounder_effect,
)
from .environments import (
    environment_auc as environment_auc,
)
from .environments import (
    environment_scores as environment_scores,
)
from .environments import (
    flattened_auc as flattened_auc,
)
from .environments import (
    mixture_entries as mixture_entries,
)
from .verdicts import (
    Outcome as Outcome,
)
from .verdicts import (
    Verdict as Verdict,
)
