from .case_table import (
    check_cases as check_cases,
)
from .case_table import (
    read_cases as read_cases,
)
from .case_table import (
    write_cases as write_cases,
)
from .dicom_folder import (
    read_dicom_folder as read_dicom_folder,
)
from .embedded import (
    find_images as find_images,
)
from .embedded import (
    open_cohort as open_cohort,
)
from .folds import (
    Split as Split,
)
from .folds import (
    split_cases as split_cases,
)
from .labelled_images import (
    LabelledImages as LabelledImages,
)
from .labelled_images import (
    open_labelled_images as open_labelled_images,
)
from .labelled_images import (
    split_labelled_images as split_labelled_images,
)
from .lidc import (
    LabelRule as LabelRule,
)
from .lidc import (
    read_lidc as read_lidc,
)
from .nih import (
    read_nih as read_nih,
)
from .study_cases import (
    CaseChoice as CaseChoice,
)
from .study_cases import (
    StudyCases as StudyCases,
)
from .study_cases import (
    choose_cases as choose_cases,
)
from .study_cases import (
    choose_readable as choose_readable,
)
from .study_cases import (
    control_labels as control_labels,
)
from .unlabelled import (
    images_to_score as images_to_score,
)
