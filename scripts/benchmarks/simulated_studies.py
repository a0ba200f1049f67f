"""Studies with planted leans, from the cohort to the prediction tables, and what their runs truly lose."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr

from srcmatters.cohorts import CaseChoice, choose_cases, control_labels
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.evaluation.estimates import LEAST_TRAININGS
from srcmatters.runs.finished_runs import StudyResults
from srcmatters.training.refitted_heads import FrozenCell, refitted_aucs

DIMENSIONS = 12
RIDGE = 20.0  # penalty of the head
POOL = 3  # cohorts whose divisions are used again with new images


@dataclass(frozen=True)
class PlantedSource:
    """What the features of a source hold.

    Args:
        separation: distance of the classes along the disease, in standard deviations.
        shift: by which a confounder moves a case across the disease: it can be learnt, and is nothing before.
        reaction: by which it moves a case along the disease: scores react although nobody taught them.
        gain: scale of the log-odds, which no sentence may depend on.
        spread: standard deviation of ``shift`` from seed to seed (other initial weights).
    """

    separation: float = 1.6
    shift: float = 0.8
    reaction: float = 0.0
    gain: float = 1.0
    spread: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """A kind of study.

    Args:
        sources: by name.
        images: of the cohort.
        folds, seeds: repetitions.
        confounders: number of confounders with the same truth, each with images of its own noise.
        control: null control that is run beside the study; "none": only the study.
        depth: "finetune" (sentences speak of this training cohort) or "screen" (heads are refitted).
        decimals: to which log-odds are rounded (ties); None: not at all.
        noise: standard deviation of the trained weights from run to run, relative to their length.
        power: whether the first source has to be shown to lean more than the second.
    """

    sources: dict[str, PlantedSource] = field(
        default_factory=lambda: {"a": PlantedSource(), "b": PlantedSource()}
    )
    images: int = 440
    folds: int = 5
    seeds: int = 1
    confounders: int = 1
    control: str = "none"
    depth: str = "finetune"
    decimals: int | None = None
    noise: float = 0.1
    power: bool = False

    @property
    def of_these_runs(self) -> bool:
        """Whether sentences are about the runs themselves, as there are too few to tell of others."""
        return self.folds * self.seeds < LEAST_TRAININGS


_NEAR_1 = PlantedSource(separation=4.5, shift=2.0)
_MARGIN = PlantedSource(shift=0.51)
_MANY = {name: _MARGIN for name in "abc"}
_SEEDS = {"a": PlantedSource(spread=0.4), "b": PlantedSource(spread=0.4)}


def _reacting(
    reaction: float, low: float = 0.6, high: float = 1.22, apart: float = 0.0
) -> dict[str, PlantedSource]:
    """Two sources of which the first leans more by half a standard deviation."""
    first = PlantedSource(1.6 + apart, high, reaction, gain=2.0)
    return {"a": first, "b": PlantedSource(1.6, low, reaction)}


SCENARIOS = {
    "same_440_5_folds": Scenario(),
    "same_440_3_folds_ties": Scenario(folds=3, decimals=0),
    "same_440_2_folds": Scenario(folds=2, noise=0.3),
    "at_the_margin_440_2_folds": Scenario({"a": _MARGIN, "b": _MARGIN}, folds=2, noise=0.3),
    "same_440_3_folds_noise": Scenario(folds=3, noise=0.3),
    "same_88_5_folds": Scenario(images=88),
    "same_88_3_folds_5_seeds": Scenario(images=88, folds=3, seeds=5),
    "same_440_5_seeds": Scenario(seeds=5),
    "seeds_matter_440_5_seeds": Scenario(_SEEDS, seeds=5),
    "near_1_440": Scenario({"a": _NEAR_1, "b": replace(_NEAR_1, gain=2.0)}),
    "near_1_88": Scenario({"a": _NEAR_1, "b": _NEAR_1}, images=88),
    "at_the_margin_440": Scenario(_MANY, confounders=4),
    "at_the_margin_440_5_seeds": Scenario({"a": _MARGIN, "b": _MARGIN}, seeds=5),
    "unequal_competence_440": Scenario({"a": PlantedSource(1.6), "b": PlantedSource(0.4)}),
    "knows_nothing_440": Scenario({"a": PlantedSource(0.0), "b": PlantedSource(1.6)}),
    "reacts_up_440": Scenario({"a": PlantedSource(reaction=0.5), "b": PlantedSource(reaction=0.5)}),
    "reacts_down_440": Scenario({"a": PlantedSource(reaction=-0.5), "b": PlantedSource(reaction=-0.5)}),
    "shuffled_440": Scenario(control="shuffled_labels"),
    "shuffled_88_3_folds": Scenario(images=88, folds=3, control="shuffled_labels"),
    "shuffled_440_5_seeds": Scenario(seeds=5, control="shuffled_labels"),
    "independent_440": Scenario(
        {"a": PlantedSource(reaction=0.5), "b": PlantedSource()}, control="independent_confounder"
    ),
    "screen_88": Scenario(images=88, depth="screen", noise=0.0),
    "screen_at_the_margin_440": Scenario({"a": _MARGIN, "b": _MARGIN}, depth="screen", noise=0.0),
    "power_440_5_seeds": Scenario(_reacting(0.0), seeds=5, power=True),
    "power_unequal_440_5_seeds": Scenario(_reacting(0.0, apart=0.2), seeds=5, power=True),
    "power_reacts_up_440_5_seeds": Scenario(_reacting(0.3), seeds=5, power=True),
    "power_reacts_down_440_5_seeds": Scenario(_reacting(-0.3), seeds=5, power=True),
}


@functools.cache
def cohort_table(images: int, number: int) -> pd.DataFrame:
    """A case table: 1.35 images a patient, half of the patients positive."""
    stream = np.random.default_rng([images, number])
    patients = int(images / 1.35)
    owner = np.concatenate([np.arange(patients), stream.integers(0, patients, images - patients)])
    table = {"case_id": [f"c{case}" for case in range(images)], "patient_id": [f"p{name}" for name in owner]}
    return pd.DataFrame({**table, "image": table["case_id"], "label": owner % 2})


@functools.cache
def _chosen(
    images: int, number: int, p_art: float, fold: int, folds: int, seed: int, control: str
) -> tuple[pd.DataFrame, StudyCases]:
    cases = control_labels(cohort_table(images, number), control, seed, fold)
    choice = CaseChoice(p_art=p_art, fold=fold, num_folds=folds, seed=seed, control=control)
    return cases, choose_cases(cases, choice)


@dataclass(frozen=True)
class Draw:
    """A simulated study: its results, and by (confounder, source) what each run would lose on all images."""

    results: StudyResults
    losses: dict[tuple[str, str, float], list[float]]


def direction(source: PlantedSource, shift: float) -> np.ndarray:
    vector = np.zeros(DIMENSIONS)
    vector[:2] = source.reaction, shift
    return vector


def population_loss(weight: np.ndarray, source: PlantedSource, moved: np.ndarray) -> float:
    """i.i.d. - o.o.d. AUC at p_art 1 of a linear score on all images of the world, where both
    classes are normal."""
    scale = np.sqrt(2) * np.linalg.norm(weight)
    apart, shift = source.separation * weight[0], float(weight @ moved)
    return float(ndtr((apart + shift) / scale) - ndtr((apart - shift) / scale))


def fit_head(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    centred = features - features.mean(axis=0)
    system = centred.T @ centred + RIDGE * np.eye(DIMENSIONS)
    return np.linalg.solve(system, centred.T @ (2.0 * labels - 1))


def _expected_loss(
    scenario: Scenario,
    source: PlantedSource,
    cohort: tuple[np.ndarray, StudyCases, np.ndarray],
    weight: np.ndarray,
    moved: np.ndarray,
    stream: np.random.Generator,
) -> float:
    """Mean loss of other training runs on the same training cases: other noise, and other seeds
    if they matter."""
    clean, chosen, labels = cohort
    train, values = chosen.split.train, []
    for _ in range(16):
        if source.spread:
            moved = direction(source, source.shift + source.spread * stream.normal())
            weight = fit_head(clean[train] + chosen.carries[train, None] * moved, labels[train])
        length = scenario.noise * np.linalg.norm(weight) / np.sqrt(DIMENSIONS)
        values.append(population_loss(weight + length * stream.normal(size=DIMENSIONS), source, moved))
    return float(np.mean(values))


def draw_study(scenario: Scenario, number: int) -> Draw:
    """One study of a scenario."""
    stream = np.random.default_rng([number, 7])
    cases = cohort_table(scenario.images, number % POOL)
    owner = pd.factorize(cases["patient_id"])[0]
    truth = cases["label"].to_numpy()
    cells: list[dict[str, Any]] = []
    tables, refits = [], []
    losses: dict[tuple[str, str, float], list[float]] = {}
    controls = ("none",) if scenario.control == "none" else ("none", scenario.control)
    for position in range(scenario.confounders):
        confounder = f"tag{position}"
        common = patient_noise(stream, owner)
        for name, source in scenario.sources.items():
            clean = np.sqrt(0.6) * common + np.sqrt(0.4) * patient_noise(stream, owner)
            clean[:, 0] += source.separation * (truth - 0.5)
            for seed in range(scenario.seeds):
                moved = direction(source, source.shift + source.spread * stream.normal())
                for control, p_art, fold in product(controls, (0.0, 1.0), range(scenario.folds)):
                    share = p_art if control == "none" else 0.5
                    if control != "none" and p_art == 0:
                        continue
                    labelled, chosen = _chosen(
                        scenario.images, number % POOL, share, fold, scenario.folds, seed, control
                    )
                    labels = labelled["label"].to_numpy()
                    train, test = chosen.split.train, chosen.split.test
                    assigned = clean[train] + chosen.carries[train, None] * moved
                    weight = fit_head(assigned, labels[train])
                    length = np.linalg.norm(weight) / np.sqrt(DIMENSIONS)
                    expected = np.nan
                    if control == "none" and not scenario.of_these_runs:
                        expected = _expected_loss(
                            scenario, source, (clean, chosen, labels), weight, moved, stream
                        )
                    weight = weight + scenario.noise * length * stream.normal(size=DIMENSIONS)
                    if control == "none":
                        own = population_loss(weight, source, moved)
                        true = own if scenario.of_these_runs else expected
                        losses.setdefault((confounder, name, share), []).append(true)
                    odds = [(clean[test] + move) @ weight * 3 * source.gain for move in (0, moved)]
                    if scenario.decimals is not None:
                        odds = [np.round(one, scenario.decimals) for one in odds]
                    tables.append(_table(labelled, chosen, fold, odds, len(cells)))
                    if scenario.depth == "screen":
                        cell = FrozenCell(
                            clean, clean + moved, labelled, chosen, 4 / RIDGE, share, seed, fold
                        )
                        refits.append(refitted_aucs(cell).assign(cell=len(cells)))
                    axes = {"source": name, "confounder": confounder, "p_art": share, "fold": fold}
                    cells.append({**axes, "seed": seed, "control": control})
    fixed = {"target": "drawn", "network": "linear", "depth": scenario.depth, "protocol": "corrected"}
    frame = pd.DataFrame(cells).assign(**fixed, confounder_args="{}", p_neg=0.0, num_folds=scenario.folds)
    frame = frame.assign(adaptation="full", train_size=0)
    frame.attrs["settings"] = list(frame.columns)
    stacked = pd.concat(refits, ignore_index=True) if refits else pd.DataFrame()
    return Draw(StudyResults(frame, pd.concat(tables, ignore_index=True), refits=stacked), losses)


def patient_noise(stream: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """(images, dimensions) of variance 1, .4 of which the images of a patient have in common."""
    own = np.sqrt(0.6) * stream.normal(size=(len(owner), DIMENSIONS))
    return own + np.sqrt(0.4) * stream.normal(size=(owner.max() + 1, DIMENSIONS))[owner]


def _table(
    cases: pd.DataFrame, chosen: StudyCases, fold: int, odds: list[np.ndarray], cell: int
) -> pd.DataFrame:
    test = chosen.split.test
    columns = {name: cases[name].to_numpy()[test] for name in ("case_id", "patient_id", "label")}
    scores = {"score_clean": expit(odds[0]), "score_confounded": expit(odds[1])}
    return pd.DataFrame({**columns, "fold": fold, "carries": chosen.carries[test], **scores, "cell": cell})


def true_lean(losses: dict[tuple[str, str, float], list[float]], confounder: str, source: str) -> float:
    return float(np.mean(losses[confounder, source, 1.0]) - np.mean(losses[confounder, source, 0.0]))
