from .model import (
    Model as Model,
    TrainedOn as TrainedOn,
)
from .opening import (
    open_model as open_model,
)
