"""What an answer costs: processor time and memory of this process and of the one that decodes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from psutil import NoSuchProcess, Process

from srcmatters.deployment.prediction.predictor import STATUSES, Prediction, Predictor
from srcmatters.deployment.prediction.sandboxed_decoder import SECONDS, Decoder
from srcmatters.exported_bundle.bundle import ExportedBundle


class MeasuredDecoder(Decoder):
    """Notes how much memory its processes took before they end."""

    def __init__(self) -> None:
        super().__init__(SECONDS)
        self.peak = 0

    def close(self) -> None:
        """Note the peak of the process, then end it."""
        if self._process is not None and self._process.is_alive():
            self.peak = max(self.peak, peak_of(self._process.pid))
        super().close()

    def processor_seconds(self) -> float:
        """Of the process that decodes now."""
        if self._process is None or self._process.pid is None:
            return 0.0
        try:
            used = Process(self._process.pid).cpu_times()
        except NoSuchProcess:
            return 0.0
        return float(used.user + used.system)


class MeasuredPredictor(Predictor):
    """A predictor that holds every answer to the limits, and notes the most that any took.

    Args:
        bundle: see :class:`Predictor`.
    """

    def __init__(self, bundle: ExportedBundle) -> None:
        self.measured = MeasuredDecoder()
        super().__init__(bundle, self.measured)
        self.seconds = self.processor = 0.0
        self.statuses = dict.fromkeys(STATUSES, 0)

    def answers(self, *paths: Path) -> Sequence[Prediction]:
        """Answers to some paths, all of them checked."""
        began, used = time.monotonic(), self._processor_seconds()
        predictions = list(self.predict(paths))
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.processor = max(self.processor, self._processor_seconds() - used)
        for prediction in predictions:
            check_answer(prediction)
            self.statuses[prediction.status] += 1
        return predictions

    def _processor_seconds(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + ended.ru_utime + ended.ru_stime + self.measured.processor_seconds()


def check_answer(prediction: Prediction) -> None:
    """An answer is a probability or a reason, each reason one line."""
    assert prediction.status in STATUSES
    assert (prediction.probability is None) == (prediction.status == "refused")
    assert prediction.probability is None or 0 <= prediction.probability <= 1
    for text in (prediction.item.name, *prediction.reasons):
        assert text.isprintable() and len(text) < 5000
    assert all(0 < len(reason) <= 300 for reason in prediction.reasons)
    assert bool(prediction.reasons) == (prediction.status != "predicted")


def peak_of(pid: int | str | None) -> int:
    """Bytes of memory that a process took at most ("self": this one)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def open_files() -> int:
    """Files that this process holds open."""
    return len(os.listdir("/proc/self/fd"))
