"""What holds for every confounder: the draw belongs to the case, bad input is refused."""

from __future__ import annotations

import copy
import doctest
import importlib
import os
import subprocess
import sys
import warnings
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import srcmatters
from srcmatters.case_stream import case_stream
from srcmatters.confounders import Confounder, Confounderd, create_confounder, known_confounders
from srcmatters.errors import InputError

NAMES = sorted(known_confounders())
SPACING = (0.7, 0.7, 1.25)
CLIPPED_LATER = ("noise", "portable")  # after the resize, by ClipDisplayd

#: What is not at its default, and the spacing that plain tensors and arrays do not tell.
WRITTEN: dict[str, dict[str, object]] = {
    "denoise": {"cutoff": 8.0},
    "tag": {"text": "L"},
    "kernel": {"pixel_mm": 0.7},
    "slice_thickness": {"slice_mm": 1.25},
}


def make(name: str, **parameters) -> Confounder:
    confounder = create_confounder(name, **parameters)
    assert confounder is not None
    return confounder


def image_for(confounder: Confounder, dims: int | None = None, size: int = 64) -> torch.Tensor:
    """A textured body in air, in the unit of the confounder."""
    dims = dims or confounder.spatial_dims[0]
    axis = np.linspace(-1, 1, size)
    body = np.clip(1.2 - np.hypot(axis[:, None], axis[None] * 1.2), 0, 0.8)
    values = np.clip(body + np.random.default_rng(3).normal(0, 0.01, (size, size)), 0, 1)
    if dims == 3:
        values = np.stack([np.roll(values, shift, 0) for shift in range(12)], axis=-1)
    image = torch.from_numpy(values).float().unsqueeze(0)
    return image * 1400 - 1000 if confounder.unit != "display value in [0, 1]" else image


def run(confounder: Confounder, images: torch.Tensor, cases: list[str]) -> torch.Tensor:
    return confounder.batch(images, cases, SPACING[: images.ndim - 2])


