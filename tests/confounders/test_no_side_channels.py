"""A confounder tells its state by what it is meant to change and by nothing else.

Every registered confounder goes through the whole preprocessing of every bundle that takes it. What it is
meant to change besides structure stands in its class (``also_changes``, ``strength_spread``): a new one is
held to these laws by being registered.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from confounder_scenes import (
    CASES,
    SLICE,
    VOLUME,
    XRAY,
    Grid,
    both_states,
    case,
    film,
    made,
    rim,
    scan,
    whole_levels,
)
from monai.data import MetaTensor

from srcmatters.confounders import known_confounders
from srcmatters.confounders.taxonomy import ALSO_CHANGES
from srcmatters.images import load_radiograph

pytestmark = pytest.mark.filterwarnings("ignore:.* changes hardly anything", "ignore:kernel. the header says")

FILM_MM = (300.0, 400.0, 460.0)
SCAN_MM = (390.0, 430.0, 470.0)
#: Of each bundle: inputs of the default tests, and those that take minutes.
SIZES = {XRAY: (512, 1024), SLICE: (512,), VOLUME: (384,)}
LARGE = {XRAY: (2048, 3000), SLICE: (512, 1024, 2048, 3000), VOLUME: (512, 1024)}
#: A slice has no other slices to average with, and non-local means of a CT take seconds: with the large ones.
LONG = {(SLICE, "slice_thickness"), (VOLUME, "slice_thickness")}
LONG |= {(SLICE, "nonlocal_means"), (VOLUME, "nonlocal_means")}
#: Whole scans are projected; a volume is made of such slices and is small.
LONG |= {(SLICE, name) for name in ("low_dose_ct", "metal", "motion")}
SHORT = [pair for pair in CASES if pair not in LONG]
FLAT_NOISE = 2.0  # grey levels, about what a flat scan has in a patch
#: Grey levels of 255 or shares by which a word of ``also_changes`` is told from nothing.
LIMITS = {"brightness": 0.25, "border": 0.6, "clipping": 0.01, "rounding": 0.05, "everywhere": 0.3}


def scene(bundle: str, kind: str, size: int, field_mm: float) -> MetaTensor:
    """A "flat" field, a "ramp" or a "phantom" of ``size`` pixels over ``field_mm``."""
    if bundle == XRAY:
        return film(kind, size, field_mm)
    slices = {SLICE: 1, VOLUME: 5}[bundle]
    fine_mm = 0.5 if bundle == SLICE else 1.0
    return scan(kind, Grid(field_mm / size, 2.5 if slices == 1 else 5.0, size, slices, fine_mm))


def fields(bundle: str, size: int) -> tuple[float, ...]:
    """Three spacings; one of large scans, and of volumes and large films in the default tests."""
    if bundle == XRAY:
        return FILM_MM[:1] if size == SIZES[XRAY][-1] else FILM_MM
    return SCAN_MM[:1] if size > 1024 or size == SIZES[VOLUME][0] else SCAN_MM


@cache
def states(bundle: str, name: str, kind: str, size: int, field_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees, grey levels of 255: all of a film or of a chest, the middle of a flat scan."""
    return both_states(bundle, name, scene(bundle, kind, size, field_mm), whole=kind == "phantom")


