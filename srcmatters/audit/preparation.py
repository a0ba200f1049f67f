"""What `srcmatters audit prepare` does: every case clean and confounded, to be sent through a product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.contract import InputContract
from srcmatters.audit.doses import Dosed, available_doses
from srcmatters.audit.pairs import PairState, plan_pairs, write_pairs
from srcmatters.audit.questions import parse_questions
from srcmatters.cohorts import open_cohort
from srcmatters.confounders.base import DISPLAY
from srcmatters.errors import InputError

#: What is assumed of a product's images: radiographs of any size, or whole CT series in HU.
_CONTRACTS = {
    "radiograph": InputContract(),
    "ct": InputContract(modality="ct", size=(1, 1, 1), value_range="hu"),
}


def prepare_pairs(options: Mapping[str, Any], write: Callable[[str], None]) -> None:
    """Write the folder of `audit prepare`.

    Args:
        options: of the command line.
        write: prints a line.

    Raises:
        InputError: whatever the user can mend, in one line.
    """
    modality, contract = options["modality"], _CONTRACTS[options["modality"]]
    cases = open_cohort(options["dataset_dir"], options["cases"], "ct" if modality == "ct" else "xray")
    images = CaseImages(cases, modality)
    states = []
    for question in parse_questions(options["confounders"], contract):
        present, _ = available_doses(question.name, question.args, options["seed"])
        # Display values of a CT depend on the window of a product, which nobody knows here.
        fit = [one for one in present if modality != "ct" or one.confounder.unit != DISPLAY]
        states += [PairState(question.title, one.dose, _change(one)) for one in fit]
    plan = plan_pairs(
        cases,
        states,
        modality=modality,
        file_format=options["file_format"],
        max_images=options["max_images"],
        seed=options["seed"],
    )
    places = {name: place for place, name in enumerate(images.cases["case_id"])}
    out = write_pairs(plan, lambda case: _native(images, places[case["case_id"]]), options["out"], write)
    write(f"{out / 'images'}: send these; then: srcmatters audit run SCORES.csv --pairs {out} --out audit")


def _native(images: CaseImages, position: int) -> Tensor:
    """Image of a case; a CT whose values are no HU is refused, since a product reads HU."""
    try:
        return images.native(position)["image"]
    except InputError as error:
        if images.modality != "ct" or not _is_display(images, position):
            raise
        raise InputError(
            f"{images.cases['image'][position]}: a CT in display values (8 bit), expected HU, in which CT is"
            " sent; a model that can be run takes display values: srcmatters audit run MODEL"
        ) from error


def _is_display(images: CaseImages, position: int) -> bool:
    try:
        CaseImages(images.cases, "ct", "display").native(position)
    except InputError:
        return False
    return True


def _change(one: Dosed) -> Callable[[Tensor, str], Tensor]:
    return lambda image, case_id: one.confounder(image, case_id)
