"""One comparison of sources from beginning to end: images, table, figure, files, MLflow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from monai.transforms import Compose

from srcmatters.cohorts import open_cohort
from srcmatters.csv_tables import write_csv
from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, StateCache
from srcmatters.runs import Results, Tracker
from srcmatters.runs.mlflow_store import DEFAULT_STORE, metric_name
from srcmatters.source_comparison.comparison import SourceComparison, compare_sources, draw_cases
from srcmatters.source_comparison.figures import source_comparison_figure
from srcmatters.source_comparison.tables import print_source_comparison
from srcmatters.sources.stages import stages
from srcmatters.training import check_settings, source_name

EXPERIMENT = "source_comparison"
_FEWEST = 20  # below, folds and inner folds hold no patients


@dataclass(frozen=True)
class ComparisonRun:
    """What a user asks for.

    Args:
        sources: two or more, see :func:`srcmatters.sources.load_source`.
        dataset_dir: folder with the case table; "phantom" is the embedded cohort.
        cases: case table in it.
        network: network of all sources.
        image_size: pixels a side.
        max_cases: where there are more, as many are drawn, 20 or more; memory grows with its square.
        seed: seed of random initialisation, the draw, folds and resampling.
        batch_size: images per forward pass.
        num_workers: processes that decode images.
        device: where networks compute, None: CUDA where there is one.
        out: folder of the result, None: named after its settings in mlruns/comparisons.
        tracking_uri: MLflow's store, empty for none.
    """

    sources: tuple[str, ...]
    dataset_dir: str = "phantom"
    cases: str = "cases.csv"
    network: str = "efficientnet_lite0"
    image_size: int = 160
    max_cases: int = 1000
    seed: int = 0
    batch_size: int = 32
    num_workers: int = 2
    device: str | None = None
    out: Path | None = None
    tracking_uri: str = DEFAULT_STORE

    def run(self) -> SourceComparison:
        """Compare, print the table, and write figure, tables and record.

        Raises:
            InputError: whatever is wrong with the settings, the case table, an image or a source.
        """
        start = time.perf_counter()
        names, settings = self._check()
        results = Results(self.out or self._default_out(names, settings))
        tracker = Tracker(
            self.tracking_uri, EXPERIMENT, settings, name=f"{settings['source']} · {self.network}"
        )
        table = draw_cases(open_cohort(self.dataset_dir, self.cases), self.max_cases, self.seed)
        with tracker.run(), results.transaction() as folder:
            cache = self._images(table)
            comparison = compare_sources(
                names,
                self.network,
                cache.state("clean"),
                cache.cases,
                self.seed,
                self.batch_size,
                settings["device"],
            )
            facts = _facts(cache, settings, time.perf_counter() - start)
            _write(folder, comparison, facts)
            _track(tracker, comparison, cache, facts, folder)
        print_source_comparison(comparison.same_stage(), comparison.probes, _title(facts))
        click.echo(f"{facts['seconds']:.0f} s. Table, figure and record are in {results.output_dir}")
        return comparison

    def _check(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Sources by the name that results call them, and the settings for the record."""
        names = {source_name(source): source for source in self.sources}
        if len(self.sources) < 2 or len(names) < len(self.sources):
            listed = ", ".join(self.sources)
            raise InputError(f"sources: got {listed}, expected two or more that differ")
        stages(self.network)
        if self.max_cases < _FEWEST:
            raise InputError(f"max_cases: got {self.max_cases}, expected {_FEWEST} or more")
        settings = {
            "source": ", ".join(names),
            "target": Path(self.dataset_dir).absolute().name,
            "network": self.network,
            "image_size": self.image_size,
            "max_cases": self.max_cases,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        }
        check_settings(settings, num_workers=self.num_workers)
        return names, settings

    def _default_out(self, names: Mapping[str, str], settings: Mapping[str, Any]) -> Path:
        parts = [settings["target"], self.network, str(self.image_size), *names]
        return Path("mlruns") / "comparisons" / "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts)

    def _images(self, table: pd.DataFrame) -> StateCache:
        size = [self.image_size, self.image_size]
        preprocessing = Compose([LoadRadiographd("image"), AntialiasedResized("image", size)])
        return StateCache.open(table, preprocessing, num_workers=self.num_workers)


def _facts(cache: StateCache, settings: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "settings": dict(settings),
        "dataset_sha256": cache.digest(),
        "cases": len(cache.cases),
        "positives": int(cache.cases["label"].sum()),
        "patients": int(cache.cases["patient_id"].nunique()),
        "seconds": round(seconds, 1),
    }


def _title(facts: Mapping[str, Any]) -> str:
    settings = facts["settings"]
    images = f"{facts['cases']} images of {facts['patients']} patients, {facts['positives']} positive"
    return f"{settings['network']} on {settings['target']} · {images} · {settings['image_size']} px"


def _write(folder: Path, comparison: SourceComparison, facts: Mapping[str, Any]) -> None:
    tables = {
        "stages": comparison.same_stage(),
        "similarity": comparison.similarity,
        "probes": comparison.probes,
    }
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv", float_format="%.6g")
    # pandas writes NaN as null, json does not.
    rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    (folder / "comparison.json").write_text(json.dumps({**facts, **rows}, indent=1) + "\n")
    figure = source_comparison_figure(
        tables["stages"], comparison.similarity, comparison.probes, _title(facts)
    )
    for ending in ("png", "svg"):
        figure.savefig(folder / f"comparison.{ending}", dpi=150)


def _track(
    tracker: Tracker, comparison: SourceComparison, cache: StateCache, facts: Mapping[str, Any], folder: Path
) -> None:
    """Curves over the stages: the depth stands where a training has its epochs."""
    same = comparison.same_stage().set_index("stage")
    probes = comparison.probes.set_index("stage")
    for depth, stage in enumerate(comparison.stages):
        metrics = {
            f"probe_auc {row['source']}": float(row["auc"]) for row in probes.loc[[stage]].to_dict("records")
        }
        for row in same.loc[[stage]].to_dict("records"):
            metrics[f"cka {row['source_a']} - {row['source_b']}"] = float(row["cka"])
        tracker.log_metrics({metric_name(name): value for name, value in metrics.items()}, step=depth)
    tracker.log_folder(folder)
    tracker.log_cohort(cache.cases[["label"]], facts["settings"]["target"], facts["dataset_sha256"])
