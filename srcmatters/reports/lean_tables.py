"""Tables of what was learnt of a confounder, and of what it does to a case."""

from __future__ import annotations

import numpy as np
import pandas as pd

from srcmatters.evaluation.balance import IMBALANCED
from srcmatters.numbers import interval, number, p_value, share
from srcmatters.reports.setups import Setup
from srcmatters.reports.study_tables import Table, by_source, of_confounder


def lean_table(setup: Setup) -> Table | None:
    """The learned lean of every source with where its error comes from; None where nothing could lean."""
    groups = []
    for confounder in setup.confounders:
        rows = of_confounder(setup.analysis.leans, confounder).sort_values("p_art", kind="stable")
        texts = [
            [
                row.source,
                share(row.p_art),
                interval(row.lean, row.low, row.high),
                interval(row.superiority, row.superiority_low, row.superiority_high),
                p_value(row.p_beyond_adjusted),
                p_value(row.p_equivalence_adjusted),
                *(number(getattr(row, name), 3) for name in ("of_patients", "of_folds", "of_seeds")),
            ]
            for row in by_source(rows, setup.sources)
        ]
        if texts:
            groups.append((confounder, texts))
    if not groups:
        return None
    plan = setup.analysis.plan
    note = (
        "Lean: i.i.d. − o.o.d. AUC less the same at p_art 0, paired by fold and seed. Scale-free: by how much"
        " training raised P(a confounded case scores higher than another clean case of its label). Beyond,"
        " within:"
        f" p of a lean above and within ±{number(plan.equivalence_margin)}, after Holm. Last columns:"
        " standard errors"
        " from patients, folds and seeds."
    )
    columns = ("source", "p_art", "learned lean", "scale-free", "p beyond", "p within", "patients", "folds",
               "seeds")  # fmt: skip
    return Table("What was learnt of the confounder", columns, groups, labels=2, note=note)


def effect_table(setup: Setup) -> Table | None:
    """What the confounder does to a case, on four scales; None for sampled confounders alone."""
    groups = []
    for confounder in setup.confounders:
        rows = [
            [row.source, share(row.p_art)]
            + [
                interval(getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high"))
                for name in _EFFECTS
            ]
            for row in by_source(of_confounder(setup.analysis.gaps, confounder), setup.sources)
            if pd.notna(row.effect)
        ]
        if rows:
            groups.append((confounder, rows))
    if not groups:
        return None
    note = (
        "Log-odds depend on the temperature of a network, so sources are compared by the scale-free"
        " effect: P(a"
        " confounded case scores higher than another clean case of its label), .5 being none. Flips: share"
        " of the"
        " decisions at the fixed threshold that the confounder changes."
    )
    return Table(
        "Effect of the confounder on a case", ("source", "p_art", *_EFFECTS.values()), groups, 2, note
    )


_EFFECTS = {
    "effect": "log-odds",
    "probability_effect": "probability",
    "superiority": "scale-free",
    "flips": "decisions that flip",
}


def balance_table(setup: Setup) -> Table | None:
    """What else differs between the classes of sampled cohorts; None without any."""
    rows_of = setup.analysis.balance
    if rows_of.empty:
        return None
    groups = []
    for confounder in setup.confounders:
        rows = [
            [share(row.p_art), str(row.set), str(row.column), number(row.standardised_difference)]
            for row in of_confounder(rows_of, confounder).itertuples()
            if np.isfinite(row.standardised_difference)  # type: ignore[arg-type]
        ]
        if rows:
            groups.append((confounder, rows))
    if not groups:
        return None
    note = (
        f"Standardised mean difference between the classes; above {number(IMBALANCED)} a column may be what"
        " is"
        " learnt. The validation cases are chosen as the training cases are."
    )
    columns = ("p_art", "set", "column", "difference")
    return Table("Balance of sampled cohorts", columns, groups, labels=3, note=note)
