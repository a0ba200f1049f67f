"""`srcmatters cohorts audit`: what a case table and its images tell of the label, without any model."""

from __future__ import annotations

from pathlib import Path

import click

RECORD = "cohort_audit.json"


@click.command()
@click.argument("dataset_dir")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("cohort_audit"),
    show_default=True,
    help="Folder of the page and its tables.",
)
@click.option("--modality", type=click.Choice(["radiograph", "ct"]), default="radiograph", show_default=True)
@click.option("--unit", type=click.Choice(["HU", "display"]), default="HU", show_default=True, help="Of CT.")
@click.option("--slab_mm", type=float, help="CT: what is read around a case along z.")
@click.option("--seed", default=0, show_default=True, help="Of folds, permutations and resampling.")
def audit(
    dataset_dir: str, cases: str, out: Path, modality: str, unit: str, slab_mm: float | None, seed: int
) -> None:
    """Audit the case table of DATASET_DIR (or phantom): the ladder of shortcuts, and leaks."""
    import json

    from srcmatters.audit.case_images import CaseImages
    from srcmatters.audit.cohort.cohort_audit import audit_cohort
    from srcmatters.audit.cohort.output import leak_table, sentences, write_cohort_page
    from srcmatters.audit.console import table_lines
    from srcmatters.cohorts import open_cohort
    from srcmatters.errors import InputError
    from srcmatters.files import write_text
    from srcmatters.reports.ladder import ladder_table

    table = open_cohort(dataset_dir, cases, "ct" if modality == "ct" else "xray")
    audited = audit_cohort(CaseImages(table, modality, unit, slab_mm), seed)
    try:
        page = write_cohort_page(audited, out, Path(dataset_dir).name)
        write_text(out / RECORD, json.dumps(audited.as_record(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror})") from error
    for shown in (ladder_table(audited.ladder.rungs), leak_table(audited)):
        for line in table_lines(shown):
            click.echo(line)
    for line in sentences(audited):
        click.echo(line)
    click.echo(f"{page}, {out / RECORD}")