def departures(
    name: str, kind: str, clean: np.ndarray, confounded: np.ndarray, air: bool
) -> dict[str, float]:
    """How far each word of ``also_changes`` is from "not at all"; ``air``: there is much of it."""
    change = confounded - clean
    border = rim(change, max(clean.shape[0] // 16, 4))
    # A black or white value is a whole number whatever the rounding.
    inner = [values[(values > 0.01) & (values < 254.99)] for values in (clean, confounded)]
    result = {
        "brightness": abs(float(change.mean())),
        "border": abs(float((change - change.mean())[border].mean())),
        "everywhere": float((np.abs(change) > 1e-3).mean()),
    }
    if kind != "phantom":  # there structure runs into white, or out of it
        result["clipping"] = abs(
            float(np.subtract(*[np.mean((v < 0.01) | (v > 254.99)) for v in (clean, confounded)]))
        )
    if np.ptp(clean) > 1 and not air:  # a flat film has one value, air too
        result["rounding"] = abs(whole_levels(inner[0]) - whole_levels(inner[1]))
    if made(name).miccat.extent != "local":
        del result["everywhere"]
    return result


def allowed(bundle: str, name: str, kind: str, word: str) -> float:
    """The limit of a word in one scene."""
    limit, confounder = LIMITS[word], made(name)
    if word not in ("brightness", "border"):
        return limit
    if confounder.miccat.extent == "local":  # a device is a part of the mean
        return 1.0
    if bundle != XRAY and kind != "flat":  # what moves or is blurred runs into or out of the patch, or white
        return 1.0
    # The mean of a block is rounded, on a flat field all blocks alike.
    return 1.1 if "rounding" in confounder.also_changes else limit


def check_departures(bundle: str, name: str, size: int, fields_mm: tuple[float, ...]) -> None:
    """Nothing departs but what the class says."""
    words = made(name).also_changes
    for kind in ("flat", "ramp", "phantom"):
        air = bundle != XRAY and kind == "phantom"
        for field_mm in fields_mm:
            clean, confounded = states(bundle, name, kind, size, field_mm)
            assert np.isfinite(confounded).all() and confounded.min() >= 0 and confounded.max() <= 255
            for word, value in departures(name, kind, clean, confounded, air).items():
                assert word in words or value < allowed(bundle, name, kind, word), (word, kind, field_mm)
            check_evenness(kind, clean, confounded, words)


def check_evenness(kind: str, clean: np.ndarray, confounded: np.ndarray, words: frozenset[str]) -> None:
    """On a flat field the border is changed as much as the middle."""
    change = confounded - clean
    if kind == "flat" and not words & {"border", "everywhere", "brightness"} and change.std() > 0.3:
        border = rim(change, clean.shape[0] // 8)
        if (np.abs(change) > 1e-3).mean() > 0.3:
            assert change[border].std() == pytest.approx(change[~border].std(), rel=0.35)


def check_strength(bundle: str, name: str, sizes: tuple[int, ...]) -> None:
    """It varies with pixels, and on CT with the field of view, by no more than the class says."""
    spread = made(name).strength_spread
    if spread is None:
        return
    for kind in ("flat", "phantom"):
        measured: dict[float, list[float]] = {}
        for size in sizes:
            for field_mm in fields(bundle, size):
                clean, confounded = strength_states(bundle, name, kind, size, field_mm)
                # The phantom of a film is as wide as the film: devices in mm are smaller on it.
                group = field_mm if bundle == XRAY else 0.0
                strength = float((confounded - clean).std())
                if bundle != XRAY and kind == "flat" and made(name).miccat.extent != "local":
                    # Of coarse pixels a patch keeps less noise, and a change of noise is smaller with it; a
                    # letter or a device is as bright as ever.
                    strength /= float(clean.std()) / FLAT_NOISE
                measured.setdefault(group, []).append(strength)
        for strengths in measured.values():
            if max(strengths) > 0.5:
                assert strengths == pytest.approx([float(np.mean(strengths))] * len(strengths), rel=spread), (
                    kind
                )


@cache
def strength_states(
    bundle: str, name: str, kind: str, size: int, field_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`states`, of a CT the patch with the nodule, whose mm do not depend on the field."""
    if bundle == XRAY or kind == "flat":
        return states(bundle, name, kind, size, field_mm)
    return both_states(bundle, name, scene(bundle, kind, size, field_mm), case())


@pytest.mark.parametrize(("bundle", "name"), SHORT)
def test_nothing_but_what_the_class_says_tells_the_state(bundle: str, name: str) -> None:
    for number, size in enumerate(SIZES[bundle]):
        three = fields(bundle, size)
        check_departures(bundle, name, size, three if number == 0 else three[:1])


@pytest.mark.parametrize(("bundle", "name"), SHORT)
def test_strength_does_not_depend_on_pixels_and_field_of_view(bundle: str, name: str) -> None:
    check_strength(bundle, name, SIZES[bundle])


@pytest.mark.slow
@pytest.mark.parametrize("size", [512, 1024, 2048, 3000])
@pytest.mark.parametrize(("bundle", "name"), CASES)
def test_large_inputs_do_not_tell_the_state(bundle: str, name: str, size: int) -> None:
    if size in LARGE[bundle]:
        check_departures(bundle, name, size, fields(bundle, size))
        check_strength(bundle, name, (size,) if bundle == VOLUME else (SIZES[bundle][0], size))


@pytest.mark.parametrize("name", sorted(known_confounders()))
def test_what_the_class_says_is_so(name: str) -> None:
    """A word that is not needed would hide a side channel."""
    words = made(name).also_changes
    assert words <= set(ALSO_CHANGES)
    worst = dict.fromkeys(LIMITS, 0.0)
    for bundle, _ in [pair for pair in SHORT if pair[1] == name]:
        for kind in ("flat", "ramp", "phantom"):
            size, air = SIZES[bundle][0], bundle != XRAY and kind == "phantom"
            for field_mm in fields(bundle, size):
                measured = departures(name, kind, *states(bundle, name, kind, size, field_mm), air)
                for word, value in measured.items():
                    worst[word] = max(worst[word], value / allowed(bundle, name, kind, word))
    for word in words:
        assert worst[word] > 0.9, word  # of the smallest input; others, and real films, go beyond it


@pytest.mark.parametrize("name", sorted(name for bundle, name in CASES if bundle == XRAY))
def test_metadata_and_dtype_do_not_tell_the_state(name: str) -> None:
    image = film("phantom", 256)
    confounder = made(name)
    confounded, clean = confounder(image, "a"), confounder.clean(image, "a")
    assert isinstance(confounded, MetaTensor) and isinstance(clean, MetaTensor)
    assert confounded.dtype == clean.dtype and confounded.shape == clean.shape
    assert torch.equal(confounded.affine, clean.affine)
    assert {key for key in confounded.meta} == {key for key in clean.meta}
    assert confounded.applied_operations == clean.applied_operations


@pytest.mark.parametrize(
    "name", [n for b, n in CASES if b == XRAY and "brightness" not in made(n).also_changes]
)
def test_real_films_keep_their_brightness(name: str, shared_data: Path) -> None:
    for path in sorted((shared_data / "nih-cxr14" / "images").iterdir())[:3]:
        clean, confounded = both_states(XRAY, name, load_radiograph(path))
        limit = 1.0 if made(name).miccat.extent == "local" else 0.25
        assert abs(float((confounded - clean).mean())) < limit
