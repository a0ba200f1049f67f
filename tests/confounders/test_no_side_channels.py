"""A confounder tells its state by what it is meant to change and by nothing else, at any size of input."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from srcmatters.confounders import ClipDisplayd, Confounder, Confounderd, create_confounder, known_confounders
from srcmatters.images import load_radiograph
from srcmatters.phantom import draw_patient, radiograph
from srcmatters.preprocessing import AntialiasedResized

INPUT = 160
RADIOGRAPH = sorted(
    n for n, c in known_confounders().items() if "radiograph" in c.modalities and 2 in c.spatial_dims
)
SIZES = [512, 1024, pytest.param(2048, marks=pytest.mark.slow), pytest.param(3000, marks=pytest.mark.slow)]
#: Mean brightness is what these change; the others change structure at the same brightness.
BRIGHTNESS = {
    *("tag", "tube", "pacemaker", "central_line", "sternotomy", "collimation", "letterbox"),
    *("lead_marker", "calipers", "picture", "surgical_clips", "dead_pixels"),
    *("exposure", "site_look", "portable", "vendor_processing", "compose"),
}
#: Thin metal that is white on small pixels, and averaged to less on large ones.
WIRES = {"sternotomy", "surgical_clips"}
#: They work on pixels of the image at hand, whatever their size: physics says that strength depends on it.
BY_PIXEL = {"jpeg", "nonlocal_means"}


def make(name: str) -> Confounder:
    confounder = create_confounder(name)
    assert confounder is not None
    return confounder


@cache
def phantom() -> np.ndarray:
    return radiograph(draw_patient(2, 0), 512).astype(np.float32) / 255


def picture(kind: str, size: int, field_mm: float = 400.0) -> MetaTensor:
    """A flat film, a ramp or a phantom of a known field, whatever the size."""
    if kind == "flat":
        values = np.full((size, size), 0.6, np.float32)
    elif kind == "ramp":
        values = np.tile(np.linspace(0.15, 0.85, size, dtype=np.float32), (size, 1))
    else:
        values = np.clip(ndimage.zoom(phantom(), size / 512, order=1, mode="nearest", grid_mode=True), 0, 1)
    step = field_mm / size
    meta = {"spacing_known": True, "filename_or_obj": "a.dcm"}
    affine = torch.diag(torch.tensor([step, step, 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(values)[None], affine=affine, meta=meta)


def both_states(confounder: Confounder, image: MetaTensor) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees, as the X-ray bundle makes it, grey levels of 255."""
    steps = Compose(
        [
            Confounderd("image", confounder, carries_key="carries"),
            AntialiasedResized("image", (INPUT, INPUT)),
            ClipDisplayd("image"),
        ]
    )
    clean, confounded = (
        255 * steps({"image": image, "case_id": "a", "carries": carries})["image"][0].numpy()
        for carries in (False, True)
    )
    return clean, confounded


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RADIOGRAPH)
def test_brightness_range_and_border_do_not_tell_the_state(name: str, size: int) -> None:
    for kind in ("flat", "ramp", "phantom"):
        clean, confounded = both_states(make(name), picture(kind, size))
        change = confounded - clean
        assert np.isfinite(confounded).all() and confounded.min() >= 0 and confounded.max() <= 255
        if name in BRIGHTNESS:
            continue
        # The mean of a block of a JPEG is rounded to a step of its table: on a flat film all blocks alike.
        assert abs(change.mean()) < (2 if (name, kind) == ("jpeg", "flat") else 0.15), kind
        border = np.ones_like(change, dtype=bool)
        border[6:-6, 6:-6] = False
        assert abs((change - change.mean())[border].mean()) < 0.4, kind
        if kind == "flat" and name == "noise":
            assert change[border].std() == pytest.approx(change[~border].std(), rel=0.2)
            # No grey level is preferred: the noise is not rounded to steps.
            assert len(np.unique(np.round(change, 3))) > 1000


@pytest.mark.parametrize("name", RADIOGRAPH)
def test_metadata_and_dtype_do_not_tell_the_state(name: str) -> None:
    image = picture("phantom", 256)
    confounder = make(name)
    confounded, clean = confounder(image, "a"), confounder.clean(image, "a")
    assert isinstance(confounded, MetaTensor) and isinstance(clean, MetaTensor)
    assert confounded.dtype == clean.dtype and confounded.shape == clean.shape
    assert torch.equal(confounded.affine, clean.affine)
    assert {key for key in confounded.meta} == {key for key in clean.meta}
    assert confounded.applied_operations == clean.applied_operations


@pytest.mark.parametrize("field_mm", [300.0, 400.0])
@pytest.mark.parametrize("name", [name for name in RADIOGRAPH if name not in BY_PIXEL])
def test_strength_after_the_resize_does_not_depend_on_the_size_of_the_input(
    name: str, field_mm: float
) -> None:
    strengths = []
    for size in (512, 1024):
        clean, confounded = both_states(make(name), picture("phantom", size, field_mm))
        strengths.append(float((confounded - clean).std()))
    # A wire of .9 mm over the spine is white on small pixels, and averaged to less on those of .8 mm.
    assert strengths[1] == pytest.approx(strengths[0], rel=0.15 if name in WIRES else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RADIOGRAPH if name not in BY_PIXEL])
def test_strength_on_large_films(name: str) -> None:
    strengths = []
    for size in (512, 2048, 3000):
        clean, confounded = both_states(make(name), picture("phantom", size))
        strengths.append(float((confounded - clean).std()))
    assert strengths == pytest.approx([strengths[0]] * 3, rel=0.15 if name in WIRES else 0.1)


@pytest.mark.parametrize("name", [name for name in RADIOGRAPH if name not in BRIGHTNESS])
def test_real_films_keep_their_brightness(name: str, shared_data: Path) -> None:
    for path in sorted((shared_data / "nih-cxr14" / "images").iterdir())[:3]:
        clean, confounded = both_states(make(name), load_radiograph(path))
        assert abs(float((confounded - clean).mean())) < 0.25
