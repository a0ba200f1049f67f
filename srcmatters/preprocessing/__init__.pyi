from .confounder_placement import (
    confounder_place as confounder_place,
    create_image_confounder as create_image_confounder,
)
from .feature_cache import (
    FeatureCache as FeatureCache,
)
from .patches import (
    ResamplePatchd as ResamplePatchd,
    slab_to_read as slab_to_read,
)
from .resizing import (
    AntialiasedResized as AntialiasedResized,
)
from .state_cache import (
    StateCache as StateCache,
)
