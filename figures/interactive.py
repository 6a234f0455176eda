"""A page to turn and click: the surface, its trajectories at their own values, and the spectrum at
the point that is clicked.

It needs plotly, the extra ``interactive``; the page needs nothing, not even a network.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from . import levels, style

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface

    from .style import Array

SCALE = [[0.0, "#0b3c5d"], [0.4, "#3f87b5"], [0.75, "#a9c9dc"], [1.0, "#f3ead3"]]
CLICK = """
const spectra = SPECTRA;
document.getElementById('{plot_id}').on('plotly_click', function (event) {
  const p = event.points[0], values = (spectra[p.data.name] || [])[p.pointNumber];
  if (!values) return;
  Plotly.restyle('spectrum', {x: [values.map((_, i) => i + 1)], y: [values]});
  Plotly.relayout('spectrum', {'title.text': p.data.name + ', point ' + p.pointNumber});
});
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 1200px; padding: 0 1rem;
color: #1b1f24; background: #fff; color-scheme: light dark; }}
h1 {{ font-size: 1.2rem; }} figure {{ margin: 0; }} figcaption {{ color: #4a525b; }}
.pair {{ display: flex; flex-wrap: wrap; }} .pair > div {{ flex: 1 1 20rem; min-width: 0; }} .pair > div:first-child {{ flex-grow: 2; }}
#surface {{ height: 560px !important; }} #spectrum {{ height: 420px !important; }}
@media (max-width: 40rem) {{ #surface {{ height: 400px !important; }} }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e4e8ec; background: #14171c; }} figcaption {{ color: #a6aeb7; }} }}
</style></head>
<body><h1>{title}</h1><figure><div class="pair">{plots}</div><figcaption>{alt}{hint}</figcaption></figure>
<script>
const dark = matchMedia('(prefers-color-scheme: dark)'), narrow = matchMedia('(max-width: 40rem)');
function suit() {{
  const ink = dark.matches ? '#e4e8ec' : '#1b1f24', line = dark.matches ? '#3a424c' : '#dde2e7', far = narrow.matches ? 1.7 : 1.36;
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {{
    const change = {{'font.color': ink, 'paper_bgcolor': 'rgba(0,0,0,0)', 'plot_bgcolor': 'rgba(0,0,0,0)'}};
    for (const axis of plot.id === 'surface' ? ['scene.xaxis', 'scene.yaxis', 'scene.zaxis'] : ['xaxis', 'yaxis'])
      Object.assign(change, {{[axis + '.gridcolor']: line, [axis + '.zerolinecolor']: line}},
        plot.id === 'surface' && {{[axis + '.backgroundcolor']: 'rgba(0,0,0,0)'}});
    if (plot.id === 'surface') change['scene.camera.eye'] = {{x: far, y: far, z: 0.75 * far}};
    Plotly.relayout(plot, change).then(() => Plotly.Plots.resize(plot));
  }}
}}
addEventListener('load', suit);
for (const media of [dark, narrow]) media.addEventListener('change', suit);
</script></body></html>
"""
SHAPE = {"responsive": True, "displaylogo": False, "displayModeBar": False}


def page(result: Surface, alt: str) -> str:
    """A self-contained HTML page of a surface."""
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise style.NothingToDraw(
            "an interactive page needs plotly: pip install 'torch-landscape[interactive]'."
        ) from None
    surface = levels.plane_of(result)
    steps, values = levels.arrays(surface)
    log = levels.logarithmic(values)
    fig = go.Figure(
        go.Surface(
            x=steps,
            y=steps,
            z=_height(values, log).T,
            colorscale=SCALE,
            showscale=False,
            name="f",
            contours={"z": {"show": True, "color": "#ffffff", "width": 1}},
        )
    )
    for name, colour, walk in levels.walks(surface):
        where, own, below = (
            np.asarray(v, dtype=float) for v in (walk.where, walk.values, walk.below)
        )
        z, under, gap = _height(own, log), _height(below, log), np.full(len(own), np.nan)
        text = [
            f"point {i}<br>f = {v:.6g}<br>on the plane {b:.6g}"
            for i, (v, b) in enumerate(zip(own, below, strict=True))
        ]
        fig.add_trace(
            go.Scatter3d(
                x=where[:, 0],
                y=where[:, 1],
                z=z,
                mode="lines+markers",
                name=html.escape(name),
                text=text,
                hoverinfo="text+name",
                line={"color": colour, "width": 4},
                marker={"size": 3.5, "color": colour},
            ),
        )
        drop = [
            np.column_stack([a, b, gap]).ravel()
            for a, b in ((where[:, 0],) * 2, (where[:, 1],) * 2, (z, under))
        ]
        fig.add_trace(
            go.Scatter3d(
                x=drop[0],
                y=drop[1],
                z=drop[2],
                mode="lines",
                line={"color": colour, "width": 1},
                showlegend=False,
                hoverinfo="skip",
            )
        )
    fig.update_layout(
        scene={
            "xaxis_title": "step along u",
            "yaxis_title": "step along v",
            "zaxis_title": "log10 f" if log else "f",
            "aspectratio": {"x": 1, "y": 1, "z": 0.7},
        },
        template="plotly_white",
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        legend={"orientation": "h", "y": 1.04},
    )
    spectra = {
        html.escape(name): np.round(np.asarray(walk.spectra, dtype=float), 8).tolist()
        for name, _, walk in levels.walks(surface)
        if walk.spectra is not None
    }
    script = CLICK.replace("SPECTRA", _json(spectra)) if spectra else None
    plots = fig.to_html(
        full_html=False, include_plotlyjs=True, div_id="surface", post_script=script, config=SHAPE
    )
    if spectra:
        plots += _spectrum(go, spectra)
    hint = " A click on a point of a trajectory shows the spectrum there." if spectra else ""
    title = f"Surface of {surface.provenance.name}"
    whole = PAGE.format(
        title=html.escape(title), plots=plots, alt=html.escape(alt), hint=hint, policy="POLICY"
    )
    return whole.replace("POLICY", html.escape(_policy(whole)), 1)


def _json(value: object) -> str:
    """JSON that ends no script and begins no comment in a page."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(page: str) -> str:
    """What a browser may do for a page: run the scripts that are in it now, and fetch nothing.

    Plotly compiles the shaders of its surfaces, which is an "eval".
    """
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in sorted(set(digests)))
    return (
        f"default-src 'none'; script-src 'unsafe-eval' {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _spectrum(go: ModuleType, spectra: dict[str, list[list[float]]]) -> str:
    """The bars that a click changes, at first those of the first trajectory's last point."""
    name, rows = next(iter(spectra.items()))
    bars = go.Figure(
        go.Bar(x=list(range(1, len(rows[-1]) + 1)), y=rows[-1], marker={"color": style.MEASURED})
    )
    bars.update_layout(
        title={"text": f"{name}, point {len(rows) - 1}", "font": {"size": 14}},
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
        xaxis_title="eigenvalue, ascending",
        yaxis_title="outermost eigenvalues of the Hessian",
    )
    plot: str = bars.to_html(
        full_html=False, include_plotlyjs=False, div_id="spectrum", config=SHAPE
    )
    return plot


def _height(values: Array, log: bool) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            np.log10(np.where(values > 0, values, np.nan))
            if log
            else np.where(np.isfinite(values), values, np.nan)
        )
