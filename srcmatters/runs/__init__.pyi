from .mlflow_tracking import (
    Tracker as Tracker,
)
from .output_folder import (
    Results as Results,
    default_output_dir as default_output_dir,
)
