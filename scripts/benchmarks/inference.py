"""Are the report's sentences true? Whole studies are simulated, and every sentence is held against the truth.

OMP_NUM_THREADS=1 python scripts/benchmarks/inference.py --studies 1000 --json inference.json

A study is drawn from the cohort to the words: patients with several images, the draws of
:func:`srcmatters.cohorts.choose_cases`, a linear head trained per source, p_art, fold and seed on features in
which the disease and the confounder are planted, and the sentences of
:func:`srcmatters.evaluation.verdicts.verdicts`. For each kind of sentence the share of studies with a false
one is printed with its Clopper-Pearson interval; the exit status is 1 if a lower end exceeds .05, or if
sources whose leans differ by half a standard deviation are told apart in fewer than 80 % of the studies.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import beta
from simulated_studies import SCENARIOS, Scenario, draw_study, true_lean

from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.evaluation.verdicts import Outcome, Verdict, verdicts

LEVEL, POWER = 0.05, 0.8


def is_false(verdict: Verdict, own: dict[tuple[str, str], float], margin: float) -> bool:
    """Whether a sentence says what is not so.

    Args:
        verdict: the sentence.
        own: by confounder and source the true lean: at the finetune depth of other runs "for this training
            cohort", at the screen depth of all training cohorts.
        margin: declared.
    """
    confounder = str(verdict.axes["confounder"])
    if verdict.kind == "control":  # all of them are null here
        return verdict.outcome is Outcome.LEANS
    if verdict.kind == "lean":
        value = own[confounder, verdict.sources[0]]
        return (
            value <= margin
            if verdict.outcome is Outcome.LEANS
            else (verdict.outcome is Outcome.WITHIN_MARGIN and abs(value) >= margin)
        )
    value = own[confounder, verdict.sources[0]] - own[confounder, verdict.sources[1]]
    if verdict.outcome is Outcome.LEANS:
        return value <= 1e-9
    return verdict.outcome is Outcome.WITHIN_MARGIN and abs(value) >= margin


def measure(scenario: Scenario, studies: int, replicates: int = 200, first: int = 0) -> dict[str, Any]:
    """Simulate studies and count those with a false sentence, by kind and outcome.

    Returns:
        false: studies with a false sentence by "kind outcome"; said: sentences of that kind; shown: studies
        in which the first source is said to lean more than the second; leans: the true mean lean by source.
    """
    plan = AnalysisPlan(replicates=replicates, subgroups=())
    gc.freeze()  # the libraries' objects need not be looked through again and again
    drawn = []
    for number in range(first, first + studies):
        draw = draw_study(scenario, number)
        drawn.append((verdicts(analyse(draw.results, plan, thorough=False)), draw.losses))
    names = list(scenario.sources)
    keys = [(f"tag{position}", name) for position in range(scenario.confounders) for name in names]
    leans = [{key: true_lean(losses, *key) for key in keys} for _, losses in drawn]
    expected = {
        name: float(np.mean([one[key] for one in leans for key in keys if key[1] == name])) for name in names
    }
    same = len(set(replace(source, gain=1.0) for source in scenario.sources.values())) == 1
    if same:  # what is alike is so exactly
        expected = dict.fromkeys(names, float(np.mean(list(expected.values()))))
    false: Counter[str] = Counter()
    sentences_printed: Counter[str] = Counter()
    shown = 0
    everywhere = scenario.depth == "screen"
    for (sentences, _), own in zip(drawn, leans, strict=True):
        truth = {key: expected[key[1]] for key in keys} if everywhere else own
        wrong = {
            f"{one.kind} {one.outcome}" for one in sentences if is_false(one, truth, plan.equivalence_margin)
        }
        false.update(wrong)
        sentences_printed.update(f"{one.kind} {one.outcome}" for one in sentences)
        shown += any(
            one.kind == "comparison" and one.outcome is Outcome.LEANS and one.sources[0] == names[0]
            for one in sentences
        )
    return {
        "studies": studies,
        "false": dict(false),
        "said": dict(sentences_printed),
        "shown": shown,
        "leans": expected,
    }


def clopper_pearson(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, trials - count + 1))
    high = 1.0 if count == trials else float(beta.ppf(1 - tail, count + 1, trials - count))
    return low, high


def failures(scenario: Scenario, measured: dict[str, Any]) -> list[str]:
    """What of a measured scenario must not be."""
    studies, wrong = measured["studies"], []
    for kind, count in measured["false"].items():
        low, _ = clopper_pearson(count, studies)
        if low > LEVEL:
            wrong.append(f"{kind}: {count} of {studies} studies with a false sentence")
    if scenario.power and clopper_pearson(measured["shown"], studies)[1] < POWER:
        wrong.append(f"power: {measured['shown']} of {studies}")
    return wrong


def main() -> None:
    """Measure scenarios and print what was said and what of it was false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each scenario")
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--json", help="file that gets the counts")
    arguments = parser.parse_args()
    record, wrong = {}, []
    for name in arguments.scenarios:
        started = time.perf_counter()
        measured = record[name] = measure(SCENARIOS[name], arguments.studies)
        leans = ", ".join(f"{source} {value:.3f}" for source, value in measured["leans"].items())
        print(f"{name}: true lean {leans}; {time.perf_counter() - started:.0f} s")
        for kind, count in sorted(measured["said"].items()):
            false = measured["false"].get(kind, 0)
            low, high = clopper_pearson(false, arguments.studies)
            print(
                f"  {kind:28s} {count:6d} sentences, false in {false / arguments.studies:.3f} [{low:.3f},"
                f" {high:.3f}]"
            )
        if SCENARIOS[name].power:
            print(f"  told apart in {measured['shown'] / arguments.studies:.3f}", flush=True)
        wrong += [f"{name}, {what}" for what in failures(SCENARIOS[name], measured)]
        sys.stdout.flush()
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(record, file, indent=2)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
