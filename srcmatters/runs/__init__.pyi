from .mlflow_tracking import (
    Tracker as Tracker,
)
from .output_folder import (
    Results as Results,
)
from .output_folder import (
    default_output_dir as default_output_dir,
)
