"""From C-STORE to the report: what the DICOM receiver adds, and how long it takes with a bundle behind it.

    OMP_NUM_THREADS=1 python scripts/benchmarks/serving.py [--repeats 21] [--instances 200] [--json FILE]

Over loopback; a study is read as soon as its association is released (the command waits a second for more
of it: --release-settle-seconds). Latencies are those of one instance in an association of its own, from
opening it to the receipt of the report, one after the other. "receiver" is with the tests' reader, which
opens no pixel data and writes a minimal Structured Report: the receiver, the spool on disk with its syncs,
and the way back. "bundle" is with an exported bundle of random weights: decoding, guard, network, and a TID
1500 report. "instances" are sent as one study in one association.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries below when they are imported
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))

import torch
from dicom_nodes import Archive, CountingReader, counting_report, radiograph, send
from prediction_cases import write_bundle

from srcmatters.deployment.dicom_association import Destination
from srcmatters.deployment.receiver.bundle_reader import BundleReader
from srcmatters.deployment.receiver.server import Server, ServerSettings
from srcmatters.deployment.receiver.store_scp import Address
from srcmatters.deployment.receiver.study_reading import StudyReader


class Measurement:
    """A receiver with a reader, and an archive that gets its reports.

    Args:
        reader: reads the studies.
        spool: folder of the receiver.
    """

    def __init__(self, reader: StudyReader, spool: Path) -> None:
        self.archive = Archive()
        destination = Destination("ARCHIVE", "127.0.0.1", self.archive.port)
        address = Address("SRCMATTERS", port=0)
        settings = ServerSettings(address, destination, spool, release_settle_seconds=0)
        self.server = Server(reader, settings)
        self.port = self.server.start()

    def latencies(self, repeats: int, size: int) -> tuple[float, float]:
        """Medians of the milliseconds to the receiver's answer and to the report."""
        stored, answered = [], []
        for _ in range(repeats + 1):
            image, before = radiograph(size=size), len(self.archive.received)
            started = time.perf_counter()
            send(self.port, image)
            stored.append(time.perf_counter() - started)
            self.archive.wait_for(before + 1)
            answered.append(time.perf_counter() - started)
        # The first pays for what is loaded once.
        return statistics.median(stored[1:]) * 1e3, statistics.median(answered[1:]) * 1e3

    def flood(self, instances: int, size: int) -> float:
        """Instances of one study that are taken in a second."""
        study = radiograph().StudyInstanceUID
        images = [radiograph(study, size) for _ in range(instances)]
        before = len(self.archive.received)
        started = time.perf_counter()
        statuses = send(self.port, *images)
        seconds = time.perf_counter() - started
        self.archive.wait_for(before + 1)
        if set(statuses) != {0x0000}:
            sys.exit(f"answers {set(statuses)}, expected success")
        return instances / seconds

    def close(self) -> None:
        """End both."""
        if not self.server.stop():
            sys.exit("the receiver did not end")
        self.archive.close()


def receiver(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The receiver without a network behind it."""
    measured = Measurement(CountingReader(), folder / "receiver")
    stored, answered = measured.latencies(options.repeats, options.size)
    rate = measured.flood(options.instances, options.size)
    measured.close()
    image, written = radiograph(size=options.size), []
    for _ in range(options.repeats):
        started = time.perf_counter()
        counting_report([image])
        written.append(time.perf_counter() - started)
    return {
        "receiver_stored_ms": stored,
        "receiver_report_ms": answered,
        "writing_a_report_ms": statistics.median(written) * 1e3,
        "instances_per_second": rate,
    }


def bundle(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The same way with a network at its end, for small and large radiographs."""
    rules = {"network": options.network, "image_size": options.image_size}
    reader = BundleReader(write_bundle(folder / "bundle", **rules))
    measured = Measurement(reader, folder / "spool")
    figures = {}
    for size in (options.size, options.large):
        _, figures[f"bundle_report_{size}_ms"] = measured.latencies(options.repeats, size)
    measured.close()
    reader.predictor.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="instances whose latency is measured")
    parser.add_argument("--instances", type=int, default=200, help="of the study that is sent at once")
    parser.add_argument("--size", type=int, default=512, help="pixels a side, 8 bit")
    parser.add_argument("--large", type=int, default=2048, help="pixels a side, with the bundle as well")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side of the network's input")
    parser.add_argument("--json", type=Path, help="file that gets the figures as one flat object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = receiver(options, Path(folder)) | bundle(options, Path(folder))
    for name, value in figures.items():
        print(f"{name:26}{value:10.2f}")
    if options.json:
        options.json.write_text(json.dumps({k: round(v, 3) for k, v in figures.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
