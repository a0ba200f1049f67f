from .adaptation import (
    trained_parameters as trained_parameters,
)
from .augmentation import (
    BatchedRandomAffine as BatchedRandomAffine,
    BatchedRandomIntensity as BatchedRandomIntensity,
)
from .checkpoints import (
    check_same_network as check_same_network,
    check_same_run as check_same_run,
    distribute as distribute,
    join_process_group as join_process_group,
    load_checkpoint as load_checkpoint,
    network_for as network_for,
    to_device as to_device,
)
from .contrastive import (
    Augmentations as Augmentations,
    TwoViewLoss as TwoViewLoss,
    TwoViews as TwoViews,
    with_projection as with_projection,
)
from .datasets import (
    CaseDataset as CaseDataset,
    case_loader as case_loader,
)
from .detectability_check import (
    check_detectability as check_detectability,
)
from .fine_tuning import (
    FineTuning as FineTuning,
)
from .four_state_test import (
    FourStateTest as FourStateTest,
    create_test as create_test,
)
from .handlers import (
    BestModel as BestModel,
    EarlyStop as EarlyStop,
    EpochLog as EpochLog,
    FiniteLoss as FiniteLoss,
    PrepareBatch as PrepareBatch,
)
from .inference import (
    FeatureWriter as FeatureWriter,
    ScoreWriter as ScoreWriter,
    without_head as without_head,
)
from .mitigation.fine_tuning_arms import (
    training_batches as training_batches,
    training_loss as training_loss,
)
from .overrides import (
    check_overrides as check_overrides,
)
from .pretraining import (
    Pretraining as Pretraining,
)
from .resumption import (
    BestWeights as BestWeights,
    EpochSeeds as EpochSeeds,
    Resumption as Resumption,
)
from .retest import (
    Evaluation as Evaluation,
)
from .run_record import (
    Evidence as Evidence,
)
from .screening import (
    Screening as Screening,
)
from .settings import (
    check_settings as check_settings,
    flag as flag,
    network_name as network_name,
    source_name as source_name,
)
from .transfer_test import (
    TransferTest as TransferTest,
)
from .two_state_test import (
    TwoStateTest as TwoStateTest,
)
