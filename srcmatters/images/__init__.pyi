from .computed_tomography import (
    LoadCTd as LoadCTd,
)
from .computed_tomography import (
    load_ct as load_ct,
)
from .declarations import (
    BODY_PARTS as BODY_PARTS,
)
from .declarations import (
    MODALITIES as MODALITIES,
)
from .digests import (
    file_digest as file_digest,
)
from .digests import (
    file_signature as file_signature,
)
from .radiographs import (
    LoadRadiographd as LoadRadiographd,
)
from .radiographs import (
    load_radiograph as load_radiograph,
)
from .windows import (
    WINDOWS as WINDOWS,
)
from .windows import (
    Windowd as Windowd,
)
from .windows import (
    window as window,
)
