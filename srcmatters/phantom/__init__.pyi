from .computed_tomography import (
    ct_volume as ct_volume,
    voxel_axes as voxel_axes,
)
from .patient import (
    Nodule as Nodule,
    PhantomPatient as PhantomPatient,
    draw_patient as draw_patient,
)
from .radiography import (
    detector_field as detector_field,
    radiograph as radiograph,
)
