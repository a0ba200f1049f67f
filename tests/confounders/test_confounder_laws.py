"""Laws that a slip in an index, an axis or an edge breaks: transposition, margins, tables, streams."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from srcmatters.case_stream import case_stream
from srcmatters.confounders import (
    CentralLine,
    Confounder,
    Confounderd,
    KernelChange,
    LowPassDenoising,
    Pacemaker,
    SliceThickness,
    Sternotomy,
    SurgicalClips,
    Tube,
    XrayQuantumNoise,
    create_confounder,
    known_confounders,
)
from srcmatters.confounders.devices import Device
from srcmatters.confounders.slice_thickness import thick_slices
from srcmatters.errors import InputError

RANDOM = torch.Generator().manual_seed(11)
TEXTURE = torch.rand(1, 1, 72, 60, generator=RANDOM)


def make(name: str, **parameters: object) -> Confounder:
    confounder = create_confounder(name, **parameters)
    assert confounder is not None
    return confounder


@pytest.mark.parametrize(
    "name",
    ["kernel", "denoise", "exposure", "slice_thickness", "pixelation", "vendor_processing", "site_look"],
)
def test_transposed_image_and_spacing_give_the_transposed_result(name: str) -> None:
    confounder = make(name)
    image, spacing = TEXTURE, (0.3, 0.9)
    if confounder.spatial_dims == (3,):
        image, spacing = TEXTURE.unsqueeze(-1).repeat(1, 1, 1, 1, 6) * torch.arange(1.0, 7), (0.3, 0.9, 1.0)  # type: ignore[assignment]
    straight = confounder.batch(image, ["a"], spacing)
    turned = confounder.batch(image.transpose(2, 3), ["a"], (spacing[1], spacing[0], *spacing[2:]))
    assert torch.allclose(straight, turned.transpose(2, 3), atol=1e-5)
    if name in ("kernel", "denoise"):  # the axes do differ: with one spacing for both this would not hold
        wrong = confounder.batch(image.transpose(2, 3), ["a"], spacing)
        assert not torch.allclose(straight, wrong.transpose(2, 3), atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_each_axis_is_filtered_by_its_own_spacing(axis: int) -> None:
    """A wave of 0.4 lp/mm along one axis of pixels of 0.25 x 0.5 mm passes as the formula says."""
    spacing = (0.25, 0.5)
    wave = np.cos(2 * np.pi * 0.4 * spacing[axis] * np.arange(200))
    image = torch.from_numpy(np.broadcast_to(wave[:, None] if axis == 0 else wave, (200, 200)).copy())[
        None, None
    ]
    inside = (..., slice(50, 150), slice(50, 150))
    for confounder, passes in (
        (KernelChange("B70f", "B30f"), 0.28),
        (LowPassDenoising(cutoff_lp_per_mm=0.4), 0.5),
    ):
        result = confounder.batch(image, ["a"], spacing)
        assert float(result[inside].std() / image[inside].std()) == pytest.approx(passes, abs=0.01)


def test_noise_of_transposed_pixels_is_as_strong() -> None:
    image = torch.full((1, 1, 300, 300), 0.5)
    noise = XrayQuantumNoise()
    strength = [
        float((noise.batch(image, ["a"], spacing) - image).std()) for spacing in ((0.1, 0.4), (0.4, 0.1))
    ]
    assert strength[0] == pytest.approx(strength[1], rel=1e-3)
    square = float((noise.batch(image, ["a"], (0.2, 0.2)) - image).std())
    assert strength[0] == pytest.approx(square, rel=1e-3)  # the area counts


@pytest.mark.parametrize(
    "device",
    [
        Tube(jitter=0),
        Tube("ECG leads", jitter=0),
        Pacemaker(jitter=0),
        CentralLine(jitter=0),
        CentralLine(port=True, jitter=0),
        Sternotomy(jitter=0),
        SurgicalClips(jitter=0),
    ],
)
def test_a_device_has_its_size_in_mm_along_both_axes(device: Device) -> None:
    """The shadow's area in mm^2, and its mass, do not depend on the shape of the pixels."""
    masses = []
    for shape, spacing in (((430, 430), (1.0, 1.0)), ((430, 860), (1.0, 0.5)), ((215, 430), (2.0, 1.0))):
        known = {**device.parameters(shape, spacing), **device.draw(np.random.default_rng(0))}
        shadow = device.shadow(shape, known).on_image()
        assert shadow.shape == shape
        masses.append(float(shadow.sum()) * spacing[0] * spacing[1])
    assert masses[1] == pytest.approx(masses[0], rel=0.03) and masses[2] == pytest.approx(masses[0], rel=0.03)


