"""The names of what a run and a study leave in their folders: who writes or reads one takes it from here."""

from __future__ import annotations

#: The prediction tables of a run, which hold identifiers: MLflow gets them with hashed ones.
PREDICTIONS, VALIDATION = "predictions.csv", "validation.csv"
TABLES = (PREDICTIONS, VALIDATION)
#: AUCs of heads that were fitted again: on resampled patients, and to permuted labels.
REFITS, PERMUTATIONS = "refits.csv", "permutations.csv"
#: Test cases of a run in both states of confounders that it was not trained under, by ``tested``.
TRANSFER = "transfer.csv"
#: Metrics and settings. Where it is, the run is complete: it is moved last.
METRICS = "metrics.json"
#: The configuration, with which the run can be repeated.
CONFIG = "config.yaml"
#: Weights of the epoch with the best validation.
WEIGHTS = "model.pt"
#: A copy of the file that builds a network of one's own.
NETWORK_CODE = "network.py"
#: Which run trained the weights, where the cells of a study share a training run.
TRAINING = "training.json"
#: Which MLflow run the output is of; not in the metrics, which are the same for the same settings.
MLFLOW_RUN = "mlflow.json"
FIGURES = "figures"
TRAINING_CURVES = "training_curves.png"
#: Example images, which MLflow may be refused.
EXAMPLES = "examples.png"

#: Of a study: what was declared, which cells it has, and why one failed.
STUDY_FILE, MANIFEST, FAILURE = "study.yaml", "study.json", "failure.json"
