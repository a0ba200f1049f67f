"""What a report calls the arms of a study: lp_ft and another weight decay are arms as well."""

from __future__ import annotations

import pandas as pd


def named_arms(cells: pd.DataFrame) -> pd.DataFrame:
    """The runs with the names of their arms under ``mitigation``.

    Where every weight is trained, what moves and how much it decays can be a cure as well. So in a study with
    arms, or with several values of weight decay, a run with another adaptation or weight decay than the runs
    without an arm has these in its name, "lp_ft", "weight_decay .3" or "paired, lp_ft", and is compared with
    the same runs as every arm: those of "full" at the weight decay that most runs have.

    Args:
        cells: rows of :attr:`srcmatters.runs.finished_runs.StudyResults.cells`.

    Returns:
        A copy; ``adaptation`` and ``weight_decay`` of an arm are those of the runs without one. The cells
        themselves where there are no arms, or nothing to compare them with.
    """
    if cells.empty or "mitigation" not in cells:
        return cells
    trained = cells["depth"] == "finetune"
    decays = cells["weight_decay"][trained].dropna() if "weight_decay" in cells else pd.Series(dtype=float)
    if (cells["mitigation"][trained] == "none").all() and decays.nunique() < 2:
        return cells
    usual = float(decays.mode().min()) if len(decays) else float("nan")
    named = cells.copy()
    named.attrs = cells.attrs
    adaptation, decay = named["adaptation"], named.get("weight_decay", pd.Series(usual, index=named.index))
    moved = trained & (adaptation != "full")
    decayed = trained & decay.notna() & (decay != usual)
    if (trained & ~moved & ~decayed & (named["mitigation"] == "none")).sum() == 0:
        return cells
    parts = pd.DataFrame(
        {
            "arm": named["mitigation"].where(named["mitigation"] != "none", ""),
            "moved": adaptation.where(moved, ""),
            "decayed": decay.map("weight_decay {:g}".format).where(decayed, ""),
        }
    )
    named["mitigation"] = parts.apply(lambda row: ", ".join(filter(None, row)) or "none", axis=1)
    named.loc[moved, "adaptation"] = "full"
    if "weight_decay" in named:
        named.loc[decayed, "weight_decay"] = usual
    return named
