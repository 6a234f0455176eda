"""A page to turn and click: the surface, its trajectories at their own values, a slider that plays
them, and the spectrum at the point that is clicked or reached.

It needs plotly, the extra ``interactive``; the page needs nothing, not even a network.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import levels, style, views

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface
    from landscape.surfaces.walks import Walk

    from .style import Array

SCALE = [[0.0, "#0b3c5d"], [0.4, "#3f87b5"], [0.75, "#a9c9dc"], [1.0, "#f3ead3"]]
# Filled in with what the walks are; ``show`` draws the spectrum of a point, ``at`` moves the marks.
WALK = """
function begin() {
const spectra = SPECTRA;
const bounds = BOUNDS;
const runs = RUNS;
function show(name, point) {
  const values = (spectra[name] || [])[point], error = (bounds[name] || [])[point];
  if (!values) return;
  const bars = {x: [values.map((_, i) => i + 1)], y: [values]};
  if (error) bars['error_y.array'] = [error];
  Plotly.restyle('spectrum', bars);
  Plotly.relayout('spectrum', {'title.text': name + ', point ' + point});
}
const surface = document.getElementById('{plot_id}');
surface.on('plotly_click', event => show(event.points[0].data.name, event.points[0].pointNumber));
const slider = document.getElementById('point'), told = document.getElementById('told');
function at(point) {
  slider.value = point;
  told.textContent = 'point ' + point + ' of ' + slider.max;
  for (const run of runs) {
    const i = Math.min(point, run.x.length - 1);
    Plotly.restyle(surface, {x: [[run.x[i]]], y: [[run.y[i]]], z: [[run.z[i]]]}, [run.mark]);
    if (run === runs[0]) show(run.name, i);
  }
}
slider.addEventListener('input', () => at(Number(slider.value)));
let timer = null;
const play = document.getElementById('play');
function stop() { clearInterval(timer); timer = null; play.textContent = 'Play'; }
play.addEventListener('click', () => {
  if (timer) return stop();
  if (Number(slider.value) >= Number(slider.max)) at(0);
  play.textContent = 'Pause';
  timer = setInterval(() => {
    if (Number(slider.value) >= Number(slider.max)) return stop();
    at(Number(slider.value) + 1);
  }, 250);
});
}
// the controls may still be to come
if (document.readyState === 'loading') addEventListener('DOMContentLoaded', begin);
else begin();
"""
CONTROLS = """<p class="controls"><button type="button" id="play">Play</button>
<label>Step of the run <input type="range" id="point" min="0" max="{last}" value="{last}"></label> <output id="told">point {last} of {last}</output></p>"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 1200px; padding: 0 1rem;
color: #1b1f24; background: #fff; color-scheme: light dark; }}
h1 {{ font-size: 1.2rem; }} figure {{ margin: 0; }} figcaption {{ color: #4a525b; }}
.controls {{ display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; }} .controls label {{ flex: 1 1 16rem; display: flex; gap: .6rem; }}
.controls input {{ flex: 1; min-width: 6rem; }}
.pair {{ display: flex; flex-wrap: wrap; }} .pair > div {{ flex: 1 1 20rem; min-width: 0; }} .pair > div:first-child {{ flex-grow: 2; }}
#surface {{ height: 560px !important; }} #spectrum {{ height: 420px !important; }}
@media (max-width: 40rem) {{ #surface {{ height: 400px !important; }} }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e4e8ec; background: #14171c; }} figcaption {{ color: #a6aeb7; }} }}
</style></head>
<body><h1>{title}</h1><figure><div class="pair">{plots}</div>{controls}<figcaption>{alt}{hint}</figcaption></figure>
<script>
const dark = matchMedia('(prefers-color-scheme: dark)'), narrow = matchMedia('(max-width: 40rem)');
function suit() {{
  const ink = dark.matches ? '#e4e8ec' : '#1b1f24', line = dark.matches ? '#3a424c' : '#dde2e7', far = narrow.matches ? 2.7 : 2.2;
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {{
    const change = {{'font.color': ink, 'paper_bgcolor': 'rgba(0,0,0,0)', 'plot_bgcolor': 'rgba(0,0,0,0)'}};
    for (const axis of plot.id === 'surface' ? ['scene.xaxis', 'scene.yaxis', 'scene.zaxis'] : ['xaxis', 'yaxis'])
      Object.assign(change, {{[axis + '.gridcolor']: line, [axis + '.zerolinecolor']: line}},
        plot.id === 'surface' && {{[axis + '.backgroundcolor']: 'rgba(0,0,0,0)'}});
    if (plot.id === 'surface') {{
      change['scene.camera.eye'] = {{x: far * {eye[0]}, y: far * {eye[1]}, z: far * {eye[2]}}};
      Plotly.restyle(plot, {{showscale: !narrow.matches, 'colorbar.tickfont.color': ink, 'colorbar.title.font.color': ink}}, [0]);
    }}
    Plotly.relayout(plot, change).then(() => Plotly.Plots.resize(plot));
  }}
}}
addEventListener('load', suit);
for (const media of [dark, narrow]) media.addEventListener('change', suit);
</script></body></html>
"""
SHAPE = {"responsive": True, "displaylogo": False, "displayModeBar": True}


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
    height = _height(values, log)
    fig = _ground(go, steps, height, log)
    runs: list[dict[str, object]] = []
    for name, colour, walk in levels.walks(surface):
        z = _height(np.asarray(walk.values, dtype=float), log)
        _walk(go, fig, name, colour, walk, log)
        where = np.asarray(walk.where, dtype=float)
        marks = {"x": where[:, 0], "y": where[:, 1], "z": z}
        lists = {key: _rounded(v) for key, v in marks.items()}
        runs.append({"name": html.escape(name), "mark": len(fig.data) - 1, **lists})
    walks = [
        (np.asarray(walk.where, dtype=float), _height(np.asarray(walk.values, dtype=float), log))
        for _, _, walk in levels.walks(surface)
    ]
    eye = views.toward(*views.chosen(steps, height, walks))
    spectra, bounds = _table(surface, "spectra"), _table(surface, "bounds")
    told = {"SPECTRA": _json(spectra), "BOUNDS": _json(bounds), "RUNS": _json(runs)}
    script = re.sub("|".join(told), lambda m: told[m[0]], WALK) if runs else None
    plots = fig.to_html(
        full_html=False, include_plotlyjs=True, div_id="surface", post_script=script, config=SHAPE
    )
    if spectra:
        plots += _spectrum(go, spectra, bounds)
    hint = " A click on a point of a trajectory shows the spectrum there." if spectra else ""
    title = f"Surface of {surface.provenance.name}"
    last = max((len(walk.values) for _, _, walk in levels.walks(surface)), default=1) - 1
    whole = PAGE.format(
        title=html.escape(title),
        plots=plots,
        controls=CONTROLS.format(last=last) if runs else "",
        eye=[round(float(v), 4) for v in eye],
        alt=html.escape(alt),
        hint=hint,
        policy="POLICY",
    )
    return whole.replace("POLICY", html.escape(_policy(whole)), 1)


def _ground(go: ModuleType, steps: Array, height: Array, log: bool) -> Any:
    """The surface alone, as a figure of plotly."""
    fig = go.Figure(
        go.Surface(
            x=steps,
            y=steps,
            z=height.T,
            colorscale=SCALE,
            colorbar={
                "title": {"text": "log10 f" if log else "f"},
                "thickness": 12,
                "len": 0.6,
                "x": 1.0,
            },
            name="f",
            contours={"z": {"show": True, "color": "#ffffff", "width": 1}},
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
    return fig


def _walk(go: ModuleType, fig: Any, name: str, colour: str, walk: Walk, log: bool) -> None:
    """Add a trajectory at its own values, lines down to the plane's, and the mark that the slider
    moves, which comes last.
    """
    where, own, below = (np.asarray(v, dtype=float) for v in (walk.where, walk.values, walk.below))
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
    quiet = {"showlegend": False, "hoverinfo": "skip"}
    fig.add_trace(
        go.Scatter3d(
            x=drop[0],
            y=drop[1],
            z=drop[2],
            mode="lines",
            line={"color": colour, "width": 1},
            **quiet,
        )
    )
    fig.add_trace(
        go.Scatter3d(
            x=where[-1:, 0],
            y=where[-1:, 1],
            z=z[-1:],
            mode="markers",
            marker={"size": 7, "color": colour, "line": {"color": "#ffffff", "width": 2}},
            **quiet,
        )
    )


def _table(surface: Surface, field: str) -> dict[str, list[list[float]]]:
    """Spectra, or their bounds, of every walk that has them, by its escaped name."""
    found = {html.escape(n): getattr(walk, field, None) for n, _, walk in levels.walks(surface)}
    return {
        name: np.round(np.asarray(rows, dtype=float), 8).tolist()
        for name, rows in found.items()
        if rows is not None
    }


def _rounded(values: Array) -> list[float | None]:
    """Six digits; null where there is no finite number."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]


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


def _spectrum(
    go: ModuleType, spectra: dict[str, list[list[float]]], bounds: dict[str, list[list[float]]]
) -> str:
    """The bars that a click changes, at first those of the first trajectory's last point, with the
    solver's bounds where they are known.
    """
    name, rows = next(iter(spectra.items()))
    error = {"type": "data", "array": bounds[name][-1]} if name in bounds else None
    bars = go.Figure(
        go.Bar(
            x=list(range(1, len(rows[-1]) + 1)),
            y=rows[-1],
            error_y=error,
            marker={"color": style.MEASURED},
        )
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
