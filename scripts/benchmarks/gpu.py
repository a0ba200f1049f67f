"""What a GPU does for this project, in at most eight minutes; see gpu.sh.

Ratio of the X-ray bundle to a bare bfloat16 channels_last loop at 224 and 512 pixels with the confounder on,
the share of an epoch that it waits for data, confounders on batches as a share of a ResNet50 step, then
as many cells of the grid of sources as fit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from confounders import device_figures
from monai.bundle import create_workflow
from training import CONFIG, measure

#: What was aimed at: the bundle is at least this fast beside a bare loop, and waits for data less than this.
LEAST_RATIO, MOST_WAIT = 0.95, 0.01
SIZES = {"full": (224, 512), "dry": (32,)}
Figures = dict[str, Any]


class Deadline:
    """Seconds that are left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()


def ratios(arguments: argparse.Namespace, size: int) -> Figures:
    """The bundle beside a bare loop."""
    settings = {"network": arguments.network, "image_size": size, "batch_size": arguments.batch_size}
    settings |= {"dataset_dir": arguments.dataset_dir, "device": arguments.device, "epochs": arguments.epochs}
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(argparse.Namespace(**settings, dtype="bfloat16"), folder)
    return {
        **measured,
        "ratio_reached": measured["bundle_over_bare_loop"] >= LEAST_RATIO,
        "wait_reached": measured["data_wait_share"] < MOST_WAIT,
    }


def cells(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Cells of the grid, what compares sources first."""
    for fold, p_art, confounder, source in itertools.product(
        range(5), (1.0, 0.0), ("tag", "denoise"), arguments.sources
    ):
        yield {"source": source, "confounder": confounder, "p_art": p_art, "fold": fold}


def train_cell(arguments: argparse.Namespace, cell: dict[str, Any], folder: Path) -> Figures:
    """One fine-tuning as a study runs it."""
    out = folder / "-".join(str(value) for value in cell.values())
    started = time.perf_counter()
    create_workflow(
        config_file=str(CONFIG),
        run_id="training",
        logging_file=False,
        **cell,
        dataset_dir=arguments.dataset_dir,
        network=arguments.cell_network,
        image_size=arguments.cell_size,
        max_epochs=arguments.cell_epochs,
        num_workers=0 if arguments.dry_run else 4,
        device=arguments.device,
        tracking_uri="",
        force="true",
        output_dir=str(out),
    ).run()
    record = json.loads((out / "metrics.json").read_text())
    names = ("clean_auc", "iid_auc", "ood_auc")
    return {**cell, **{name: record[name] for name in names}, "seconds": time.perf_counter() - started}


class Record:
    """Figures, written to gpu.json and gpu.md after every step."""

    def __init__(self, out: Path, device: str) -> None:
        self.out = out
        name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
        self.content: Figures = {"device": name, "torch": torch.__version__, "ratios": [], "cells": []}
        out.mkdir(parents=True, exist_ok=True)

    def keep(self, name: str, value: Any) -> None:
        if isinstance(self.content.get(name), list):
            self.content[name].append(value)
        else:
            self.content[name] = value
        (self.out / "gpu.json").write_text(json.dumps(self.content, indent=2) + "\n")
        (self.out / "gpu.md").write_text(self.page())

    def page(self) -> str:
        lines = [f"# {self.content['device']}, torch {self.content['torch']}", ""]
        for name, rows in self.content.items():
            table = rows if isinstance(rows, list) else [rows] if isinstance(rows, dict) else []
            if table:
                heads = list(table[0])
                lines += [f"## {name}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
                lines += [f"| {' | '.join(_cell(row[head]) for head in heads)} |" for row in table] + [""]
        return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run(arguments: argparse.Namespace) -> Figures:
    """Every step that the time allows; a step that fails is recorded, and the next one runs."""
    deadline, record = Deadline(arguments.seconds), Record(arguments.out, arguments.device)
    device = torch.device(arguments.device)

    def step(name: str, work: Callable[[], Any]) -> None:
        try:
            record.keep(name, work())
        except Exception as error:  # what the other steps measure is worth having
            record.keep(
                f"failed {name}", {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            )

    for size in SIZES["dry" if arguments.dry_run else "full"]:
        step("ratios", lambda size=size: ratios(arguments, size))
    side, batch = (32, 2) if arguments.dry_run else (512, 16)
    step("confounders", lambda: device_figures(device, side, batch, 1 if arguments.dry_run else 5))
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for cell in itertools.islice(cells(arguments), arguments.most_cells):
            if deadline.left() < 1.2 * slowest or deadline.left() <= 0:
                break
            started = time.monotonic()
            step("cells", lambda cell=cell: train_cell(arguments, cell, Path(folder)))
            slowest = max(slowest, time.monotonic() - started)
    return record.content


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--dataset_dir", default="phantom")
    parser.add_argument("--sources", nargs="+", default=["imagenet", "random"])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU")
    arguments = parser.parse_args(words)
    dry = arguments.dry_run
    if dry:
        arguments.device, arguments.sources = "cpu", ["random"]
    elif torch.device(arguments.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: torch finds no CUDA device here; --dry-run tries the script on the CPU")
    arguments.network, arguments.batch_size = ("resnet10", 8) if dry else ("resnet50", 32)
    arguments.epochs = 1 if dry else 5
    arguments.cell_network = "resnet10" if dry else "efficientnet_lite0"
    arguments.cell_size, arguments.cell_epochs = (32, 1) if dry else (160, 12)
    arguments.most_cells = 1 if dry else 40
    return arguments


if __name__ == "__main__":
    run(parse())
