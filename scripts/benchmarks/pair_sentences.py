"""Are the report's sentences on pairs of confounders true? Whole studies of known truth, as in inference.py.

    OMP_NUM_THREADS=1 python scripts/benchmarks/pair_sentences.py [--studies 400] [--json FILE]

Of each study cases and carriers are drawn by :func:`srcmatters.cohorts.choose_cases`, a linear head is
trained per p_art and fold on features in which the disease and two confounders are planted, and
:func:`srcmatters.evaluation.pairs.analyse_pairs` has the outcome of reversing one or both that the report
puts into words. The truth is the mean loss of such runs on all images of the world. For each outcome the
share of studies with a false sentence is printed with its Clopper-Pearson interval; the exit status is 1 if a
lower end exceeds .05.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from inference import LEVEL, clopper_pearson
from scipy.special import expit, ndtr
from simulated_studies import DIMENSIONS, POOL, cohort_table, fit_head, patient_noise

from srcmatters.cohorts import CaseChoice, choose_cases
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.confounders.pair_names import pair_of
from srcmatters.evaluation import AnalysisPlan
from srcmatters.evaluation.four_states import ENVIRONMENTS, Who, carrying_as
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.evaluation.pairs import QUESTIONS, analyse_pairs
from srcmatters.files import write_text
from srcmatters.runs.finished_runs import AXES, StudyResults

_NOISE = 0.1  # of the trained weights from run to run, relative to their length
_SEPARATION = 1.6
_DRAWS = 16  # runs that the mean loss of a training cohort is taken over


@dataclass(frozen=True)
class PairScenario:
    """A kind of study.

    Args:
        carriers: who carries the second, see :class:`srcmatters.confounders.pair_names.PairNames`.
        shifts: by which the first and the second move a case, in standard deviations.
        images: of the cohort.
    """

    carriers: str
    shifts: tuple[float, float]
    images: int = 440


SCENARIOS = {
    f"{carriers}, {first:g} and {second:g}, {images} images": PairScenario(carriers, (first, second), images)
    for carriers in ("same", "independent", "complementary")
    for first, second, images in ((0.6, 0.6, 440), (0.85, 0.0, 440), (0.9, 0.5, 88))
}


def draw_pair_study(scenario: PairScenario, number: int) -> tuple[StudyResults, dict[str, float]]:
    """One study, and by environment the true mean loss of its runs."""
    stream = np.random.default_rng([number, 11])
    cases = cohort_table(scenario.images, number % POOL)
    labels = cases["label"].to_numpy()
    clean = patient_noise(stream, pd.factorize(cases["patient_id"])[0])
    clean[:, 0] += _SEPARATION * (labels - 0.5)
    moved = np.zeros((2, DIMENSIONS))
    moved[0, 1], moved[1, 2] = scenario.shifts
    args: dict[str, Any] = {"carriers": scenario.carriers}
    pair = pair_of("tag+noise", args)
    fixed = dict.fromkeys(AXES, "") | {"confounder": "tag+noise", "confounder_args": repr(args)}
    fixed |= {"control": "none", "p_neg": 0.0, "mitigation": "none", "source": "a", "seed": 0, "target": "t"}
    cells, tables, losses = [], [], {name: [0.0, 0.0] for name in QUESTIONS}
    for fold in range(5):
        test = choose_cases(cases, CaseChoice(p_art=0.5, fold=fold, pair=pair))
        for place, p_art in enumerate((0.0, 0.5)):
            study_cases = choose_cases(cases, CaseChoice(p_art=p_art, fold=fold, pair=pair))
            assert study_cases.second is not None
            states = clean + study_cases.carries[:, None] * moved[0] + study_cases.second[:, None] * moved[1]
            weight = fit_head(states[study_cases.split.train], labels[study_cases.split.train])
            for name in QUESTIONS:
                losses[name][place] += _expected_loss(weight, moved, test, labels, name, stream) / 5
            tables.append(_table(cases, study_cases, clean, moved, _another_run(weight, stream), len(cells)))
            cells.append({**fixed, "p_art": p_art, "fold": fold})
    frame = pd.DataFrame(cells)
    nothing = frame.iloc[:0]
    results = StudyResults(nothing, pd.DataFrame(), pairs=frame, four_states=pd.concat(tables))
    return results, {name: taught - before for name, (before, taught) in losses.items()}


def _another_run(weight: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    length = _NOISE * np.linalg.norm(weight) / np.sqrt(DIMENSIONS)
    return weight + length * stream.normal(size=DIMENSIONS)


def _expected_loss(
    weight: np.ndarray,
    moved: np.ndarray,
    test: StudyCases,
    labels: np.ndarray,
    environment: str,
    stream: np.random.Generator,
) -> float:
    """AUC with the correlation as in training less AUC with it reversed, mean over runs."""
    who = ENVIRONMENTS[environment]
    first, second = ("assigned" if one == "reversed" else one for one in who)
    runs = [_another_run(weight, stream) for _ in range(_DRAWS)]
    return float(
        np.mean(
            [
                _population_auc(run, moved, test, labels, (first, second))
                - _population_auc(run, moved, test, labels, who)
                for run in runs
            ]
        )
    )


def _population_auc(
    weight: np.ndarray, moved: np.ndarray, test: StudyCases, labels: np.ndarray, who: tuple[Who, Who]
) -> float:
    """AUC of a linear score on all images of the world, the carriers in the shares of the cohort."""
    assigned = pd.DataFrame({"carries_first": test.carries, "carries_second": test.second, "label": labels})
    first, second = carrying_as(assigned, who)
    state = first + 2 * second.astype(int)
    shares = [np.bincount(state[labels == label], minlength=4) / (labels == label).sum() for label in (0, 1)]
    shift = np.array([0, moved[0] @ weight, moved[1] @ weight, (moved[0] + moved[1]) @ weight])
    apart = _SEPARATION * weight[0] + shift[None] - shift[:, None]
    return float(shares[0] @ ndtr(apart / (np.sqrt(2) * np.linalg.norm(weight))) @ shares[1])


def _table(
    cases: pd.DataFrame,
    study_cases: StudyCases,
    clean: np.ndarray,
    moved: np.ndarray,
    weight: np.ndarray,
    cell: int,
) -> pd.DataFrame:
    test, assigned = study_cases.split.test, study_cases.second
    assert assigned is not None
    columns = {name: cases[name].to_numpy()[test] for name in ("case_id", "patient_id", "label")}
    columns |= {"carries_first": study_cases.carries[test], "carries_second": assigned[test]}
    for name, move in (
        ("clean", 0 * moved[0]), ("first", moved[0]), ("second", moved[1]), ("both", moved[0] + moved[1])
    ):  # fmt: skip
        columns[f"score_{name}"] = expit(3 * (clean[test] + move) @ weight)
    return pd.DataFrame({**columns, "cell": cell})


def measure(scenario: PairScenario, first: int, studies: int, replicates: int = 200) -> Counter[str]:
    """Counts: "studies", "OUTCOME, sentences", "OUTCOME, false" (studies with one), "intervals", "missed"."""
    plan = AnalysisPlan(p_art=0.5, replicates=replicates, subgroups=())
    counts: Counter[str] = Counter(studies=studies)
    for number in range(first, first + studies):
        results, truth = draw_pair_study(scenario, number)
        rows = analyse_pairs(results, plan)
        rows = rows[rows["environment"].isin(QUESTIONS) & (rows["p_art"] == plan.p_art)]
        false = set()
        for row in rows.itertuples():
            loss = truth[str(row.environment)]
            counts[f"{row.outcome}, sentences"] += 1
            counts["intervals"] += 1
            counts["missed"] += not row.low - 1e-9 <= loss <= row.high + 1e-9
            if row.outcome == Outcome.LEANS and loss <= plan.equivalence_margin:
                false.add(row.outcome)
            if row.outcome == Outcome.WITHIN_MARGIN and abs(loss) >= plan.equivalence_margin:
                false.add(row.outcome)
        counts.update(f"{one}, false" for one in false)
    return counts


def main() -> None:
    """Measure the scenarios in turns of ten studies, and print what was said and what of it was false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=400, help="simulated studies of each scenario")
    parser.add_argument("--json", type=Path, help="file of the counts; an interrupted run goes on from it")
    arguments = parser.parse_args()
    pd.set_option("future.infer_string", False)  # small tables are put together a third faster
    record = {name: Counter[str]() for name in SCENARIOS}
    if arguments.json and arguments.json.is_file():
        for key, count in json.loads(arguments.json.read_text()).items():
            name, what = key.split(": ", 1)
            record[name][what] = count
    while waiting := [name for name in SCENARIOS if record[name]["studies"] < arguments.studies]:
        for name in waiting:
            record[name].update(measure(SCENARIOS[name], record[name]["studies"], 10))
        if arguments.json:
            flat = {f"{name}: {what}": count for name, all_ in record.items() for what, count in all_.items()}
            write_text(arguments.json, json.dumps(flat, indent=2) + "\n")
    wrong = []
    for name, counts in record.items():
        missed = counts["missed"] / counts["intervals"]
        print(f"{name}: {counts['studies']} studies, {missed:.3f} of intervals leave out the truth")
        for outcome in Outcome:
            if not counts[f"{outcome}, sentences"]:
                continue
            false = counts[f"{outcome}, false"]
            low, high = clopper_pearson(false, counts["studies"])
            share = f"{false / counts['studies']:.3f} [{low:.3f}, {high:.3f}]"
            print(f"  {outcome:14s} {counts[f'{outcome}, sentences']:6d} sentences, false in {share}")
            wrong += [f"{name}: {outcome}"] * (low > LEVEL)
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
