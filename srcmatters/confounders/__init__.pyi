from .base import (
    Confounder as Confounder,
    LocalConfounder as LocalConfounder,
)
from .calipers import (
    CaliperCrosses as CaliperCrosses,
)
from .catalogue import (
    create_confounder as create_confounder,
    known_confounders as known_confounders,
)
from .central_line import (
    CentralLine as CentralLine,
)
from .collimation import (
    CollimationBorder as CollimationBorder,
)
from .composition import (
    Composition as Composition,
)
from .contrast_agent import (
    ContrastAgent as ContrastAgent,
)
from .ct_dose import (
    LowDoseCT as LowDoseCT,
)
from .ct_dose_lodopab import (
    LoDoPaB as LoDoPaB,
)
from .dead_pixels import (
    DeadPixels as DeadPixels,
)
from .dictionary_form import (
    ClipDisplayd as ClipDisplayd,
    Confounderd as Confounderd,
)
from .exposure import (
    ExposureShift as ExposureShift,
)
from .grid_lines import (
    GridLines as GridLines,
)
from .jpeg import (
    JpegCompression as JpegCompression,
)
from .kernel import (
    KernelChange as KernelChange,
)
from .laterality_marker import (
    LateralityMarker as LateralityMarker,
)
from .lead_marker import (
    LeadMarker as LeadMarker,
)
from .letterbox import (
    Letterbox as Letterbox,
)
from .low_pass import (
    LowPassDenoising as LowPassDenoising,
)
from .metal import (
    MetalArtefact as MetalArtefact,
)
from .motion import (
    PatientMotion as PatientMotion,
)
from .nonlocal_means import (
    NonLocalMeans as NonLocalMeans,
)
from .own_picture import (
    OwnPicture as OwnPicture,
)
from .pacemaker import (
    Pacemaker as Pacemaker,
)
from .pair import (
    Pair as Pair,
    create_taught_confounder as create_taught_confounder,
)
from .pair_names import (
    PairNames as PairNames,
    is_pair as is_pair,
    pair_of as pair_of,
)
from .pixelation import (
    Pixelation as Pixelation,
)
from .portable_look import (
    PortableLook as PortableLook,
)
from .quantum_noise import (
    XrayQuantumNoise as XrayQuantumNoise,
)
from .ring_artefact import (
    RingArtefact as RingArtefact,
)
from .site_look import (
    SiteLook as SiteLook,
)
from .slice_thickness import (
    SliceThickness as SliceThickness,
)
from .sternotomy import (
    Sternotomy as Sternotomy,
)
from .summaries import (
    confounder_summaries as confounder_summaries,
    sampled_column as sampled_column,
)
from .surgical_clips import (
    SurgicalClips as SurgicalClips,
)
from .taxonomy import (
    Miccat as Miccat,
)
from .truncated_field import (
    TruncatedField as TruncatedField,
)
from .tube import (
    Tube as Tube,
)
from .vendor_processing import (
    VendorProcessing as VendorProcessing,
)
