from .base import (
    Confounder as Confounder,
    Confounderd as Confounderd,
    LocalConfounder as LocalConfounder,
)
from .catalogue import (
    create_confounder as create_confounder,
    known_confounders as known_confounders,
)
from .collimation import (
    CollimationBorder as CollimationBorder,
)
from .ct_dose import (
    LowDoseCT as LowDoseCT,
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
from .summaries import (
    confounder_summaries as confounder_summaries,
    sampled_column as sampled_column,
)
from .taxonomy import (
    Miccat as Miccat,
)
from .tube import (
    Tube as Tube,
)
