"""The images of an audit: loaded once a case, in the project's own form, in every state."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from monai.transforms import MapTransform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from srcmatters.audit.contract import InputContract
from srcmatters.audit.doses import Dosed
from srcmatters.audit.regions.masks import disease_column, region_of
from srcmatters.confounders import Confounderd
from srcmatters.errors import find_input_error
from srcmatters.images import LoadCTd, LoadRadiographd, file_digest
from srcmatters.preprocessing.both_states import positions
from srcmatters.preprocessing.confounder_placement import confounder_place

_HU = (-1024.0, 1024.0)  # what becomes 0..1 where a CT is looked at as a picture


@dataclass(frozen=True)
class Refused:
    """A case or a state without an image, and why, in one line."""

    reason: str


class CaseImages:
    """The images of a case table, and what a model gets of each.

    Args:
        cases: case table; ``image`` holds absolute paths.
        modality: "radiograph" or "ct".
        unit: of CT, "HU" or "display".
        slab_mm: of CT, what is read around a case along z; None: the whole scan.
        body_part: what the header of a DICOM file must name; None: not checked.
        gaps: see :func:`srcmatters.images.load_ct`.
    """

    def __init__(
        self,
        cases: pd.DataFrame,
        modality: str = "radiograph",
        unit: str = "HU",
        slab_mm: float | None = None,
        body_part: str | None = None,
        gaps: str = "fail",
    ) -> None:
        self.cases = cases.reset_index(drop=True)
        self.modality = modality
        self.unit = unit
        self.how_to_read = (modality, unit, slab_mm, body_part, gaps)
        self._paths: list[str] = self.cases["image"].tolist()
        self._names: list[str] = self.cases["case_id"].tolist()
        self._positions = positions(self.cases)
        self._load: MapTransform = (
            LoadCTd(keys="image", unit=unit, slab_mm=slab_mm, body_part=body_part, gaps=gaps)
            if modality == "ct"
            else LoadRadiographd(keys="image", modality="radiograph", body_part=body_part)
        )
        self._load_mask: MapTransform = (
            LoadCTd(keys="image", unit="display", slab_mm=slab_mm, gaps=gaps)
            if modality == "ct"
            else LoadRadiographd(keys="image", modality="radiograph")
        )

    def like(self, cases: pd.DataFrame) -> CaseImages:
        """The images of another case table, read in the same way."""
        return CaseImages(cases, *self.how_to_read)

    def __len__(self) -> int:
        return len(self._paths)

    def native(self, position: int) -> dict[Hashable, Any]:
        """A case as a dictionary: image in the project's own form, case_id, and x_mm, y_mm, z_mm if known.

        Raises:
            InputError: the file cannot be read; the line names it.
        """
        return dict(self._load({**self.described(position), "image": self._paths[position]}))

    def grey(self, position: int) -> Tensor:
        """Image (C, H, W[, D]) of a case in [0, 1], as :meth:`native`; HU of -1024..1024 become 0..1."""
        image = torch.as_tensor(self.native(position)["image"]).as_subclass(Tensor).float()
        if self.modality == "ct" and self.unit == "HU":
            image = (image - _HU[0]) / (_HU[1] - _HU[0])
        return image.clamp(0, 1)

    def region(
        self, position: int, image: Tensor | None = None, kind: str | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Native image (H, W[, D]) of a case, and where the disease is in it; None where nothing says it.

        Args:
            position: of the case.
            image: its native image if it is at hand.
            kind: "mask", "lungs_mask", "box" or "nodule"; None: how the case table says where the disease is.

        Raises:
            InputError: the image or its mask cannot be read, or they differ in size.
        """
        native = self.native(position)["image"] if image is None else image
        plane = torch.as_tensor(native).as_subclass(Tensor)[0].numpy()
        kind = kind or disease_column(self.cases)
        if kind is None:
            return plane, None
        return plane, region_of(
            native, self.described(position), self.cases.iloc[position], kind, self._load_mask
        )

    def described(self, position: int) -> dict[Hashable, Any]:
        """case_id, and x_mm, y_mm and z_mm if known."""
        place = cast(dict[Hashable, Any], self._positions[position])
        return {"case_id": self._names[position], **place}

    def confounded(
        self, case: Mapping[Hashable, Any], contract: InputContract, confounder: Dosed
    ) -> dict[Hashable, Any]:
        """A case whose image carries a confounder of the whole radiograph or scan."""
        put = Confounderd(keys="image", confounder=confounder.confounder, window=contract.window)
        return put(case)

    def digest(self, position: int) -> str:
        """SHA-256 of the file of a case."""
        return file_digest(self._paths[position])

    def place(self, confounder: Dosed) -> str:
        """Where a confounder acts: "native" (radiographs), or "scan", "windowed" or "patch" of CT."""
        if self.modality != "ct":
            return "native"
        return confounder_place(confounder.confounder, self.unit)

    def model_input(
        self, case: Mapping[Hashable, Any], contract: InputContract, confounder: Dosed | None
    ) -> Tensor:
        """What the model gets of a case in a state, without a batch dimension.

        Raises:
            InputError: the confounder refuses the image.
        """
        if confounder is None:
            return contract.model_input(case["image"], case)
        place = self.place(confounder)
        if place in ("native", "scan"):
            changed = self.confounded(case, contract, confounder)
            return contract.model_input(changed["image"], changed)
        put = Confounderd(keys="image", confounder=confounder.confounder)

        def change(image: Tensor) -> Tensor:
            return put({"image": image, "case_id": case["case_id"]})["image"]

        return contract.model_input(case["image"], case, **{place: change})


class _States(Dataset[Any]):
    """An item is (inputs by state, digest), or :class:`Refused` for the whole case."""

    def __init__(
        self,
        images: CaseImages,
        rows: Sequence[int],
        contract: InputContract,
        states: Sequence[Dosed | None],
    ) -> None:
        self.images, self.rows, self.contract, self.states = images, list(rows), contract, list(states)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[list[Tensor | Refused], str] | Refused:
        position = self.rows[index]
        try:
            case, digest = self.images.native(position), self.images.digest(position)
        except OSError as error:
            return Refused(f"{self.images.cases['image'][position]}: cannot be read ({error.strerror})")
        except Exception as error:
            return _refusal(error)
        return [self._state(case, state) for state in self.states], digest

    def _state(self, case: Mapping[Hashable, Any], state: Dosed | None) -> Tensor | Refused:
        try:
            return self.images.model_input(case, self.contract, state).contiguous()
        except Exception as error:
            return _refusal(error)


def _refusal(error: Exception) -> Refused:
    mistake = find_input_error(error)
    if mistake is None:
        raise error
    return Refused(str(mistake))


def inputs_of_states(
    images: CaseImages,
    rows: Sequence[int],
    contract: InputContract,
    states: Sequence[Dosed | None],
    num_workers: int = 0,
) -> Iterator[tuple[list[Tensor | Refused], str] | Refused]:
    """Every case in every state, decoded once, in order.

    Args:
        images: of the audit.
        rows: case positions.
        contract: of the model.
        states: confounders at doses; None is the clean state.
        num_workers: processes that decode and confound; 0: this one.
    """
    # Items are handed over whole; a generator of its own leaves the global random state alone.
    yield from DataLoader(
        _States(images, rows, contract, states),
        batch_size=None,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
