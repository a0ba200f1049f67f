"""How long the confounders take against the published way of doing each, in memory, at the published sizes.

    OMP_NUM_THREADS=1 python scripts/benchmarks/confounders.py --json confounders.json
    python scripts/benchmarks/confounders.py --device cuda --json confounders-cuda.json

Published: PIL text on each 1024 x 1024 image; scipy's fftpack, shifted spectrum times a disc drawn by PIL, on
each 1024 x 1024 image; numpy's RandomState Poisson on each 512 x 512 image. Ours: the tag in batches of 64,
in place; the others one image at a time. The published ways do not look at the values of an image: ours do
where the figure says "checked" or "default". With a GPU: batches, in images per second and as a share of a
ResNet50 training step.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries below when they are imported

import numpy as np
import torch
from paired import paired_medians
from PIL import Image, ImageDraw, ImageFont
from scipy import fftpack

from srcmatters.confounders import Confounder, create_confounder, known_confounders
from srcmatters.confounders.laterality_marker import FONT


def picture(size: int) -> np.ndarray:
    """A smooth 8-bit image with some texture, (size, size)."""
    axis = np.linspace(0, np.pi, size)
    texture = np.random.default_rng(0).normal(0, 6, (size, size))
    return np.clip(200 * np.outer(np.sin(axis), np.sin(axis)) + 20 + texture, 0, 255).astype(np.uint8)


def published_tag(image: Image.Image) -> Image.Image:
    """The letter R at (200, 200), font size 64; the font is loaded for every image."""
    font = ImageFont.truetype(str(FONT), 64)
    ImageDraw.Draw(image).text((200, 200), "R", font=font, fill="white")
    return image


def published_low_pass(image: np.ndarray, diameter: int = 500) -> np.ndarray:
    """An ideal disc on the shifted spectrum, the result truncated to 8 bit, three channels of it."""
    spectrum = fftpack.fftshift(fftpack.fft2(image))
    rows, columns = image.shape
    disc = Image.new("L", (columns, rows))
    corner, far = (columns - diameter) / 2, (columns + diameter) / 2
    ImageDraw.Draw(disc).ellipse((corner, corner, far, far), fill=1)
    filtered = np.real(fftpack.ifft2(fftpack.ifftshift(np.multiply(spectrum, np.array(disc)))))
    grey = np.maximum(0, np.minimum(filtered, 255)).astype(np.uint8)
    return np.tile(grey[:, :, np.newaxis], 3)


def published_noise(
    image: np.ndarray, quantisation: np.random.RandomState, counting: np.random.RandomState
) -> np.ndarray:
    """Poisson counts of a 1 cm path through a lung window."""
    hu = (image + quantisation.uniform(0, 1, image.shape)) / 255 * 2000 - 1200
    mu = hu * (0.1837 - 0.1662) / 1000 + 0.1837
    counts = counting.poisson(np.exp(-mu) * 1.5e7) / 1.5e7
    noisy = 1000 * (-np.log(np.maximum(counts, 1e-8)) - 0.1837) / (0.1837 - 0.1662)
    return ((np.clip(noisy, -1200, 800) + 1200) / 2000 * 255).astype(np.uint8)


def made(name: str, protocol: str = "corrected", **parameters: object) -> Confounder:
    """The confounder of that name."""
    confounder = create_confounder(name, protocol, **parameters)  # type: ignore[arg-type]
    assert confounder is not None
    return confounder


def cpu_figures(threads: int, repeats: int) -> dict[str, float]:
    """Milliseconds per image and ratios, ours against published."""
    large, small = picture(1024), picture(512)
    image, dose_image = (torch.from_numpy(array).float().div(255)[None, None] for array in (large, small))
    copy, canvas = image.clone(), Image.fromarray(large)
    stack = image.repeat(64, 1, 1, 1)
    ids = [f"case {index}" for index in range(64)]
    font = ImageFont.truetype(str(FONT), 64)
    streams = np.random.RandomState(666), np.random.RandomState(888)
    tag, low_pass, noise = made("tag", "paper"), made("denoise", "paper"), made("noise")
    made_default, paper_noise = made("denoise"), made("noise", "paper")
    groups = {
        "tag": {
            "batch_of_64": lambda: tag.batch(stack, ids, in_place=True, check=False),
            "one_in_place": lambda: tag.batch(copy, ["a"], in_place=True, check=False),
            "one_checked_copy": lambda: tag.batch(image, ["a"]),
            "published": lambda: published_tag(canvas),
            "published_font_kept": lambda: ImageDraw.Draw(canvas).text(
                (200, 200), "R", font=font, fill="white"
            ),
        },
        "low_pass": {
            "paper_mode": lambda: low_pass.batch(image, ["a"], check=False),
            "paper_mode_checked": lambda: low_pass.batch(image, ["a"]),
            "default": lambda: made_default.batch(image, ["a"]),
            "published": lambda: published_low_pass(large),
        },
        "noise": {
            "default": lambda: noise.batch(dose_image, ["a"]),
            "paper_mode": lambda: paper_noise.batch(dose_image, ["a"]),
            "published": lambda: published_noise(small, *streams),
        },
    }
    result: dict[str, float] = {}
    for group, functions in groups.items():
        times = paired_medians(functions, repeats, threads)
        # The batch of 64 is counted per image: PIL and a loader do one.
        share = {"batch_of_64": 64.0}
        published = times["published"]
        for name in functions:
            result[f"{group}_{name}_ms"] = times[name] / share.get(name, 1.0)
        first = next(iter(functions))
        result[f"{group}_ratio"] = times[f"published/{first}"] * share.get(first, 1.0)
        for name in list(functions)[1:]:
            if not name.startswith("published"):
                result[f"{group}_ratio_{name}"] = published / times[name]
    result["tag_ratio_font_kept"] = result["tag_published_font_kept_ms"] / result["tag_batch_of_64_ms"]
    return result


def batch_figures(device: torch.device, size: int, batch: int, repeats: int) -> dict[str, float]:
    """Images (volumes) per second of every confounder on batches that lie on the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    ids = [f"case {index}" for index in range(batch)]
    images = torch.from_numpy(picture(size)).to(device).float().div(255).repeat(batch, 1, 1, 1)
    depth = 32
    result: dict[str, float] = {}
    for name, cls in known_confounders().items():
        spacing: tuple[float, ...] = (0.7, 0.7)
        values, who = images, ids
        if cls.spatial_dims == (3,):
            spacing = (0.7, 0.7, 1.0)
            values = images[: max(batch // 8, 1), ..., None].repeat(1, 1, 1, 1, depth)
            who = ids[: len(values)]
        if cls.unit == "HU":
            values = values * 1400 - 1000
        confounder = made(name)

        apply = partial(confounder.batch, values, who, spacing)
        times = paired_medians({"ours": apply}, repeats, None, synchronise=wait)
        result[f"{name}_ms_per_image"] = times["ours"] / len(values)
        result[f"{name}_images_per_s"] = 1e3 * len(values) / times["ours"]
    return result


def training_step_ms_per_image(device: torch.device, size: int, batch: int, repeats: int) -> float:
    """A ResNet50 training step on images of ``size`` pixels, in ms per image; mixed precision on a GPU."""
    from monai.networks.nets import resnet50

    network = resnet50(spatial_dims=2, n_input_channels=3, num_classes=2, bias_downsample=False).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 2

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    wait = torch.cuda.synchronize if device.type == "cuda" else None
    return paired_medians({"step": step}, repeats, None, synchronise=wait)["step"] / batch


def device_figures(device: torch.device, size: int, batch: int, repeats: int) -> dict[str, float]:
    """Throughput of every confounder and the share of a ResNet50 step at 224 pixels that it costs."""
    result = batch_figures(device, size, batch, repeats)
    step = training_step_ms_per_image(device, min(size, 224), batch, max(repeats // 3, 1))
    result["resnet50_step_ms_per_image"] = step
    for name in known_confounders():
        result[f"{name}_share_of_step"] = result[f"{name}_ms_per_image"] / step
    return result


def ct_dose_figures(threads: int) -> dict[str, float]:
    """Those of the CT dose benchmark next to this file."""
    import ct_dose

    return {f"ct_dose_{name}": value for name, value in ct_dose.figures(threads).items()}


def artefact_figures(threads: int, repeats: int) -> dict[str, float]:
    """Milliseconds per CT slice of 512 x 512, and how many times longer than the dose takes ("delta")."""
    axis = (np.arange(512) - 255.5) * 0.7
    body = np.where(np.hypot(axis[:, None] / 110, axis / 150) < 1, 40.0, -1000.0)
    lungs = np.hypot(axis[:, None] / 65, (np.abs(axis) - 70) / 45) < 1
    grain = np.random.default_rng(0).normal(0, 10, body.shape)
    values = np.rint(np.maximum(np.where(lungs, -850.0, body) + grain, -1024))
    hu = torch.from_numpy(values).float()[None, None]
    names = ("low_dose_ct", "motion", "metal", "rings", "truncated_field", "contrast_agent")
    functions = {name: partial(made(name).batch, hu, ["a"], (0.7, 0.7)) for name in names}
    times = paired_medians(functions, repeats, threads)
    return {f"ct_{name}_ms".replace("/low_dose_ct_ms", "_over_dose"): value for name, value in times.items()}


def main() -> None:
    """Run, print and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu (against the published ways) or cuda (batches)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--size", type=int, default=512, help="pixels of the images in batches")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", action="store_true", help="batches on the CPU, too (slow)")
    parser.add_argument("--without-ct-dose", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: --device cuda: torch finds no CUDA device here")
    figures: dict[str, float] = {}
    if device.type == "cpu":
        figures |= cpu_figures(arguments.threads, arguments.repeats)
        figures |= artefact_figures(arguments.threads, max(arguments.repeats // 4, 3))
        if not arguments.without_ct_dose:
            figures |= ct_dose_figures(arguments.threads)
    if device.type == "cuda" or arguments.batches:
        figures |= device_figures(device, arguments.size, arguments.batch, arguments.repeats)
    for name, value in figures.items():
        print(f"{name:45} {value:12.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
