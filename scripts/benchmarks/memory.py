"""Peak memory of a fine-tuning: the run in a process of its own, and all processes that it starts.

    python scripts/benchmarks/memory.py --dataset_dir ../shared/data/lidc-nodules --unit display --json FILE

Without ``--dataset_dir`` it runs on the embedded phantoms. Memory that processes share counts once (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="ct_volume_classification")
    parser.add_argument("--dataset_dir", default="phantom")
    parser.add_argument("--unit", default="HU", choices=["HU", "display"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(command(options, Path(folder)), Path(folder))
    figures |= {"epochs": options.epochs, "num_workers": options.num_workers}
    print("\n".join(f"{name:<24}{value:.6g}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def command(options: argparse.Namespace, folder: Path) -> list[str]:
    """The run whose memory is measured; nothing of it is cached beforehand."""
    phantom = options.dataset_dir == "phantom"
    dataset = "phantom" if phantom else str(Path(options.dataset_dir).absolute())
    settings = {
        "dataset_dir": dataset,
        "max_epochs": options.epochs,
        "num_workers": options.num_workers,
        "output_dir": folder / "out",
        "cache_dir": folder / "cache",
        "device": "cpu",
    }
    if options.bundle != "xray_classification":
        settings["unit"] = options.unit
    config = REPOSITORY / "bundles" / options.bundle / "configs" / "train.yaml"
    words = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(config)]
    return [*words, *(f"--{name}={value}" for name, value in settings.items()), "--tracking_uri", ""]


def measure(words: list[str], folder: Path) -> dict[str, float]:
    """Run a command to its end; the most memory that it and its children held at once."""
    started = time.perf_counter()
    peak = alone = 0
    with (folder / "log.txt").open("w") as log:
        run = subprocess.Popen(words, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
        while run.poll() is None:
            held = [_held(process) for process in _family(run.pid)]
            peak, alone = max(peak, sum(held)), max(alone, held[0] if held else 0)
            time.sleep(_SECONDS)
    if run.returncode:
        sys.exit((folder / "log.txt").read_text()[-2000:])
    seconds = time.perf_counter() - started
    return {"peak_gib": peak / 2**30, "peak_of_the_run_alone_gib": alone / 2**30, "seconds": seconds}


def _family(pid: int) -> list[psutil.Process]:
    try:
        run = psutil.Process(pid)
        return [run, *run.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> int:
    """Proportional set size in bytes, 0 of a process that has ended."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


if __name__ == "__main__":
    main()
