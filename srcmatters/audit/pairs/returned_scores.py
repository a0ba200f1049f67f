"""What came back of the images that were sent: scores by case, confounder and dose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.audit.doors.log_odds import ROUNDING, log_odds_of
from srcmatters.audit.pairs.write_pairs import CASES, CLEAN, MANIFEST, SENT
from srcmatters.csv_tables import read_csv
from srcmatters.errors import UNREADABLE_CSV, InputError, first_line
from srcmatters.numbers import counted
from srcmatters.runs.prediction_table import LARGEST_LOG_ODDS

_IDS = (
    "id",
    "image",
    "file",
    "filename",
    "name",
    "patient_id",
    "patientid",
    "accession",
    "sop_uid",
    "study_uid",
)
_SCORES = ("score", "probability", "prediction", "output", "value")
KINDS = ("probability", "logit")


@dataclass(frozen=True)
class Returned:
    """Answers of a product, by case and state.

    Args:
        cases: case table of what was sent.
        clean: (cases,) log-odds of the clean images; NaN: no score.
        confounded: the same by (confounder, dose).
        refusals: a row per state: confounder, dose, sent, scored, refused (an answer without a score),
            missing (no answer), contradictory (several different ones).
        notes: what a reader of the audit has to know, one line each.
    """

    cases: pd.DataFrame
    clean: np.ndarray
    confounded: dict[tuple[str, float], np.ndarray]
    refusals: pd.DataFrame
    notes: tuple[str, ...]


def read_returned(
    pairs: str | Path,
    answers: str | Path,
    *,
    from_sr: bool = False,
    kind: str | None = None,
    finding: str | None = None,
) -> Returned:
    """Match answers with what was sent.

    Args:
        pairs: folder of :func:`srcmatters.audit.pairs.write_pairs`.
        answers: a CSV with a column of identifiers (id, file name, patient, accession number, study or SOP
            instance UID) and one of scores; or, with ``from_sr``, a folder of Structured Reports.
        from_sr: see ``answers``.
        kind: "probability" or "logit" of the scores; None: probabilities if all are in [0, 1].
        finding: with ``from_sr``, a part of the name of the number to read, where reports hold several.

    Raises:
        InputError: unreadable, no such columns, scores that are neither, or nothing that was sent.
    """
    pairs, answers = Path(pairs), Path(answers)
    manifest, cases = _read_manifest(pairs)
    if from_sr:
        from srcmatters.audit.pairs.structured_reports import read_reports

        answered = read_reports(answers, finding)
    else:
        answered = _read_answers(answers)
    identifiers = answered["id"].fillna("").tolist()
    if not identifiers:
        raise InputError(f"{answers}: no rows, expected one for each image of {pairs / SENT}")
    answered["id"] = _matched(answered["id"], manifest)
    unknown = int(answered["id"].isna().sum())
    known = answered.dropna(subset="id")
    if not len(known):
        raise InputError(
            f"{answers}: none of its {counted(len(answered), 'identifier')} (such as"
            f" {str(identifiers[0])[:40]!r}) was sent from {pairs}, expected those of its images.csv (such as"
            f" {manifest['id'].iloc[0]!r})"
        )
    log_odds, status, repeated = _by_image(known, manifest, kind, answers)
    if not (status == "scored").any():
        raise InputError(f"{answers}: no image has a score, expected one number an image")
    table = manifest.assign(log_odds=log_odds, status=status)
    return _returned(table, cases, _notes(table, unknown, repeated))


def _read_manifest(pairs: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = []
    for name in (MANIFEST, CASES):
        try:
            tables.append(read_csv(pairs / name, dtype={"case_id": str, "patient_id": str, "id": str}))
        except UNREADABLE_CSV as error:
            raise InputError(
                f"{pairs / name}: not readable ({first_line(error)}), expected a folder of `srcmatters"
                f" audit prepare`"
            ) from error
    missing = {"id", "case_id", "confounder", "dose"} - set(tables[0])
    if missing:
        raise InputError(
            f"{pairs / MANIFEST}: no column {', '.join(sorted(missing))}, expected the manifest of"
            f" `srcmatters audit prepare`"
        )
    return tables[0], tables[1]


def _read_answers(file: Path) -> pd.DataFrame:
    """Columns id (text) and score (float; NaN: refused)."""
    try:
        table = pd.read_csv(file, dtype=str, skipinitialspace=True)
    except UNREADABLE_CSV as error:
        raise InputError(
            f"{file}: not readable ({first_line(error)}), expected a CSV of id and score"
        ) from error
    columns = {str(name).strip().lower(): name for name in table.columns}
    identifier = next((columns[name] for name in _IDS if name in columns), None)
    score = next((columns[name] for name in _SCORES if name in columns), None)
    if identifier is None or score is None:
        names = ", ".join(columns)
        names = names if len(names) < 80 else f"{names[:80]}..."
        raise InputError(
            f"{file}: columns {names}, expected two with a comma between: an identifier ({', '.join(_IDS)})"
            f" and a score ({', '.join(_SCORES)})"
        )
    others = [columns[name] for name in _SCORES if name in columns and columns[name] != score]
    if others:
        raise InputError(f"{file}: columns {score} and {', '.join(others)}, expected one of scores")
    texts = table[score].str.strip()
    numbers = pd.to_numeric(texts, errors="coerce")
    foreign = np.flatnonzero(numbers.isna() & texts.fillna("").str.fullmatch(r"-?\d+,\d+|-?[\d.,]+ ?%"))
    if len(foreign):
        row = int(foreign[0])
        raise InputError(
            f"{file}, row {row + 2}, {score}: got {texts[row]!r}, expected a number such as 0.53"
        )
    return pd.DataFrame({"id": table[identifier].str.strip(), "score": numbers})


def _matched(identifiers: pd.Series, manifest: pd.DataFrame) -> pd.Series:
    """The manifest's identifier of each answer, by any name that an image has."""
    known: dict[str, str] = {}  # without regard to upper and lower case
    for column in ("id", "file", "study_uid", "sop_uid"):
        if column in manifest:
            known |= dict(zip(manifest[column].astype(str).str.lower(), manifest["id"], strict=True))
    plain = identifiers.fillna("").astype(str).str.lower()
    names = plain.map(lambda name: Path(name).name)
    stems = names.map(lambda name: name.partition(".")[0])
    return names.map(known).fillna(stems.map(known)).fillna(plain.map(known))


