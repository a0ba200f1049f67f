"""Is the primary test right, and is it fast? Simulated studies whose truth is known.

OMP_NUM_THREADS=1 python scripts/benchmarks/intervals.py --studies 4000 --json intervals.json

Prints the seconds of 10,000 replicates of a study of 440 cases; then for every design how often the 95 %
interval misses the true difference (it should be .03 to .07; where that is 0 it is how often the primary test
rejects a true null hypothesis at .05), and the same of an interval that resamples images alone.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from srcmatters.evaluation.estimates import Estimate, image_freedom
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    difference,
    mean_over_trainings,
    resampled_auc,
)
from srcmatters.evaluation.resampling import Ranking, resample_patients


@dataclass(frozen=True)
class Design:
    """How a simulated study compares two sources.

    Args:
        separations: distance of the two classes, in standard deviations of the score, of either source.
        spread: standard deviation of that distance from training to training.
        folds: trainings of a source per seed.
        cases: test cases of a fold.
        patients: who these cases come from.
        seeds: how often the cross-validation is repeated, each time divided anew.
        one_test_set: all folds test the same cases.
        positives: share of the patients that are positive.
        shared: share of the variance that both sources' scores of a case have in common; .25 of it is the
            patient's.
    """

    separations: tuple[float, float] = (1.2, 1.2)
    spread: float = 0.0
    folds: int = 5
    cases: int = 88
    patients: int = 65
    seeds: int = 1
    one_test_set: bool = False
    positives: float = 0.5
    shared: float = 0.6


DESIGNS = {
    "null": Design(),
    "null_trainings_differ_little": Design(spread=0.2),
    "null_trainings_differ": Design(spread=0.4),
    "null_trainings_differ_much": Design(spread=0.8),
    "difference": Design(separations=(1.8, 1.2)),
    "difference_trainings_differ": Design(separations=(1.8, 1.0), spread=0.3),
    "null_one_test_set": Design(one_test_set=True, cases=83, patients=70, positives=0.37),
    "null_one_test_set_trainings_differ": Design(
        one_test_set=True, cases=83, patients=70, positives=0.37, spread=0.4
    ),
    "null_three_seeds_trainings_differ": Design(seeds=3, spread=0.3),
    "null_three_folds_trainings_differ": Design(folds=3, spread=0.3),
}


def true_difference(design: Design) -> float:
    """AUC of the first source less that of the second, over all images and trainings.

    Both classes are normal with variance 1, so a training at distance d has the AUC Phi(d / sqrt 2), and the
    mean of that over normally distributed d is Phi of the mean over sqrt(2 + variance).
    """
    first, second = (ndtr(mean / np.sqrt(2 + design.spread**2)) for mean in design.separations)
    return float(first - second)


def draw_trainings(design: Design, replicates: int, seed: int) -> tuple[list[ResampledStatistic], float]:
    """One study: the difference of AUC in every training; degrees of freedom of its images."""
    stream = np.random.default_rng([seed, 1])
    parts = 1 if design.one_test_set else design.folds
    patients, cases = design.patients * parts, design.cases * parts
    patient = np.concatenate([np.arange(patients), stream.integers(0, patients, cases - patients)])
    label_of = (stream.random(patients) < design.positives).astype(int)
    label = label_of[patient]
    hard = np.sqrt(0.25) * stream.normal(size=patients)[patient]
    hard += np.sqrt(design.shared - 0.25) * stream.normal(size=cases)
    weights = resample_patients(patient.astype(str), replicates, seed)
    row = weights.rows(patient.astype(str))
    figures = []
    for _ in range(design.seeds):
        fold_of = (stream.permutation(patients) % parts)[patient]
        for fold in range(design.folds):
            tested = np.flatnonzero(fold_of == (0 if design.one_test_set else fold))
            pair = []
            for separation in design.separations:
                own = np.sqrt(1 - design.shared) * stream.normal(size=len(tested))
                distance = separation + design.spread * stream.normal()
                scores = distance * label[tested] + hard[tested] + own
                pair.append(resampled_auc(Ranking(label[tested], scores, row[tested]), weights))
            figures.append(difference(*pair))
    return figures, image_freedom(int(label_of.sum()), int(patients - label_of.sum()))


def measure(design: Design, studies: int, replicates: int = 300, seed: int = 0) -> dict[str, float]:
    """Draw many studies and count errors.

    Returns:
        missed: share of studies whose 95 % interval does not hold the true difference; where that is 0 it is
        the type I error of the test. missed_by_images_alone: of intervals from the bootstrap of images.
    """
    truth, missed, alone = true_difference(design), 0, 0
    for number in range(studies):
        figures, freedom = draw_trainings(design, replicates, seed + number)
        estimate = mean_over_trainings(figures, freedom)
        low, high = estimate.interval()
        missed += not low <= truth <= high
        mean = np.mean([figure.replicates for figure in figures], axis=0)
        images = Estimate(estimate.value, float(np.std(mean, ddof=1)), 1e6, 1)
        low, high = images.interval()
        alone += not low <= truth <= high
    return {"missed": missed / studies, "missed_by_images_alone": alone / studies}


def seconds_of_a_study(replicates: int = 10_000) -> float:
    """Processor time of the primary comparison of a study of 440 cases: five folds, two sources."""
    start = time.process_time()
    figures, freedom = draw_trainings(Design(), replicates, 0)
    mean_over_trainings(figures, freedom).p_value()
    return time.process_time() - start


def main() -> None:
    """Measure all designs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each design")
    parser.add_argument("--designs", nargs="*", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--seed", type=int, default=0, help="of the first study; the next has the next")
    parser.add_argument("--json", help="file that gets the figures as one flat object")
    arguments = parser.parse_args()
    figures = {"seconds_10000_replicates_440_cases": round(seconds_of_a_study(), 3)}
    print(f"10,000 replicates of 440 cases: {figures['seconds_10000_replicates_440_cases']} s")
    for name in arguments.designs:
        measured = measure(DESIGNS[name], arguments.studies, seed=arguments.seed)
        figures |= {f"{name}_{figure}": round(value, 4) for figure, value in measured.items()}
        print(
            f"{name:36s} interval misses {measured['missed']:.3f},"
            f" images alone {measured['missed_by_images_alone']:.3f}",
            flush=True,
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"studies": arguments.studies, **figures}, file, indent=2)


if __name__ == "__main__":
    main()
