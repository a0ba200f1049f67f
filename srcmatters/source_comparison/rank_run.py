"""`srcmatters sources rank` from beginning to end: images, tables, figure, files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from monai.transforms import Compose

from srcmatters.cohorts import open_cohort
from srcmatters.confounders import ClipDisplayd, Confounderd, create_confounder
from srcmatters.csv_tables import write_csv
from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, StateCache
from srcmatters.runs import Results, Tracker
from srcmatters.runs.mlflow_store import DEFAULT_STORE, metric_name
from srcmatters.source_comparison.comparison import draw_cases
from srcmatters.source_comparison.fine_tuned import (
    FineTuned,
    TunedStudy,
    fine_tuned,
    fine_tuned_figure,
    read_tuned_study,
)
from srcmatters.source_comparison.rank_figure import rank_figure
from srcmatters.source_comparison.rank_tables import print_fine_tuned, print_ranking
from srcmatters.source_comparison.ranking import SourceRanking, rank_sources
from srcmatters.sources import network_name
from srcmatters.sources.catalogue import find_entry, own_sources, read_catalogue
from srcmatters.sources.constructor import is_own
from srcmatters.sources.fetching import whereabouts
from srcmatters.training import check_settings, source_name

DEFAULT_NETWORK = "efficientnet_lite0"
EXPERIMENT = "source_ranking"
CONFOUNDERS = ("tag", "denoise", "noise")


@dataclass(frozen=True)
class RankRun:
    """What a user asks for.

    Args:
        sources: NAME or NAME@NETWORK each; empty: every source of images on the disk, and random.
        dataset_dir: folder with the case table; "phantom" is the embedded cohort.
        cases: case table in it.
        confounders: names of confounders that are put into images.
        image_size: pixels a side.
        max_cases: where there are more, as many are drawn.
        seed: of random initialisation, confounders, folds and resampling.
        batch_size: images per forward pass.
        num_workers: processes that decode images.
        device: where networks compute, None: CUDA where there is one.
        study: folder of a finished study on this target; None: none.
        out: folder of the result, None: mlruns/rankings/TARGET-SIZE.
        tracking_uri: MLflow's store, empty for none.
    """

    sources: tuple[str, ...] = ()
    dataset_dir: str = "phantom"
    cases: str = "cases.csv"
    confounders: tuple[str, ...] = CONFOUNDERS
    image_size: int = 160
    max_cases: int = 1000
    seed: int = 0
    batch_size: int = 32
    num_workers: int = 2
    device: str | None = None
    study: Path | None = None
    out: Path | None = None
    tracking_uri: str = DEFAULT_STORE

    def run(self) -> SourceRanking:
        """Measure, print the tables, and write tables, figure and record.

        Raises:
            InputError: whatever is wrong with the settings, the case table, an image or a source.
        """
        start = time.perf_counter()
        selected = [_split(one) for one in self.sources] if self.sources else sources_here()
        named = _named(selected)
        target = Path(self.dataset_dir).absolute().name
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        settings: dict[str, Any] = {
            "sources": [name for name, _, _ in named],
            "target": target,
            "confounders": list(self.confounders),
            "image_size": self.image_size,
            "max_cases": self.max_cases,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": device,
        }
        check_settings(settings, num_workers=self.num_workers)
        tuned = self._tuned_study(target, named)
        results = Results(self.out or Path("mlruns") / "rankings" / f"{target}-{self.image_size}")
        tracker = Tracker(self.tracking_uri, EXPERIMENT, settings, name=f"{len(named)} sources · {target}")
        table = draw_cases(open_cohort(self.dataset_dir, self.cases), self.max_cases, self.seed)
        with tracker.run(), results.transaction() as folder:
            caches = {name: self._images(table, name) for name in (self.confounders or ("none",))}
            clean = next(iter(caches.values()))
            ranking = rank_sources(
                named,
                clean.state("clean"),
                {name: cache.state("confounded") for name, cache in caches.items() if cache.states == 2},
                clean.cases,
                seed=self.seed,
                batch_size=self.batch_size,
                device=device,
            )
            counts = {"cases": len(clean.cases), "patients": int(clean.cases["patient_id"].nunique())}
            facts = {"settings": settings, "dataset_sha256": clean.digest(), **counts}
            facts["seconds"] = round(time.perf_counter() - start, 1)
            beside = None if tuned is None else fine_tuned(tuned, ranking.sources, ranking.leans)
            _write(folder, ranking, facts, beside)
            _track(tracker, ranking, clean, facts, folder)
        print_ranking(ranking, _title(facts))
        if beside is not None:
            print_fine_tuned(beside)
        click.echo(f"{facts['seconds']:.0f} s. Tables, figure and record are in {results.output_dir}")
        return ranking

    def _tuned_study(self, target: str, named: Sequence[tuple[str, str, str]]) -> TunedStudy | None:
        if self.study is None:
            return None
        names = [name for name, _, _ in named]
        return read_tuned_study(
            self.study, target, names, self.confounders, DEFAULT_NETWORK, file_aliases(named)
        )

    def _images(self, table: pd.DataFrame, confounder: str) -> StateCache:
        size = [self.image_size, self.image_size]
        made = create_confounder(confounder, seed=self.seed)
        carried = [] if made is None else [Confounderd("image", made, carries_key="carries")]
        steps = [LoadRadiographd("image"), *carried, AntialiasedResized("image", size), ClipDisplayd("image")]
        return StateCache.open(table, Compose(steps), num_workers=self.num_workers)


def sources_here() -> list[tuple[str, str]]:
    """(source, network) of every source of images whose file is on this machine, and of random."""
    packaged = read_catalogue()
    entries = [entry for entry in (*packaged, *own_sources()) if entry.spatial_dims == 2]
    there = [entry for entry in entries if entry.location is not None and whereabouts(entry) == "here"]
    names = [(entry.source if entry in packaged else entry.name, entry.network) for entry in there]
    return [*names, ("random", DEFAULT_NETWORK)]


def file_aliases(named: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """What runs that were given the file of a source by its path call one that is ranked by its name.

    Args:
        named: name in the tables, source, network.
    """
    aliases = {}
    for name, source, network in named:
        entry = None if is_own(network) else find_entry(source, network)
        location = (entry.location or {}) if entry else {}
        if set(location) == {"file"}:
            aliases[source_name(location["file"]) + name[len(source_name(source)) :]] = name
    return aliases


def _split(text: str) -> tuple[str, str]:
    source, _, network = text.partition("@")
    return source, network or DEFAULT_NETWORK


def _named(selected: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(name in the tables, source, network); the name tells the network where it is not the usual one."""
    named = [
        (source_name(one) + ("" if network == DEFAULT_NETWORK else f"@{network_name(network)}"), one, network)
        for one, network in selected
    ]
    names = [name for name, _, _ in named]
    if len(set(names)) < len(names):
        raise InputError(f"--source: got {', '.join(names)}, expected sources that differ")
    return named


