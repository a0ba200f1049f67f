from .mlflow_store import (
    default_experiment_name as default_experiment_name,
    default_tracking_uri as default_tracking_uri,
)
from .mlflow_tracking import (
    Tracker as Tracker,
)
from .output_folder import (
    Results as Results,
    default_output_dir as default_output_dir,
)
