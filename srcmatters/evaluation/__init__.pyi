from .analysis import (
    Analysis as Analysis,
    analyse as analyse,
)
from .analysis_plan import (
    AnalysisPlan as AnalysisPlan,
)
from .environments import (
    Mixture as Mixture,
    compute_metrics as compute_metrics,
    confounder_effect as confounder_effect,
    environment_auc as environment_auc,
    environment_scores as environment_scores,
    flattened_auc as flattened_auc,
    mixture_entries as mixture_entries,
)
from .outcomes import (
    Outcome as Outcome,
)
from .verdicts import (
    Verdict as Verdict,
)
