from .base import (
    Confounder as Confounder,
)
from .base import (
    LocalConfounder as LocalConfounder,
)
from .catalogue import (
    create_confounder as create_confounder,
)
from .catalogue import (
    known_confounders as known_confounders,
)
from .catalogue import (
    sampled_column as sampled_column,
)
from .collimation import (
    CollimationBorder as CollimationBorder,
)
from .ct_dose import (
    LowDoseCT as LowDoseCT,
)
from .ct_dose_lodopab import (
    LoDoPaB as LoDoPaB,
)
from .dictionary_form import (
    ClipDisplayd as ClipDisplayd,
)
from .dictionary_form import (
    Confounderd as Confounderd,
)
from .exposure import (
    ExposureShift as ExposureShift,
)
from .kernel import (
    KernelChange as KernelChange,
)
from .laterality_marker import (
    LateralityMarker as LateralityMarker,
)
from .low_pass import (
    LowPassDenoising as LowPassDenoising,
)
from .pacemaker import (
    Pacemaker as Pacemaker,
)
from .quantum_noise import (
    XrayQuantumNoise as XrayQuantumNoise,
)
from .slice_thickness import (
    SliceThickness as SliceThickness,
)
from .taxonomy import (
    Miccat as Miccat,
)
from .tube import (
    Tube as Tube,
)