def test_a_can_of_46_by_50_mm_is_that_on_any_film() -> None:
    device = Pacemaker(jitter=0)
    drawn = {**device.draw(np.random.default_rng(0)), "degrees": 0.0}
    for spacing in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5)):
        shape = (round(250 / spacing[0]), round(250 / spacing[1]))
        shadow = device.shadow(shape, {**drawn, "spacing_mm": spacing}).on_image()
        solid = shadow > 0.8  # the case; header and leads are less dense or thin
        rows, columns = solid.float().sum(0).max() * spacing[0], solid.float().sum(1).max() * spacing[1]
        assert float(rows) == pytest.approx(44, abs=5) and float(columns) == pytest.approx(51, abs=5)


def test_a_letter_has_its_size_in_mm() -> None:
    tag = make("tag", height_mm=30.0, corner="upper left")
    sizes = []
    for shape, spacing in (((430, 430), (1.0, 1.0)), ((500, 500), (0.5, 0.5)), ((430, 860), (1.0, 0.5))):
        changed = tag.batch(torch.zeros(1, 1, *shape), ["a"], spacing)[0, 0] > 0.5
        sizes.append((int(changed.any(1).sum()) * spacing[0], int(changed.any(0).sum()) * spacing[1]))
    assert np.allclose(sizes, [sizes[0]] * 3, atol=1.6)
    unknown = tag.batch(torch.zeros(1, 1, 430, 430), ["a"])[0, 0] > 0.5
    assert int(unknown.any(1).sum()) == sizes[0][0]  # 430 mm where the spacing is unknown


def test_thickness_and_increment_are_not_the_same_thing() -> None:
    assert np.allclose(thick_slices(21, 5.0, 2.0, 10.0)[10, 7:14], [0, 0.2, 0.2, 0.2, 0.2, 0.2, 0])
    assert np.allclose(thick_slices(21, 2.0, 5.0, 10.0)[10, 8:13], [0, 0.25, 0.5, 0.25, 0])
    volume = torch.rand(1, 4, 4, 21, generator=RANDOM)
    result = SliceThickness(5, 2, slice_mm=1.0)(volume, "a", (0, 0, 10))
    assert torch.allclose(result[..., 10], volume[..., 8:13].mean(-1), atol=1e-6)


def test_the_same_slice_twice_gets_two_fields_of_published_noise() -> None:
    plane = torch.rand(1, 64, 64, generator=RANDOM)
    volume = torch.stack([plane, plane], dim=-1)
    for noisy in (
        make("noise", protocol="paper")(volume, "a"),
        make("noise", protocol="paper").clean(volume, "a"),
    ):
        assert float((noisy[..., 0] - noisy[..., 1]).std()) * 255 == pytest.approx(2 * 2**0.5, rel=0.1)


@pytest.mark.parametrize("lp_per_mm", [0.02, 0.1])
def test_low_pass_mirrors_far_enough_at_the_edges(lp_per_mm: float) -> None:
    """Against a Fourier transform of the image among its mirror images on all sides."""
    image = TEXTURE[0, 0].double()
    result = LowPassDenoising(cutoff_lp_per_mm=lp_per_mm).batch(image[None, None], ["a"], (1.0, 1.0))[0, 0]
    tiled = np.pad(image.numpy(), 59, mode="reflect")
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in tiled.shape], indexing="ij"))
    filtered = np.fft.ifft2(np.fft.fft2(tiled) * 2.0 ** -((frequency / lp_per_mm) ** 2)).real[59:-59, 59:-59]
    assert np.abs(result.numpy() - filtered).max() < (0.03 if lp_per_mm < 0.05 else 2e-3)


