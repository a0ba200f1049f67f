"""The preview as a picture or as a page that needs nothing but itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from srcmatters.confounders.described_parameters import parameter_descriptions, summary
from srcmatters.confounders.preview import Panel

# Purple to orange is told apart with every common colour blindness; orange is where the image got brighter.
COLOURS = "PuOr_r"
LARGEST = 448  # pixels of an embedded picture

_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f6f6f3;color:#1d1f21;font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.2rem;margin:0}
p{margin:.35rem 0}.quiet{color:#54585c;font-size:.9rem}
article{background:#fff;border:1px solid #dcdcd6;border-radius:10px;padding:1rem;margin:1.2rem 0}
.pictures{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.6rem;margin:.7rem 0}
figure{margin:0}figure img{width:100%;display:block;border-radius:4px;background:#111}
figcaption{font-size:.85rem;color:#3c4043;margin-top:.25rem}
.scale{display:flex;align-items:center;gap:.4rem;font-variant-numeric:tabular-nums}
.bar{flex:1;height:.6rem;border-radius:3px;border:1px solid #ccc}
table{border-collapse:collapse;margin:.6rem 0 0;font-size:.88rem;width:100%}
th,td{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;border-top:1px solid #e8e8e2}
th{font-weight:400;color:#54585c;white-space:nowrap}td{overflow-wrap:anywhere}td:nth-child(2){font-weight:600}
.remark{border-left:4px solid #a35200;background:#fff4e5;padding:.4rem .7rem}
@media(max-width:640px){.pictures{grid-template-columns:1fr 1fr}.pictures figure:first-child{display:none}}
"""


def _pixels(picture: np.ndarray, aspect: float, largest: int = LARGEST) -> Image.Image:
    """8-bit picture with square pixels, at most ``largest`` wide or high; small ones are enlarged."""
    image = Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    width, height = image.width, max(round(image.height * aspect), 1)
    factor = min(largest / max(width, height), 1.0)
    if max(width, height) <= largest / 2:
        factor = largest // max(width, height)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return image.resize(
        size, Image.Resampling.NEAREST if factor > 1 and aspect == 1 else Image.Resampling.BOX
    )


def _coloured(panel: Panel) -> Image.Image:
    """The difference in colours, grey-white where nothing changed; a palette keeps the file small."""
    picture = _pixels(np.clip(panel.difference / panel.scale, -1, 1) / 2 + 0.5, panel.aspect)
    picture = picture.convert("P")
    palette = colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3]
    picture.putpalette(np.rint(palette * 255).astype(np.uint8).tobytes())
    return picture


def _embedded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _article(panel: Panel) -> str:
    name, miccat = html.escape(panel.confounder.name), html.escape(str(panel.confounder.miccat))
    colours = ",".join(to_hex(colormaps[COLOURS](place)) for place in np.linspace(0, 1, 9))
    changed = float((np.abs(panel.difference) > 1e-6).mean())
    meanings = parameter_descriptions(type(panel.confounder))
    parameters = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td>"
        f"<td>{html.escape(meanings.get(key, ''))}</td></tr>"
        for key, value in panel.parameters.items()
    )
    remark = f'<p class="remark">{html.escape(panel.remark)}</p>' if panel.remark else ""
    return f"""<article id="{name}"><h2>{name}</h2>
<p>{html.escape(summary(type(panel.confounder)))}</p>
<p class="quiet">{miccat} &middot; {html.escape(panel.plane)} &middot; source: {html.escape(panel.confounder.source)}</p>{remark}
<div class="pictures">
<figure><img alt="The image without {name}" src="{_embedded(_pixels(panel.before, panel.aspect))}"><figcaption>clean</figcaption></figure>
<figure><img alt="The same image with {name}" src="{_embedded(_pixels(panel.after, panel.aspect))}"><figcaption>with {name}</figcaption></figure>
<figure><img alt="What {name} changes: orange is brighter, purple darker, up to {panel.scale:.3g} {panel.unit}" src="{_embedded(_coloured(panel))}"><figcaption>difference, {html.escape(panel.unit)}; {changed:.1%} of the pixels change
<span class="scale">&minus;{panel.scale:.3g}<span class="bar" style="background:linear-gradient(90deg,{colours})"></span>+{panel.scale:.3g}</span></figcaption></figure>
</div><table><thead><tr><th>parameter</th><th>here</th><th>what it is</th></tr></thead>
<tbody>{parameters}</tbody></table></article>"""  # noqa: E501


def write_html(panels: Sequence[Panel], left_out: Mapping[str, str], title: str, out: Path) -> None:
    """Write a page that makes no request of any kind.

    Args:
        panels: from :func:`~srcmatters.confounders.preview.preview`.
        left_out: confounders that are not shown, and why.
        title: what the image is; no patient's name.
        out: the .html file.
    """
    missing = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>" for name, why in left_out.items()
    )
    links = " &middot; ".join(
        f'<a href="#{panel.confounder.name}">{panel.confounder.name}</a>' for panel in panels
    )
    footer = f"<h2>Not shown, and why</h2><ul>{missing}</ul>" if missing else ""
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Confounders on
{html.escape(title)}</title> <style>{_STYLE}</style></head><body><main><h1>Confounders on
{html.escape(title)}</h1> <p>What each confounder does to this image, and the difference to the image without
it: orange where it gets brighter, purple where it gets darker. Every difference has its own
scale.</p><p>{links}</p>
{"".join(_article(panel) for panel in panels)}{footer}</main></body></html>"""
    out.write_text(page, encoding="utf-8")


def write_png(panels: Sequence[Panel], title: str, out: Path) -> None:
    """Write one picture: a confounder per row of two (image, difference), two confounders side by side.

    Args:
        panels: from :func:`~srcmatters.confounders.preview.preview`.
        title: what the image is; no patient's name.
        out: the .png file.
    """
    rows = (len(panels) + 2) // 2
    tallest = max(panel.before.shape[0] * panel.aspect / panel.before.shape[1] for panel in panels)
    figure = Figure(figsize=(13, (2.75 * tallest + 0.6) * rows + 0.5), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Confounders on {title}", fontsize=15, x=0.01, ha="left")
    axes = figure.subplots(rows, 4, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(panels[0].before, cmap="gray", vmin=0, vmax=1, aspect=panels[0].aspect)
    axes[0, 0].set_title("clean", loc="left", fontsize=13, fontweight="bold")
    axes[0, 1].text(0, 0.98, _LEGEND, va="top", fontsize=11, transform=axes[0, 1].transAxes)
    for place, panel in enumerate(panels, start=1):
        left, right = axes[place // 2, 2 * (place % 2)], axes[place // 2, 2 * (place % 2) + 1]
        left.imshow(panel.after, cmap="gray", vmin=0, vmax=1, aspect=panel.aspect)
        left.set_title(panel.confounder.name, loc="left", fontsize=13, fontweight="bold")
        _draw_difference(figure, right, panel)
    figure.savefig(out, format="png")


_LEGEND = """Each pair: the image with
the confounder, and the
difference to the clean one.
Orange is brighter, purple is
darker; each has its own scale."""


def _draw_difference(figure: Figure, axis: Axes, panel: Panel) -> None:
    shown = axis.imshow(
        panel.difference, cmap=COLOURS, vmin=-panel.scale, vmax=panel.scale, aspect=panel.aspect
    )
    heading = "difference" + (f", {panel.plane}" if panel.plane != "image" else "")
    axis.set_title(heading, loc="left", fontsize=10)
    bar = figure.colorbar(shown, ax=axis, fraction=0.045, pad=0.02)
    bar.set_label(panel.unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
