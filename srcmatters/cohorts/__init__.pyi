from .case_table import (
    check_cases as check_cases,
    read_cases as read_cases,
    write_cases as write_cases,
)
from .dicom_folder import (
    read_dicom_folder as read_dicom_folder,
)
from .embedded import (
    find_images as find_images,
    open_cohort as open_cohort,
)
from .folds import (
    Split as Split,
    split_cases as split_cases,
)
from .labelled_images import (
    LabelledImages as LabelledImages,
    open_labelled_images as open_labelled_images,
    split_labelled_images as split_labelled_images,
)
from .lidc import (
    LabelRule as LabelRule,
    read_lidc as read_lidc,
)
from .nih import (
    read_nih as read_nih,
)
from .null_controls import (
    control_labels as control_labels,
)
from .study_cases import (
    CaseChoice as CaseChoice,
    StudyCases as StudyCases,
    choose_cases as choose_cases,
    choose_readable as choose_readable,
)
from .unlabelled import (
    images_to_score as images_to_score,
)