def test_a_table_that_rises_at_its_end_stays_there_beyond_it() -> None:
    flat, rising = ((0.0, 1.0), (1.0, 1.0)), ((0.0, 1.0), (0.1, 0.5), (0.3, 0.8))
    image = torch.randn(1, 128, 128, generator=RANDOM)
    result = KernelChange(flat, rising, pixel_mm=0.5)(image, "a")
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128, 0.5)] * 2, indexing="ij"))
    before, after = (np.abs(np.fft.fft2(part[0].numpy())) for part in (image, result))
    ring = (frequency > 0.6) & (frequency < 0.9)
    assert np.sqrt((after[ring] ** 2).mean() / (before[ring] ** 2).mean()) == pytest.approx(0.8, abs=0.04)


def test_random_streams_tell_the_seed_from_the_case() -> None:
    streams = [case_stream(*key).integers(2**63, size=4).tolist() for key in ((1, "1x", "p"), (11, "x", "p"))]
    assert streams[0] != streams[1]
    purposes = [case_stream(1, *key).integers(2**63, size=4).tolist() for key in (("a", "bc"), ("ab", "c"))]
    assert purposes[0] != purposes[1]


@pytest.mark.parametrize(
    ("value", "carries"),
    [
        (True, True),
        ("True", True),
        ("False", False),
        ("no", False),
        (np.int64(1), True),
        (np.bool_(False), False),
    ],
)
def test_text_that_says_false_is_false(value: object, carries: bool) -> None:
    image = TEXTURE[0]
    result = Confounderd("image", make("exposure"), carries_key="c")(
        {"image": image, "case_id": "a", "c": value}
    )
    assert torch.equal(result["image"], image) != carries


@pytest.mark.parametrize("value", ["maybe", None, 2, float("nan")])
def test_what_is_no_truth_value_is_refused_with_its_case(value: object) -> None:
    with pytest.raises(InputError, match="case 7: c is"):
        Confounderd("image", make("exposure"), carries_key="c")(
            {"image": TEXTURE[0], "case_id": "7", "c": value}
        )


def test_noise_does_not_depend_on_memory_layout_or_dtype() -> None:
    image = torch.rand(1, 1, 40, 56, generator=RANDOM)
    expected = make("noise").batch(image, ["a"])
    transposed = image.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(make("noise").batch(transposed, ["a"]), expected)
    double = make("noise").batch(image.double(), ["a"])
    assert double.dtype == torch.float64 and torch.allclose(double.float(), expected, atol=1e-6)


def test_random_is_what_draws_something() -> None:
    drawn = {name for name in known_confounders() if make(name).is_random}
    assert {"tube", "pacemaker", "collimation", "noise", "low_dose_ct"} <= drawn
    assert not {"tag", "exposure", "denoise", "kernel", "slice_thickness"} & drawn
    assert make("tag", corner="random").is_random and make("slice_thickness", phase="random").is_random


ARGUMENTS = {
    "exposure": st.fixed_dictionaries(
        {
            "centre": st.sampled_from([0.5, 0.45]),
            "width": st.sampled_from([1.0, 0.8]),
            "gamma": st.sampled_from([1.0, 1.5]),
        }
    ),
    "noise": st.fixed_dictionaries({"dose_factor": st.sampled_from([1.0, 0.5, 0.1])}),
    "denoise": st.fixed_dictionaries({"cutoff": st.sampled_from([2.0, 10.0, 29.0, 600.0, 5000.0])}),
    "kernel": st.fixed_dictionaries(
        {"before": st.sampled_from(["B70f", "B30f"]), "after": st.sampled_from(["B70f", "B30f"])}
    ),
    "slice_thickness": st.fixed_dictionaries(
        {
            "thickness_mm": st.sampled_from([0.5, 1.0, 1.5, 4.0]),
            "increment_mm": st.sampled_from([None, 0.5, 1.0, 2.0]),
        }
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_confounder_says_that_it_does_nothing_exactly_where_the_image_stays(
    name: str, data: st.DataObject
) -> None:
    confounder = make(name, **data.draw(ARGUMENTS[name]))
    image, spacing = TEXTURE, (0.7, 0.7)
    if confounder.spatial_dims == (3,):
        image, spacing = TEXTURE[..., :20].unflatten(2, (9, 8)).movedim(2, -1), (0.7, 0.7, 1.0)  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = confounder.batch(image, ["a"], spacing)
    reason = confounder.does_nothing(tuple(image.shape[2:]), spacing)
    assert (reason is not None) == bool((result - image).abs().max() < 4e-3)