def _by_image(
    known: pd.DataFrame, manifest: pd.DataFrame, kind: str | None, origin: Path
) -> tuple[np.ndarray, np.ndarray, int]:
    """Log-odds and status of each image of the manifest, and how many were answered more than once."""
    finite = known["score"].to_numpy(dtype=float)
    finite = finite[np.isfinite(finite)]
    inside = bool(len(finite)) and finite.min() >= -ROUNDING and finite.max() <= 1 + ROUNDING
    if kind is None and len(finite) and not inside and finite.min() >= 0:
        raise InputError(
            f"{origin}: scores from {finite.min():g} to {finite.max():g}, expected probabilities from 0 to 1"
            " (percent divided by 100), or --output-kind logit for log-odds, none of which is negative here"
        )
    kind = kind or ("probability" if inside else "logit")
    if kind not in KINDS:
        raise InputError(f"output kind: {kind!r} is unknown, expected probability or logit")
    if kind == "probability" and len(finite) and not inside:
        raise InputError(
            f"{origin}: scores from {finite.min():g} to {finite.max():g}, expected probabilities"
        )
    groups = known.groupby("id")["score"]
    counts, lowest, highest = groups.size(), groups.min(), groups.max()
    scores, status = np.full(len(manifest), np.nan), np.full(len(manifest), "missing", dtype=object)
    for place, name in enumerate(manifest["id"]):
        if name not in counts.index:
            continue
        if np.isnan(lowest[name]):
            status[place] = "refused"
        elif lowest[name] != highest[name]:
            status[place] = "contradictory"
        else:
            scores[place], status[place] = lowest[name], "scored"
    scored = status == "scored"
    if scored.any():
        scores[scored] = log_odds_of(scores[scored][:, None], (0,), kind, str(origin))[:, 0]
    if (scores[scored] > LARGEST_LOG_ODDS).sum() > 1:
        raise InputError(
            f"{origin}: log-odds of up to {np.nanmax(scores):g}; above {LARGEST_LOG_ODDS:g} all probabilities"
            " are 1 in double precision, and images would be tied: expected all divided by one number"
        )
    return scores, status, int((counts > 1).sum())


def _notes(table: pd.DataFrame, unknown: int, repeated: int) -> tuple[str, ...]:
    counts = table["status"].value_counts()
    remarks = []
    if unanswered := int(counts.get("missing", 0)):
        remarks.append(f"{unanswered} of {counted(len(table), 'image')} came back without an answer")
    if refused := int(counts.get("refused", 0)):
        remarks.append(f"{refused} of {counted(len(table), 'image')} came back without a score")
    if repeated:
        contradictory = int(counts.get("contradictory", 0))
        differing = f"{contradictory} of them with different scores, which are left out"
        remarks.append(
            f"{counted(repeated, 'image')} came back more than once, "
            + (differing if contradictory else "each time with the same score, which counts once")
        )
    if unknown:
        remarks.append(f"{counted(unknown, 'answer')} to images that were not sent")
    return tuple(remarks)


def _returned(table: pd.DataFrame, cases: pd.DataFrame, notes: tuple[str, ...]) -> Returned:
    order = cases["case_id"].astype(str)
    states = list(dict.fromkeys(zip(table["confounder"], table["dose"].astype(float), strict=True)))
    confounded, rows = {}, []
    clean = np.full(len(cases), np.nan)
    for confounder, dose in sorted(states, key=lambda state: (state[0] != CLEAN, *state)):
        members = table[(table["confounder"] == confounder) & (table["dose"] == dose)]
        scores = members.set_index("case_id")["log_odds"].reindex(order).to_numpy(dtype=float)
        if confounder == CLEAN:
            clean = scores
        else:
            confounded[confounder, dose] = scores
        counts = members["status"].value_counts()
        rows.append(
            {"confounder": confounder, "dose": dose, "sent": len(members)}
            | {name: int(counts.get(name, 0)) for name in ("scored", "refused", "missing", "contradictory")}
        )
    return Returned(cases, clean, confounded, pd.DataFrame(rows), notes)
