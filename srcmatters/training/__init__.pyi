from .augmentation import (
    BatchedRandomAffine as BatchedRandomAffine,
)
from .augmentation import (
    BatchedRandomIntensity as BatchedRandomIntensity,
)
from .checkpoints import (
    check_same_network as check_same_network,
)
from .checkpoints import (
    check_same_run as check_same_run,
)
from .checkpoints import (
    distribute as distribute,
)
from .checkpoints import (
    load_checkpoint as load_checkpoint,
)
from .checkpoints import (
    network_for as network_for,
)
from .checkpoints import (
    to_device as to_device,
)
from .contrastive import (
    Augmentations as Augmentations,
)
from .contrastive import (
    TwoViewLoss as TwoViewLoss,
)
from .contrastive import (
    TwoViews as TwoViews,
)
from .contrastive import (
    with_projection as with_projection,
)
from .datasets import (
    CaseDataset as CaseDataset,
)
from .datasets import (
    case_loader as case_loader,
)
from .detectability_check import (
    check_detectability as check_detectability,
)
from .fine_tuning import (
    FineTuning as FineTuning,
)
from .handlers import (
    EarlyStop as EarlyStop,
)
from .handlers import (
    EpochLog as EpochLog,
)
from .handlers import (
    FiniteLoss as FiniteLoss,
)
from .handlers import (
    PrepareBatch as PrepareBatch,
)
from .overrides import (
    check_overrides as check_overrides,
)
from .pretraining import (
    Pretraining as Pretraining,
)
from .resumption import (
    BestWeights as BestWeights,
)
from .resumption import (
    EpochSeeds as EpochSeeds,
)
from .resumption import (
    Resumption as Resumption,
)
from .retest import (
    Evaluation as Evaluation,
)
from .retest import (
    ScoreWriter as ScoreWriter,
)
from .run_record import (
    Evidence as Evidence,
)
from .screening import (
    Screening as Screening,
)
from .settings import (
    check_settings as check_settings,
)
from .settings import (
    flag as flag,
)
from .settings import (
    source_name as source_name,
)
from .two_state_test import (
    TwoStateTest as TwoStateTest,
)
