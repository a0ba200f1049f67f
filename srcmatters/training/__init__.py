"""Training: what the bundles' configurations name."""

from srcmatters.training.augmentation import BatchedRandomAffine, BatchedRandomIntensity
from srcmatters.training.checkpoints import (
    check_same_network,
    check_same_run,
    distribute,
    load_checkpoint,
    network_for,
    to_device,
)
from srcmatters.training.contrastive import Augmentations, TwoViewLoss, TwoViews, with_projection
from srcmatters.training.datasets import CaseDataset, case_loader
from srcmatters.training.detection import check_detectability
from srcmatters.training.evidence import Evidence
from srcmatters.training.fine_tuning import FineTuning
from srcmatters.training.frozen_features import FeatureCache
from srcmatters.training.handlers import EarlyStop, EpochLog, FiniteLoss, PrepareBatch
from srcmatters.training.overrides import check_overrides
from srcmatters.training.patches import ResamplePatchd, slab_to_read
from srcmatters.training.pretraining import Pretraining
from srcmatters.training.resizing import AntialiasedResized
from srcmatters.training.results import Results, default_output_dir
from srcmatters.training.resumption import BestWeights, EpochSeeds, Resumption
from srcmatters.training.retesting import Evaluation, ScoreWriter
from srcmatters.training.screening import Screening
from srcmatters.training.settings import check_settings, flag, source_name
from srcmatters.training.state_cache import StateCache
from srcmatters.training.study_cases import (
    StudyCases,
    choose_cases,
    choose_readable,
    confounder_place,
    control_labels,
    create_image_confounder,
)
from srcmatters.training.tracking import Tracker
from srcmatters.training.two_states import TwoStateTest

__all__ = [
    "AntialiasedResized",
    "Augmentations",
    "BatchedRandomAffine",
    "BatchedRandomIntensity",
    "BestWeights",
    "CaseDataset",
    "EarlyStop",
    "EpochLog",
    "EpochSeeds",
    "Evaluation",
    "Evidence",
    "FeatureCache",
    "FineTuning",
    "FiniteLoss",
    "PrepareBatch",
    "Pretraining",
    "ResamplePatchd",
    "Results",
    "Resumption",
    "ScoreWriter",
    "Screening",
    "StateCache",
    "StudyCases",
    "Tracker",
    "TwoStateTest",
    "TwoViewLoss",
    "TwoViews",
    "case_loader",
    "check_detectability",
    "check_overrides",
    "check_same_network",
    "check_same_run",
    "check_settings",
    "choose_cases",
    "choose_readable",
    "confounder_place",
    "control_labels",
    "create_image_confounder",
    "default_output_dir",
    "distribute",
    "flag",
    "load_checkpoint",
    "network_for",
    "slab_to_read",
    "source_name",
    "to_device",
    "with_projection",
]
