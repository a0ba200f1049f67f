"""The cell of the tiny bundle: as a fine-tuning ends, without the fine-tuning."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.runs import Results, Tracker

SCORED = 8


class TinyCell:
    """Waits, and writes a prediction table that its settings determine.

    The source says how it goes: "broken" raises an error, "mistake" one of the user's, "deadly" kills its
    process, "flaky" fails the first time; any other finishes.
    """

    def __init__(self, output_dir: str, settings: Mapping[str, Any], tracker: Tracker, delay: float) -> None:
        self.results = Results(output_dir)
        self.settings = dict(settings)
        self.tracker = tracker
        self.delay = delay

    def run(self) -> None:
        """Like FineTuning.run."""
        with self.tracker.run():
            with self.results.transaction() as folder:
                time.sleep(self.delay)
                self._fail()
                draw = random.Random(json.dumps(self.settings, sort_keys=True))
                pair = "+" in self.settings["confounder"]
                states = ("clean", "first", "second", "both") if pair else ("clean", "confounded")
                carries = ("carries_first", "carries_second") if pair else ("carries",)
                rows = [
                    ",".join(["case_id,patient_id,fold,label", *carries, *(f"score_{s}" for s in states)])
                ]
                for number in range(SCORED):
                    label = number % 2
                    carried = [str(bool(label)) for _ in carries]
                    scores = [f"{draw.random():.6f}" for _ in states]
                    first = f"c{number},p{number},{self.settings['fold']},{label}"
                    rows.append(",".join([first, *carried, *scores]))
                (folder / "predictions.csv").write_text("\n".join(rows) + "\n")
                metrics = {"clean_auc": draw.random(), "iid_auc": draw.random(), "ood_auc": draw.random()}
                (folder / "metrics.json").write_text(json.dumps({**metrics, "settings": self.settings}))
            self.tracker.log_metrics(metrics)
            self.tracker.log_folder(self.results.output_dir)

    def _fail(self) -> None:
        source = str(self.settings["source"])
        if source == "broken":
            raise RuntimeError("the network fell apart")
        if source == "mistake":
            raise InputError("source: mistake is none")
        if source == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if source == "flaky":
            mark = Path(self.results.output_dir).with_suffix(".tried")
            if not mark.exists():
                mark.write_text("")
                raise RuntimeError("this once")