@pytest.mark.parametrize("name", NAMES)
def test_each_dimension_keeps_shape_and_dtype_and_leaves_its_input_alone(name: str) -> None:
    confounder = make(name)
    for dims in confounder.spatial_dims:
        image = image_for(confounder, dims).unsqueeze(0)
        before = image.clone()
        for dtype in (torch.float32, torch.float64, torch.float16):
            result = run(confounder, image.to(dtype), ["a"])
            assert result.shape == image.shape and result.dtype == dtype
            assert torch.isfinite(result).all()
        assert torch.equal(image, before)
        assert not torch.equal(run(confounder, image, ["a"]), image)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_gets_the_same_pixels_alone_and_in_any_batch(name: str) -> None:
    confounder = make(name)
    image = image_for(confounder)
    other = image.flip(1)
    alone = run(confounder, image.unsqueeze(0), ["case 7"])[0]
    first = run(confounder, torch.stack([image, other, other]), ["case 7", "x", "y"])[0]
    last = run(make(name), torch.stack([other, other, image]), ["z", "x", "case 7"])[2]
    # LowDoseCT reconstructs a batch in one matrix product, whose order of addition depends on the batch.
    tolerance = 0.05 if name == "low_dose_ct" else 0.0
    assert torch.allclose(alone, first, rtol=0, atol=tolerance)
    assert torch.allclose(alone, last, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_cases_and_seeds_differ_exactly_where_something_is_drawn(name: str) -> None:
    confounder = make(name)
    image = image_for(confounder, size=128).unsqueeze(0)
    here = run(confounder, image, ["case 7"])
    there = run(confounder, image, ["case 8"])
    reseeded = run(make(name, seed=1), image, ["case 7"])
    assert torch.equal(here, there) != confounder.is_random
    assert torch.equal(here, reseeded) != confounder.is_random


def _in_worker(name: str) -> np.ndarray:
    torch.set_num_threads(1)
    confounder = make(name)
    return run(confounder, image_for(confounder).unsqueeze(0), ["case 7"]).numpy()


@pytest.mark.slow
def test_another_process_gets_the_same_pixels() -> None:
    with get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(_in_worker, NAMES)
    for name, pixels in zip(NAMES, elsewhere, strict=True):
        assert np.array_equal(pixels, _in_worker(name)), name


def test_another_process_has_the_same_streams() -> None:
    """All randomness comes from these; a process that draws pixels imports for ten seconds."""
    code = (
        "from srcmatters.case_stream import case_stream\n"
        f"for name in {NAMES}: print(case_stream(3, 'case 7', name).integers(2**63))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    drawn = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert drawn.stdout.split() == [str(case_stream(3, "case 7", name).integers(2**63)) for name in NAMES]


BAD_INPUT = {
    "NaN": (lambda image: image.index_fill(1, torch.tensor([3]), float("nan")), "NaN or infinite"),
    "infinity": (lambda image: image.index_fill(1, torch.tensor([3]), float("-inf")), "NaN or infinite"),
    "integers": (lambda image: image.to(torch.int16), "expected floating point"),
    "four channels": (lambda image: image.repeat(4, *[1] * (image.ndim - 1)), "4 channels, expected 1"),
    "two channels": (lambda image: image.repeat(2, *[1] * (image.ndim - 1)), "2 channels, expected 1"),
    "empty": (lambda image: image[:, :0], "is empty"),
    "one dimension": (
        lambda image: image[(slice(None), slice(None), *[0] * (image.ndim - 2))],
        "channel first",
    ),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_one_clear_line_that_names_the_case(name: str, kind: str) -> None:
    spoil, message = BAD_INPUT[kind]
    confounder = make(name)
    image = spoil(image_for(confounder)).unsqueeze(0)
    with pytest.raises(InputError, match=message) as error:
        run(confounder, image, ["case 7"])
    assert "case 7" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_values_that_the_unit_does_not_have_are_refused(name: str) -> None:
    confounder = make(name)
    image = image_for(confounder).unsqueeze(0)
    if confounder.unit == "any linear unit: HU, display value":
        assert torch.isfinite(run(confounder, image * 100, ["a"])).all()  # documented: linear, no range
        return
    wrong = image * 100 if confounder.unit == "HU" else image * 255
    with pytest.raises(InputError, match=r"values from .* expected"):
        run(confounder, wrong, ["a"])


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_image_gives_finite_values_in_range_or_a_clear_error(name: str, level: float) -> None:
    confounder = make(name)
    image = torch.full_like(image_for(confounder), level).unsqueeze(0)
    if confounder.unit == "HU":
        image = image * 0 - 1000
    result = run(confounder, image, ["a"])
    assert torch.isfinite(result).all()
    if confounder.unit.startswith("display") and name not in CLIPPED_LATER:
        assert result.min() >= 0 and result.max() <= 1
    if name in ("kernel", "slice_thickness", "denoise"):
        assert torch.allclose(result, image, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_three_equal_channels_stay_equal(name: str) -> None:
    confounder = make(name)
    image = image_for(confounder)
    grey = run(confounder, image.unsqueeze(0), ["a"])
    colour = run(confounder, image.repeat(3, *[1] * (image.ndim - 1)).unsqueeze(0), ["a"])
    for channel in range(3):
        assert torch.allclose(colour[:, channel], grey[:, 0], atol=0.05 if name == "low_dose_ct" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_gets_the_pixels_of_a_tensor_and_stays_as_it_was(name: str) -> None:
    confounder = make(name, seed=3, **WRITTEN.get(name, {}))
    image = image_for(confounder)
    array = image.numpy().copy()
    assert torch.equal(torch.as_tensor(confounder(array, "case")), confounder(image, "case"))
    item = Confounderd("image", confounder)({"image": array, "case_id": "case"})["image"]
    assert isinstance(item, MetaTensor)
    assert np.array_equal(array, image.numpy())


@pytest.mark.parametrize("image", ["scan.png", np.array(["a"]), None], ids=["path", "text", "nothing"])
def test_what_is_no_image_is_refused_in_one_line(image: object) -> None:
    with pytest.raises(InputError, match="expected a tensor or a NumPy array") as caught:
        make("tag")(image, "case")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_confounder_prints_as_the_call_that_makes_it_again(name: str) -> None:
    confounder = make(name, seed=3, **WRITTEN.get(name, {}))
    names = {name: getattr(srcmatters.confounders, name) for name in srcmatters.confounders.__all__}
    for one in (confounder, copy.deepcopy(confounder)):
        again = eval(repr(one), names)
        assert repr(again) == repr(confounder)
        image = image_for(confounder)
        assert torch.equal(again(image, "case"), confounder(image, "case"))


def test_a_transform_prints_keys_confounder_and_who_carries_it() -> None:
    transform = Confounderd(["image"], make("pacemaker", seed=7), carries_key="carries")
    expected = "Confounderd(keys=['image'], confounder=Pacemaker(seed=7), carries_key='carries')"
    assert repr(transform) == expected


@pytest.mark.parametrize("name", NAMES)
def test_dictionary_form_confounds_carriers_and_leaves_the_others_clean(name: str) -> None:
    confounder = make(name)
    image = MetaTensor(
        image_for(confounder), affine=torch.diag(torch.tensor([*SPACING, 1.0], dtype=torch.float64))
    )
    transform = Confounderd("image", confounder, carries_key="carries")
    carrier = transform({"image": image, "case_id": "case 7", "carries": True})
    other = transform({"image": image, "case_id": "case 7", "carries": False})
    assert torch.equal(other["image"], image)
    expected = run(confounder, image.as_tensor().unsqueeze(0), ["case 7"])[0]
    assert isinstance(carrier["image"], MetaTensor)
    assert torch.equal(carrier["image"].as_tensor(), expected)


@pytest.mark.parametrize("name", NAMES)
def test_in_place_writes_the_same_pixels_into_the_given_images(name: str) -> None:
    confounder = make(name)
    images = image_for(confounder).repeat(2, *[1] * confounder.spatial_dims[0]).unsqueeze(1)
    for dtype in (torch.float32, torch.float16):
        expected = run(confounder, images.to(dtype), ["a", "b"])
        batch = images.to(dtype, copy=True)
        returned = confounder.batch(batch, ["a", "b"], SPACING[: images.ndim - 2], in_place=True)
        assert returned is batch and torch.equal(batch, expected)


def test_the_spacing_of_a_file_without_one_is_unknown_not_one_millimetre() -> None:
    png = MetaTensor(torch.rand(1, 64, 64), affine=torch.eye(4))
    with pytest.raises(InputError, match="spacing"):
        make("kernel")(png, "a")
    known = MetaTensor(torch.rand(1, 64, 64), affine=torch.diag(torch.tensor([0.7, 0.7, 1, 1])))
    assert make("kernel")(known, "a").std() < known.std()


@pytest.mark.parametrize("spacing", [(0.0, 0.7), (0.7,), (0.7, float("nan")), (-1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="case a: spacing"):
        make("noise").batch(torch.rand(1, 1, 32, 32), ["a"], spacing)


def test_a_wrong_number_of_identifiers_is_refused() -> None:
    with pytest.raises(InputError, match="1 case identifiers for 2 images"):
        make("tag").batch(torch.rand(2, 1, 32, 32), ["a"])


NOTHING = {
    "tag": {"height": 0.01},
    "collimation": {"margin": 0.001},
    "noise": {"dose_factor": 1.0},
    "exposure": {"centre": 0.5, "width": 1.0},
    "denoise": {"cutoff": 500.0},
    "kernel": {"before": "B30f", "after": "B30f"},
    "slice_thickness": {"thickness_mm": 1.0},
}


@pytest.mark.parametrize("name", NOTHING)
def test_parameters_without_effect_warn_and_those_with_effect_do_not(name: str) -> None:
    silent, idle = make(name), make(name, **NOTHING[name])
    image = image_for(silent).unsqueeze(0)
    with pytest.warns(UserWarning, match="changes hardly anything"):
        result = run(idle, image, ["a"])
    if name not in ("tag", "collimation"):  # a smudge of a pixel is left
        assert torch.allclose(result, image, atol=2e-2 * float(image.max() - image.min()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(silent, image, ["a"])


def test_the_published_disc_warns_below_five_hundred_pixels() -> None:
    published = make("denoise", protocol="paper")
    with pytest.warns(UserWarning, match="Nyquist"):
        published(torch.rand(1, 224, 224), "a")


WRONG_PARAMETERS = [
    ("tag", {"height": 0}),
    ("tag", {"position": (1.2, 0)}),
    ("tag", {"text": " "}),
    ("tag", {"corner": "uper left"}),
    ("tag", {"margin": 0.5}),
    ("tag", {"intensity": 2}),
    ("tube", {"kind": "chest drian"}),
    ("tube", {"diameter_mm": 0}),
    ("tag", {"height_mm": 0}),
    ("tube", {"opacity": -1}),
    ("tube", {"jitter": 1}),
    ("pacemaker", {"leads": 3}),
    ("pacemaker", {"position": (0, 2)}),
    ("pacemaker", {"latitude": 0}),
    ("collimation", {"margin": 0.5}),
    ("collimation", {"spread": -1}),
    ("collimation", {"penumbra": 1}),
    ("collimation", {"value": 255}),
    ("noise", {"dose_factor": 0}),
    ("noise", {"dose_factor": 2}),
    ("noise", {"dqe": 1.5}),
    ("noise", {"latitude": 0}),
    ("exposure", {"function": "sigmoidal"}),
    ("exposure", {"width": 0}),
    ("exposure", {"centre": 40}),
    ("denoise", {"cutoff": 0}),
    ("denoise", {"profile": "gausian"}),
    ("denoise", {"order": 0}),
    ("denoise", {"boundary": "zero"}),
    ("denoise", {"published": True}),
    ("denoise", {"cutoff_lp_per_mm": -1}),
    ("denoise", {"field_mm": 0}),
    ("slice_thickness", {"phase": "middle"}),
    ("kernel", {"before": "B31f"}),
    ("kernel", {"after": ((0, 1), (0, 2))}),
    ("kernel", {"max_gain": 0.5}),
    ("kernel", {"pixel_mm": 0}),
    ("kernel", {"after": ((0.2, 0.0),)}),
    ("slice_thickness", {"thickness_mm": 0}),
    ("site_look", {"curve": ((0, 0), (0.5, 0.7), (0.4, 0.8), (1, 1))}),
    ("site_look", {"reference": (0.5, 0.2)}),
    ("site_look", {"strength": 0}),
    ("portable", {"strength": 2}),
    ("portable", {"dose_factor": 0}),
    ("vendor_processing", {"unsharp": -1}),
    ("vendor_processing", {"power": 0}),
    ("vendor_processing", {"bands": 0}),
    ("vendor_processing", {"radius_mm": 0}),
    ("central_line", {"jitter": 1}),
    ("sternotomy", {"wires": 0}),
    ("sternotomy", {"clips": 100}),
    ("lead_marker", {"text": " "}),
    ("lead_marker", {"height_mm": 0}),
    ("lead_marker", {"blur_mm": -1}),
    ("lead_marker", {"corner": "uper left"}),
    ("calipers", {"pairs": 0}),
    ("calipers", {"arm_mm": 0}),
    ("calipers", {"intensity": 255}),
    ("picture", {"path": "absent.png"}),
    ("picture", {"width_mm": 0}),
    ("picture", {"position": (0, 2)}),
    ("picture", {"opacity": 2}),
    ("surgical_clips", {"place": "axila"}),
    ("surgical_clips", {"clips": 0}),
    ("contrast_agent", {"vessels_hu": -1}),
    ("contrast_agent", {"spread": 1}),
    ("contrast_agent", {"default_pixel_mm": 0}),
    ("motion", {"length_mm": 0}),
    ("motion", {"degrees": 270}),
    ("rings", {"rings": 0}),
    ("rings", {"gain": 1}),
    ("rings", {"channel_mm": 0}),
    ("truncated_field", {"share": 2}),
    ("truncated_field", {"extrapolation_mm": 0}),
    ("grid_lines", {"period_mm": 0}),
    ("grid_lines", {"modulation": 1}),
    ("dead_pixels", {"clusters": -1}),
    ("dead_pixels", {"line_mm": 0}),
    ("metal", {"metal": "gold"}),
    ("metal", {"diameter_mm": 0}),
    ("metal", {"photons": 0}),
    ("letterbox", {"rows": 0.9}),
    ("letterbox", {"value": 255}),
    ("jpeg", {"quality": 0}),
    ("pixelation", {"cell_mm": 0}),
    ("nonlocal_means", {"strength": 0}),
    ("nonlocal_means", {"patch": 4}),
    ("nonlocal_means", {"distance": 0}),
    ("compose", {"parts": []}),
    ("compose", {"parts": "tag"}),
    ("slice_thickness", {"increment_mm": -1}),
]


@pytest.mark.parametrize(("name", "parameters"), WRONG_PARAMETERS)
def test_a_wrong_parameter_is_named(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(InputError) as error:
        make(name, **parameters)
    field = next(iter(parameters))
    assert str(error.value).startswith(f"{name}: {field}") and "\n" not in str(error.value)


def test_names_protocols_and_parameters_are_checked_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="'tag'"):
        create_confounder("tga")
    with pytest.raises(InputError, match="'height'"):
        create_confounder("tag", heigth=0.1)
    with pytest.raises(InputError, match="protocol"):
        create_confounder("tag", protocol="papr")  # type: ignore[arg-type]
    assert create_confounder("none") is None


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_the_docstring_runs_and_the_facts_are_stated(name: str) -> None:
    cls = known_confounders()[name]
    module = importlib.import_module(cls.__module__)
    examples = doctest.DocTestFinder(recurse=False).find(cls, name, module=module)
    assert examples and examples[0].examples
    assert doctest.DocTestRunner().run(examples[0]).failed == 0
    for part in ("MICCAT:", "Args:", "Shape:", "Raises:", "Source:"):
        assert part in (cls.__doc__ or ""), part
