"""srcmatters: does your classifier look at the disease, or at what came with it?

Fine-tunes a network from different pre-training sources under a controlled confounder and
measures how much of its score is the disease and how much the confounder.
"""

import os
import sys

import lazy_loader

__version__ = "0.2.1"

# `import srcmatters; srcmatters.confounders` works, and nothing is imported before it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# MLflow reports to its makers unless it is told not to. MONAI may have imported it before us: then it decides
# again; it has sent nothing by then.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
if "mlflow" in sys.modules:
    from mlflow.telemetry import set_telemetry_client

    set_telemetry_client()

# So does ONNX Runtime, from compiled code and on Linux as well (seen in 1.32): a few seconds after a session
# was made it looks up mobile.events.data.microsoft.com.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
if "onnxruntime" in sys.modules:
    sys.modules["onnxruntime"].disable_telemetry_events()
