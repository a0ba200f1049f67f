"""audit.html: one page that needs no network, the verdicts first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch

from srcmatters import numbers
from srcmatters.audit.audit_run import all_checks
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import Finding
from srcmatters.audit.figures import dose_figure, mixture_figure, verdict_figure
from srcmatters.audit.result import Audit, OutputAudit, Question
from srcmatters.confounders import create_confounder
from srcmatters.errors import InputError
from srcmatters.evaluation.ladder import Rung
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.files import write_text
from srcmatters.numbers import interval, number, p_value
from srcmatters.phantom import draw_patient, radiograph
from srcmatters.reports.example_images import example_of
from srcmatters.reports.example_record import Example
from srcmatters.reports.inline_svg import Picture, legend_colours
from srcmatters.reports.ladder import ladder_figure
from srcmatters.reports.provenance import versions, written_on
from srcmatters.reports.study_tables import Table

PAGE, PDF = "audit.html", "audit.pdf"
_FILTERS = ("number", "signed", "interval", "p_value", "share", "listed", "counted")
_PHANTOM = 512


def write_page(
    audit: Audit,
    folder: Path,
    questions: Sequence[Question],
    images: CaseImages | None = None,
) -> Path:
    """Write audit.html.

    Args:
        audit: to show.
        folder: where.
        questions: the confounders, for their pictures.
        images: of patients, to show one of them; None: a synthetic chest stands for them.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        write_text(folder / PAGE, render_page(audit, questions, images))
    except OSError as error:
        raise InputError(f"--out: {folder} cannot be written ({error.strerror})") from error
    return folder / PAGE


