"""Training throughput of the X-ray bundle against a bare PyTorch loop on ready tensors, in turns.

    python scripts/benchmarks/training.py [--dataset_dir DIR] [--device cuda] [--json FILE]

Each round trains one epoch with the bundle's own engine (its loader, augmentation, handlers and progress bar,
confounder on) and one with a plain loop: the same network, optimiser and batches, images ready in memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.bundle import create_workflow

CONFIG = Path(__file__).parents[2] / "bundles" / "xray_classification" / "configs" / "train.yaml"
NEVER = 10**6
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class DataWait:
    """Seconds that an engine spends waiting for its loader, per epoch."""

    def __init__(self, engine: Engine) -> None:
        self.seconds: list[float] = []
        self._since = 0.0
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self.seconds.append(0.0))
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._stop)

    def _start(self) -> None:
        self._since = time.perf_counter()

    def _stop(self) -> None:
        if self.seconds:
            self.seconds[-1] += time.perf_counter() - self._since


class BareLoop:
    """What one would write without any framework."""

    def __init__(
        self,
        network: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        batch_size: int,
        dtype: torch.dtype = torch.float16,
    ):
        self.dtype = dtype
        self.network = network.train()
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels, self.batch_size = labels, batch_size
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=3e-4)
        self.amp = images.device.type == "cuda"
        scaled = self.amp and dtype == torch.float16
        self.scaler = torch.amp.GradScaler(images.device.type, enabled=scaled)

    def epoch(self, iterations: int) -> None:
        for start in range(0, iterations * self.batch_size, self.batch_size):
            images = self.images[start : start + self.batch_size]
            labels = self.labels[start : start + self.batch_size]
            self.optimiser.zero_grad(set_to_none=True)
            with torch.autocast(images.device.type, self.dtype, enabled=self.amp):
                loss = torch.nn.functional.cross_entropy(self.network(images), labels)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()


def measure(arguments: argparse.Namespace, folder: str) -> dict[str, float]:
    device = torch.device(arguments.device)
    workflow = create_workflow(
        config_file=str(CONFIG),
        run_id="training",
        logging_file=False,
        dataset_dir=arguments.dataset_dir,
        source="random",
        network=arguments.network,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        confounder="tag",
        p_art=0.5,
        max_epochs=NEVER,
        val_interval=NEVER,  # validation is no part of training throughput
        early_stop_patience=NEVER,
        tracking_uri="",
        output_dir=f"{folder}/out",
        device=f"$torch.device('{arguments.device}')",
    )
    resolved = workflow.parser.get_parsed_content
    trainer, dataset = resolved("train::trainer"), resolved("train::dataset")
    wait = DataWait(trainer)
    iterations = len(resolved("train::dataloader"))
    ready = dataset.__getitems__(list(range(len(dataset))))
    network = copy.deepcopy(resolved("network_def")).to(device, memory_format=torch.channels_last)
    bare = BareLoop(
        network,
        ready["image"].to(device),
        ready["label"].to(device),
        arguments.batch_size,
        DTYPES[arguments.dtype],
    )

    def synchronise() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def timed(epoch: object, *words: int) -> tuple[float, float]:
        """Seconds on the clock and seconds of processor time, which a busy machine changes less."""
        synchronise()
        started, worked = time.perf_counter(), time.process_time()
        epoch(*words)  # type: ignore[operator]
        synchronise()
        return time.perf_counter() - started, time.process_time() - worked

    def bundle_epoch() -> None:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()

    rounds, utilisation = [], []
    for turn in range(arguments.epochs + 1):
        first = timed(bundle_epoch) if turn % 2 else timed(bare.epoch, iterations)
        if device.type == "cuda":
            utilisation.append(float(torch.cuda.utilization()))
        second = timed(bare.epoch, iterations) if turn % 2 else timed(bundle_epoch)
        rounds.append((first, second) if turn % 2 else (second, first))
    rounds = rounds[1:]  # the first one warms up
    seen = iterations * arguments.batch_size
    ours, plain = (statistics.median(clock for clock, _ in times) for times in zip(*rounds, strict=True))
    figures = {
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "threads": torch.get_num_threads(),
        "training_images": len(dataset),
        "bundle_images_per_second": seen / ours,
        "bare_loop_images_per_second": seen / plain,
        "bundle_over_bare_loop": statistics.median(plain[0] / ours[0] for ours, plain in rounds),
        "bundle_over_bare_loop_processor_time": statistics.median(b[1] / a[1] for a, b in rounds),
        "data_wait_share": statistics.median(
            waited / total for waited, ((total, _), _) in zip(wait.seconds[1:], rounds, strict=True)
        ),
    }
    if utilisation:
        figures["gpu_utilisation_percent"] = statistics.median(utilisation)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset_dir", default="phantom")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=int, default=160)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5, help="rounds that count")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the bare loop on a GPU")
    parser.add_argument("--json", type=Path, help="write the figures there as one flat object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, folder)
    for name, value in figures.items():
        print(f"{name:<28} {value:.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
