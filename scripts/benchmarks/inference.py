"""Are the report's sentences true? Whole studies are simulated, and every sentence is held against the truth.

OMP_NUM_THREADS=1 python scripts/benchmarks/inference.py --studies 1000 --json inference.json

A study is drawn from the cohort to the words: patients with several images, the draws of
:func:`srcmatters.cohorts.choose_cases`, a linear head trained per source, p_art, fold and seed on features in
which the disease and the confounder are planted, and the sentences of
:func:`srcmatters.evaluation.verdicts.verdicts`. For each kind of sentence the share of studies with a false
one is printed with its Clopper-Pearson interval; the exit status is 1 if a lower end exceeds .05, or if
sources whose leans differ by half a standard deviation are told apart in fewer than 80 % of the studies. The
scenarios take turns, ten studies each; an interrupted run goes on from the file of ``--json``, one flat
object of counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta
from simulated_studies import SCENARIOS, Scenario, draw_study, true_lean

from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.evaluation.verdicts import Outcome, Verdict, verdicts
from srcmatters.files import write_text

LEVEL, POWER = 0.05, 0.8
BATCH = 10  # studies of a scenario before the next one has its turn
_REFERENCE = 300  # studies that the mean lean of all training cohorts is computed from


def is_false(verdict: Verdict, own: dict[tuple[str, str], float], margin: float) -> bool:
    """Whether a sentence says what is not so.

    Args:
        verdict: the sentence.
        own: by confounder and source the true lean: at the finetune depth of other runs "for this training
            cohort" or, with one or two, of the runs themselves; at the screen depth of all training cohorts.
        margin: declared.
    """
    if verdict.kind == "control":  # all of them are null here
        return verdict.outcome is Outcome.LEANS
    value = truth_of(verdict, own)
    if verdict.outcome is Outcome.LEANS:
        return value <= (margin if verdict.kind == "lean" else 1e-9)
    if verdict.outcome is Outcome.WITHIN_MARGIN:
        return abs(value) >= margin
    # What it names as the most that is not excluded must not be exceeded.
    if verdict.outcome is Outcome.INCONCLUSIVE and verdict.kind == "lean":
        return value > verdict.not_excluded
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return abs(value) > max(abs(verdict.low), abs(verdict.high))
    return False


def truth_of(verdict: Verdict, own: dict[tuple[str, str], float]) -> float:
    """The true lean of the source, or the true difference of two."""
    leans = [own[str(verdict.axes["confounder"]), source] for source in verdict.sources]
    return leans[0] if verdict.kind == "lean" else leans[0] - leans[1]


def is_missed(verdict: Verdict, own: dict[tuple[str, str], float]) -> bool:
    """Whether the interval of a sentence leaves out the truth, which 5 % of them may."""
    return not verdict.low - 1e-9 <= truth_of(verdict, own) <= verdict.high + 1e-9


def mean_leans(scenario: Scenario, numbers: range) -> dict[str, float]:
    """The true lean of every source, averaged over training cohorts."""
    plain = replace(scenario, depth="finetune", control="none")  # no refits: only what is trained is needed
    drawn = [draw_study(plain, number).losses for number in numbers]
    keys = [(f"tag{position}", name) for position in range(scenario.confounders) for name in plain.sources]
    leans = {
        name: float(np.mean([true_lean(losses, *key) for losses in drawn for key in keys if key[1] == name]))
        for name in plain.sources
    }
    if len({replace(source, gain=1.0) for source in scenario.sources.values()}) == 1:
        leans = dict.fromkeys(leans, float(np.mean(list(leans.values()))))  # what is alike is so exactly
    return leans


def measure(
    scenario: Scenario,
    studies: int,
    replicates: int = 200,
    first: int = 0,
    cohorts: dict[str, float] | None = None,
) -> Counter[str]:
    """Simulate studies and count their sentences.

    Args:
        scenario: of :data:`simulated_studies.SCENARIOS`.
        studies: number of studies.
        replicates: of the bootstrap.
        first: number of the first study.
        cohorts: of :func:`mean_leans`; None: computed where it is needed, from the studies themselves.

    Returns:
        "studies"; "shown": studies in which the first source is said to lean more than the second;
        "KIND OUTCOME, sentences" and "KIND OUTCOME, false", studies with a false one; "KIND, intervals" and
        "KIND, missed", intervals that leave out the truth.
    """
    plan = AnalysisPlan(replicates=replicates, subgroups=())
    gc.freeze()  # the libraries' objects need not be looked through again and again
    if scenario.depth == "screen" and cohorts is None:
        cohorts = mean_leans(scenario, range(first, first + studies))
    counts: Counter[str] = Counter(studies=studies, shown=0)
    for number in range(first, first + studies):
        draw = draw_study(scenario, number)
        keys = {(confounder, source) for confounder, source, _ in draw.losses}
        if scenario.depth == "screen":
            assert cohorts is not None
            truth = {key: cohorts[key[1]] for key in keys}
        else:
            truth = {key: true_lean(draw.losses, *key) for key in keys}
        sentences = verdicts(analyse(draw.results, plan, thorough=False))
        _count(counts, sentences, truth, plan.equivalence_margin)
        counts["shown"] += any(
            one.kind == "comparison"
            and one.outcome is Outcome.LEANS
            and one.sources[0] == next(iter(scenario.sources))
            for one in sentences
        )
    return counts


def _count(
    counts: Counter[str], sentences: list[Verdict], truth: dict[tuple[str, str], float], margin: float
) -> None:
    counts.update(f"{one.kind} {one.outcome}, sentences" for one in sentences)
    counts.update({f"{one.kind} {one.outcome}, false" for one in sentences if is_false(one, truth, margin)})
    sized = [one for one in sentences if one.kind != "control" and np.isfinite(one.low)]
    counts.update(f"{one.kind}, intervals" for one in sized)
    counts.update(f"{one.kind}, missed" for one in sized if is_missed(one, truth))


def clopper_pearson(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, trials - count + 1))
    high = 1.0 if count == trials else float(beta.ppf(1 - tail, count + 1, trials - count))
    return low, high


def failures(scenario: Scenario, counts: Counter[str]) -> list[str]:
    """What of a measured scenario must not be."""
    studies, wrong = counts["studies"], []
    for name, count in counts.items():
        if name.endswith(", false") and clopper_pearson(count, studies)[0] > LEVEL:
            wrong.append(f"{name} in {count} of {studies} studies")
    if scenario.power and clopper_pearson(counts["shown"], studies)[1] < POWER:
        wrong.append(f"power: {counts['shown']} of {studies}")
    return wrong


def print_counts(name: str, counts: Counter[str]) -> None:
    """What a scenario came to, a line for each kind of sentence."""
    studies = counts["studies"]
    print(f"{name}: {studies} studies")
    for kind in sorted(key.removesuffix(", sentences") for key in counts if key.endswith(", sentences")):
        false, printed = counts[f"{kind}, false"], counts[f"{kind}, sentences"]
        print(f"  {kind:28s} {printed:6d} sentences, false in {_share(false, studies)} of the studies")
    for kind in ("lean", "comparison"):
        if total := counts[f"{kind}, intervals"]:
            print(f"  {kind} intervals: {_share(counts[f'{kind}, missed'], total)} leave out the truth")
    if SCENARIOS[name].power:
        print(f"  told apart in {_share(counts['shown'], studies)}")


def _share(count: int, trials: int) -> str:
    low, high = clopper_pearson(count, trials)
    return f"{count / trials:.3f} [{low:.3f}, {high:.3f}]"


def read_counts(path: Path) -> dict[str, Counter[str]]:
    """Counts by scenario of an earlier run; none where there is no file."""
    record: dict[str, Counter[str]] = {name: Counter() for name in SCENARIOS}
    if path.is_file():
        for key, count in json.loads(path.read_text(encoding="utf-8")).items():
            name, what = key.split(": ", 1)
            record[name][what] = count
    return record


def write_counts(path: Path, record: dict[str, Counter[str]]) -> None:
    """One flat object: "SCENARIO: WHAT" to a count."""
    flat: dict[str, Any] = {
        f"{name}: {what}": count for name, counts in record.items() for what, count in counts.items()
    }
    write_text(path, json.dumps(flat, indent=2) + "\n")


def main() -> None:
    """Measure scenarios and print what was said and what of it was false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each scenario")
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--json", type=Path, help="file of the counts; an interrupted run goes on from it")
    arguments = parser.parse_args()
    # Thousands of small tables are put together: text as Python objects takes a third less time than Arrow's.
    pd.set_option("future.infer_string", False)
    record = read_counts(arguments.json) if arguments.json else {name: Counter() for name in SCENARIOS}
    cohorts = {
        name: mean_leans(SCENARIOS[name], range(_REFERENCE))
        for name in arguments.scenarios
        if SCENARIOS[name].depth == "screen"
    }
    while waiting := [name for name in arguments.scenarios if record[name]["studies"] < arguments.studies]:
        for name in waiting:
            done = record[name]["studies"]
            batch = min(BATCH, arguments.studies - done)
            record[name].update(measure(SCENARIOS[name], batch, first=done, cohorts=cohorts.get(name)))
            if arguments.json:
                write_counts(arguments.json, record)
    wrong = []
    for name in arguments.scenarios:
        print_counts(name, record[name])
        wrong += [f"{name}, {what}" for what in failures(SCENARIOS[name], record[name])]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
