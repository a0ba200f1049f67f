"""The model's passes in an audit against its bare forward passes, in turns, and where the time goes.

    OMP_NUM_THREADS=1 python scripts/benchmarks/audit.py [--dataset_dir DIR] [--cases 64] [--json FILE]

Each round audits an untrained EfficientNet-Lite0 under six confounders at three doses, without controls, and
runs as many inputs through the bare network in the same batches. ``bare_over_audit`` is the speed of the
passes inside of the audit over the bare speed; ``share_of_model`` is their part of the audit's time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from srcmatters.audit.audit_run import audit_model
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.result import Question
from srcmatters.cohorts import open_cohort
from srcmatters.sources import create_classifier

CONFOUNDERS = ("tag", "noise", "denoise", "exposure", "pacemaker", "collimation")
BATCH = 32


def saved_network(folder: Path, size: int) -> Path:
    """A TorchScript file of an untrained network."""
    network = create_classifier("efficientnet_lite0", "random", seed=0).eval()
    path = folder / "network.ts"
    with torch.no_grad():
        torch.jit.trace(network, torch.rand(2, 1, size, size)).save(str(path))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", default="phantom")
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = open_cohort(arguments.dataset_dir).groupby("label").head(arguments.cases // 2)
    images = CaseImages(cases)
    rounds: dict[str, list[float]] = {"audit": [], "model": [], "bare": []}
    with tempfile.TemporaryDirectory() as name:
        file = saved_network(Path(name), arguments.image_size)
        model = open_model(str(file), ContractOptions(size=str(arguments.image_size), output_kind="logits"))
        bare = torch.jit.load(str(file)).eval()
        questions = [Question(one) for one in CONFOUNDERS]
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            audited = audit_model(model, images, questions, controls=False, batch_size=BATCH)
            rounds["audit"].append(time.perf_counter() - started)
            rounds["model"].append(audited.seconds["model"])
            states = 1 + len(audited.outputs[0].scores.confounded)
            rounds["bare"].append(bare_seconds(bare, states * len(images), arguments.image_size))
    inputs = states * len(images)
    result = {
        "inputs": inputs,
        "audit_seconds": statistics.median(rounds["audit"]),
        "model_seconds": statistics.median(rounds["model"]),
        "bare_seconds": statistics.median(rounds["bare"]),
        "bare_over_audit": statistics.median(
            b / m for b, m in zip(rounds["bare"], rounds["model"], strict=True)
        ),
        "share_of_model": statistics.median(
            m / a for m, a in zip(rounds["model"], rounds["audit"], strict=True)
        ),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result) + "\n")


@torch.inference_mode()
def bare_seconds(network: torch.nn.Module, inputs: int, size: int) -> float:
    """Seconds of as many inputs through the network alone."""
    batch = torch.rand(BATCH, 1, size, size)
    started = time.perf_counter()
    for start in range(0, inputs, BATCH):
        network(batch[: min(BATCH, inputs - start)])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