def render_page(audit: Audit, questions: Sequence[Question], images: CaseImages | None = None) -> str:
    """The page as text; arguments as of :func:`write_page`."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("srcmatters.audit"), jinja2.PackageLoader("srcmatters.reports")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update({name: getattr(numbers, name) for name in _FILTERS})
    examples, without = _examples(questions, images)
    return environment.get_template("audit.html.j2").render(
        audit=audit,
        date=written_on(),
        versions=versions(),
        sections=[_section(one, place, audit) for place, one in enumerate(audit.outputs)],
        contract=_contract(audit),
        sweep=_sweep(audit),
        refusals=_refusals(audit),
        examples=examples,
        without_example=without,
        patients_shown=images is not None,
        difference_colours=legend_colours(),
        checks=[
            (check.title, check.question, (check.__doc__ or "").split("\n\n")[0]) for check in all_checks()
        ],
        margin=audit.plan.margin,
        confidence=audit.plan.confidence,
    )


def _section(audited: OutputAudit, place: int, audit: Audit) -> dict[str, Any]:
    """What the page shows of one output."""
    by_check: dict[str, list[Finding]] = {}
    for one in audited.findings:
        by_check.setdefault(one.check, []).append(one)
    effects = {one.subject: one for one in by_check.get("effect", ())}
    curves = []
    for row, verdict in enumerate(audited.verdicts):
        effect, pictures = effects.get(verdict.subject), []
        if "mixture_curve" in verdict.details:
            key = f"o{place}mix{row}"
            pictures.append(mixture_figure(verdict.details["mixture_curve"], verdict.subject, key))
        if effect is not None and len(effect.details.get("doses", ())) > 1:
            pictures.append(dose_figure(effect.details["doses"], verdict.subject, f"o{place}dose{row}"))
        curves.append((verdict, effect, pictures, _dose_table(effect)))
    others = [
        (
            check.title,
            check.question,
            by_check[check.code],
            check.table(by_check[check.code]),
            _ladder_picture(by_check[check.code], f"o{place}ladder"),
        )
        for check in all_checks()
        if check.code in by_check and check.code not in ("sensitivity", "effect", "clean_performance")
    ]
    return {
        "audited": audited,
        "clean": by_check.get("clean_performance", [None])[0],
        "headline": headline(audited),
        "glance": verdict_figure(audited.verdicts, audit.plan.margin, f"o{place}glance"),
        "curves": curves,
        "others": others,
    }


def _ladder_picture(findings: Sequence[Finding], key: str) -> Picture | None:
    rungs = next((one.details["rungs"] for one in findings if "rungs" in one.details), None)
    return None if rungs is None else ladder_figure([Rung(**rung) for rung in rungs], key)


def headline(audited: OutputAudit) -> str:
    """The answer in one sentence."""
    names = {
        outcome: [one.subject for one in audited.verdicts if one.outcome is outcome] for outcome in Outcome
    }
    if names[Outcome.LEANS]:
        worst = numbers.listed(names[Outcome.LEANS])
        return f"The score depends on {worst}: reversing who carries it costs more AUC than the margin."
    if names[Outcome.NOT_RANKED]:
        return "The model is not shown to know the target on these images, so what it reads cannot be judged."
    if names[Outcome.INCONCLUSIVE]:
        return f"Not decided for {numbers.listed(names[Outcome.INCONCLUSIVE])}; nothing is shown to lean."
    if names[Outcome.WITHIN_MARGIN]:
        return (
            f"No confounder of the {len(audited.verdicts)} that were tested costs more AUC than the margin."
        )
    return "Nothing could be tested."


def _dose_table(effect: Finding | None) -> Table | None:
    if effect is None or not effect.details.get("doses"):
        return None
    rows = [
        [
            f"× {_dose(row['dose'])}" + (f" ({row['parameters']})" if row["parameters"] else ""),
            *(
                interval(row[name]["value"], row[name]["low"], row[name]["high"])
                for name in ("effect", "superiority", "probability_effect", "flips", "loss_under_reversal")
            ),
        ]
        for row in effect.details["doses"]
    ]
    columns = ("dose", "log-odds", "P(higher)", "probability", "flips", "loss under reversal")
    missing = "; ".join(f"× {dose}: {why}" for dose, why in effect.details["missing_doses"].items())
    return Table(f"{effect.subject}: effect by dose", columns, [("", rows)], note=missing)


def _dose(dose: float) -> str:
    return "⅓" if np.isclose(dose, 1 / 3) else f"{dose:.3g}"


def _contract(audit: Audit) -> Table | None:
    if not audit.contract:
        return None
    rows = [[name, str(one["value"]), str(one["origin"])] for name, one in audit.contract.items()]
    return Table("What the model was taken to expect", ("field", "value", "from"), [("", rows)], labels=3)


def _sweep(audit: Audit) -> Table | None:
    if audit.sweep is None or audit.sweep.empty:
        return None
    conventions = audit.sweep.to_dict("records")
    rows = [
        [
            row["convention"],
            row["result"],
            number(row["auc"]),
            numbers.NONE
            if np.isnan(row["p_value"])
            else interval(row["difference"], row["low"], row["high"]),
            p_value(row["p_adjusted"]),
        ]
        for row in conventions
    ]
    columns = ("convention", "result", "clean AUC", "difference", "p (Holm)")
    reasons = " ".join(f"{row['convention']}: {row['reason']}." for row in conventions if row["reason"])
    return Table("Input conventions compared", columns, [("", rows)], labels=2, note=reasons)


def _refusals(audit: Audit) -> Table | None:
    rows = [[state, kind[:160], str(count)] for state, kind, count in audit.refusals]
    if not rows:
        return None
    return Table("Excluded images", ("state", "reason", "count"), [("", rows)], labels=2)


def _examples(questions: Sequence[Question], images: CaseImages | None) -> tuple[list[Example], list[str]]:
    """Each confounder on a synthetic chest, or on one of the audited images."""
    if images is not None:
        image, title, case_id = images.native(0)["image"], "an audited image", str(images.cases["case_id"][0])
        chest = image.as_tensor()
    else:
        chest = torch.from_numpy(radiograph(draw_patient(1, 0, 0.3), _PHANTOM)).float()[None] / 255
        title, case_id = "synthetic chest", "phantom"
    examples, without = [], []
    for question in questions:
        try:
            confounder = create_confounder(question.name, **dict(question.args))
            assert confounder is not None
            changed = confounder(chest, case_id)
            examples.append(example_of(title, question.title, chest, changed.as_subclass(torch.Tensor)))
        except InputError as error:
            without.append(f"{question.title} cannot be shown here ({error}).")
    return examples, without
