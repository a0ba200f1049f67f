from .computed_tomography import (
    ct_volume as ct_volume,
)
from .computed_tomography import (
    voxel_axes as voxel_axes,
)
from .patient import (
    Nodule as Nodule,
)
from .patient import (
    PhantomPatient as PhantomPatient,
)
from .patient import (
    draw_patient as draw_patient,
)
from .radiography import (
    detector_field as detector_field,
)
from .radiography import (
    radiograph as radiograph,
)
