"""What the DICOM receiver adds: from C-STORE to the report, and how many instances a second.

    python scripts/benchmarks/serving.py [--repeats 21] [--instances 200] [--size 512] [--json FILE]

Over loopback, with the tests' reader, which opens no pixel data and writes a minimal Structured Report:
what is measured is the receiver, the spool on disk with its syncs, and the way back, without a network.
The latency is that of one instance in an association of its own, from opening it to the receipt of the
report.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "clinical"))


def measure(repeats: int, instances: int, size: int, folder: Path) -> dict[str, float]:
    """Latencies one after the other, then all instances of one study in one association."""
    from dicom_nodes import Archive, CountingReader, counting_report, radiograph, send

    from srcmatters.clinical.association_rules import Destination
    from srcmatters.clinical.receiver import Address
    from srcmatters.clinical.server import Server, ServerSettings

    archive = Archive()
    destination = Destination("ARCHIVE", "127.0.0.1", archive.port)
    server = Server(
        CountingReader(), ServerSettings(Address("SRCMATTERS", port=0), destination, folder / "spool")
    )
    port = server.start()
    stored, answered, written = [], [], []
    for number in range(repeats + 1):
        image = radiograph(size=size)
        started = time.perf_counter()
        send(port, image)
        stored.append(time.perf_counter() - started)
        archive.wait_for(number + 1)
        answered.append(time.perf_counter() - started)
        started = time.perf_counter()
        counting_report([image])
        written.append(time.perf_counter() - started)
    study = radiograph().StudyInstanceUID
    images = [radiograph(study, size) for _ in range(instances)]
    started = time.perf_counter()
    statuses = send(port, *images)
    seconds = time.perf_counter() - started
    archive.wait_for(repeats + 2)
    finished = time.perf_counter() - started
    if set(statuses) != {0x0000} or not server.stop():
        sys.exit(f"answers {set(statuses)}")
    archive.close()
    return {
        "instance_mb": size * size / 1e6,
        "latency_ms": statistics.median(answered[1:]) * 1e3,  # the first pays for what is loaded once
        "latency_stored_ms": statistics.median(stored[1:]) * 1e3,
        "report_written_ms": statistics.median(written[1:]) * 1e3,
        "instances": instances,
        "instances_per_second": instances / seconds,
        "seconds_to_report_of_all": finished,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="instances whose latency is measured")
    parser.add_argument("--instances", type=int, default=200, help="of the study that is sent at once")
    parser.add_argument("--size", type=int, default=512, help="pixels a side, 8 bit")
    parser.add_argument("--json", help="file that gets the figures as one flat object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.repeats, arguments.instances, arguments.size, Path(folder))
    for name, value in figures.items():
        print(f"{name:26s}{value:10.2f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({k: round(v, 3) for k, v in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