def _title(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    images = f"{facts['cases']} images of {facts['patients']} patients"
    return f"sources on {settings['target']} · {images} · {settings['image_size']} px"


def _write(
    folder: Path, ranking: SourceRanking, facts: dict[str, Any], beside: FineTuned | None = None
) -> None:
    tables = {field.name: getattr(ranking, field.name) for field in fields(ranking)}
    figures = {"ranking": rank_figure(ranking, _title(facts))}
    if beside is not None:
        tables |= {"fine_tuned": beside.table, "correlations": beside.correlations}
        figures["fine_tuned"] = fine_tuned_figure(beside, _title(facts))
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv", float_format="%.6g")
    rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    (folder / "ranking.json").write_text(json.dumps({**facts, **rows}, indent=1) + "\n")
    for name, figure in figures.items():
        for ending in ("png", "svg"):
            figure.savefig(folder / f"{name}.{ending}", dpi=150)


def _track(
    tracker: Tracker, ranking: SourceRanking, cache: StateCache, facts: dict[str, Any], folder: Path
) -> None:
    metrics = {f"clean_auc {row['source']}": row["clean_auc"] for row in ranking.sources.to_dict("records")}
    metrics |= {
        f"learned_lean {row['source']} {row['confounder']}": row["lean"]
        for row in ranking.leans.to_dict("records")
    }
    tracker.log_metrics({metric_name(name): float(value) for name, value in metrics.items()})
    tracker.log_folder(folder)
    tracker.log_cohort(cache.cases[["label"]], facts["settings"]["target"], facts["dataset_sha256"])
