"""Confounders as functions of native images, for checks that put them together with other changes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import Change
from srcmatters.audit.contract import InputContract
from srcmatters.audit.doses import Dosed
from srcmatters.audit.state_scores import State


def image_changes(
    images: CaseImages, contract: InputContract, states: Mapping[State, Dosed]
) -> dict[str, Change]:
    """Each confounder at its default strength; those that act on windowed or cut-out CT are left out.

    Args:
        images: of the audit.
        contract: of the model.
        states: confounders at doses.
    """
    return {
        state.confounder: _change(images, contract, one)
        for state, one in states.items()
        if state.dose == 1.0 and images.place(one) in ("native", "scan")
    }


def _change(images: CaseImages, contract: InputContract, confounder: Dosed) -> Change:
    def apply(image: Tensor, position: int) -> Tensor:
        case = {**images.described(position), "image": image}
        return images.confounded(case, contract, confounder)["image"]

    return Change(apply, confounder.confounder.miccat.extent == "local")
