from .computed_tomography import (
    LoadCTd as LoadCTd,
    load_ct as load_ct,
)
from .declarations import (
    BODY_PARTS as BODY_PARTS,
    MODALITIES as MODALITIES,
)
from .digests import (
    file_digest as file_digest,
    file_signature as file_signature,
)
from .radiographs import (
    LoadRadiographd as LoadRadiographd,
    load_radiograph as load_radiograph,
)
from .windows import (
    WINDOWS as WINDOWS,
    Windowd as Windowd,
    window as window,
)
