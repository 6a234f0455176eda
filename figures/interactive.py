"""A page to turn and click: the surface, its trajectories at their own values, and the spectrum at the point that is clicked.

It needs plotly, the extra ``interactive``; the page needs nothing, not even a network.
"""

import html
import json
from typing import Any

import numpy as np

from . import levels, style

SCALE = [[0.0, "#0b3c5d"], [0.4, "#3f87b5"], [0.75, "#a9c9dc"], [1.0, "#f3ead3"]]
CLICK = """
const gd = document.getElementById('{plot_id}'), spectra = SPECTRA;
gd.on('plotly_click', function (event) {
  const p = event.points[0], key = p.data.name;
  if (!spectra[key] || !spectra[key][p.pointNumber]) return;
  const values = spectra[key][p.pointNumber];
  Plotly.restyle(gd, {x: [values.map((_, i) => i + 1)], y: [values]}, [BARS]);
  Plotly.relayout(gd, {'annotations[0].text': key + ', point ' + p.pointNumber});
});
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 1200px; padding: 0 1rem;
color: #1b1f24; background: #fff; }} figcaption {{ color: #4a525b; }}</style></head>
<body><h1 style="font-size: 1.2rem">{title}</h1><figure style="margin: 0">{plot}<figcaption>{alt}</figcaption></figure></body></html>
"""


def page(result: Any, alt: str) -> str:
    """A self-contained HTML page of a surface."""
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        raise style.NothingToDraw(
            "an interactive page needs plotly: pip install 'torch-landscape[interactive]'."
        ) from None
    surface = levels.plane_of(result)
    steps, values = levels.arrays(surface)
    log = levels.logarithmic(values)
    found = levels.walks(surface)
    spectra = {
        name: np.round(np.asarray(w.spectra, dtype=float), 8).tolist()[::1]
        for name, _, w in found
        if getattr(w, "spectra", None) is not None
    }
    both = bool(spectra)
    specs: list[Any] = [[{"type": "scene"}, {"type": "xy"}]] if both else [[{"type": "scene"}]]
    fig = make_subplots(1, 2 if both else 1, specs=specs, column_widths=[0.68, 0.32] if both else None)
    height = _height(values, log)
    fig.add_trace(go.Surface(x=steps, y=steps, z=height.T, colorscale=SCALE, showscale=False, name="f",
                             contours={"z": {"show": True, "color": "#ffffff", "width": 1}}), 1, 1)  # fmt: skip
    for name, colour, walk in found:
        where, own, below = (np.asarray(v, dtype=float) for v in (walk.where, walk.values, walk.below))
        z, under = _height(own, log), _height(below, log)
        text = [
            f"point {i}<br>f = {v:.6g}<br>on the plane {b:.6g}" for i, (v, b) in enumerate(zip(own, below, strict=True))
        ]
        fig.add_trace(go.Scatter3d(x=where[:, 0], y=where[:, 1], z=z, mode="lines+markers", name=name, text=text, hoverinfo="text+name",
                                   line={"color": colour, "width": 4}, marker={"size": 3.5, "color": colour}), 1, 1)  # fmt: skip
        gaps = [np.column_stack([v, v, np.full(len(v), np.nan)]).ravel() for v in where.T]
        fig.add_trace(go.Scatter3d(x=gaps[0], y=gaps[1], z=np.column_stack([z, under, np.full(len(z), np.nan)]).ravel(), mode="lines",
                                   line={"color": colour, "width": 1}, showlegend=False, hoverinfo="skip"), 1, 1)  # fmt: skip
    script = ""
    if both:
        first = next(iter(spectra))
        last = spectra[first][-1]
        fig.add_trace(go.Bar(x=list(range(1, len(last) + 1)), y=last, marker={"color": style.MEASURED}, showlegend=False,
                             name="spectrum"), 1, 2)  # fmt: skip
        fig.add_annotation(
            text=f"{first}, point {len(spectra[first]) - 1}",
            xref="paper",
            yref="paper",
            x=0.98,
            y=1.06,
            showarrow=False,
        )
        fig.update_xaxes(title_text="eigenvalue, ascending")
        fig.update_yaxes(title_text="outermost eigenvalues of the Hessian")
        script = CLICK.replace("SPECTRA", json.dumps(spectra)).replace("BARS", str(len(fig.data) - 1))
    fig.update_layout(
        scene={"xaxis_title": "step along u", "yaxis_title": "step along v", "zaxis_title": "log10 f" if log else "f",
               "aspectratio": {"x": 1, "y": 1, "z": 0.7}},
        template="plotly_white", margin={"l": 0, "r": 10, "t": 40, "b": 10}, legend={"orientation": "h", "y": 1.05}, height=640,
    )  # fmt: skip
    plot = fig.to_html(full_html=False, include_plotlyjs=True, div_id="surface", post_script=script or None,
                       config={"responsive": True, "displaylogo": False})  # fmt: skip
    title = f"Surface of {surface.provenance.name}"
    return PAGE.format(title=html.escape(title), plot=plot, alt=html.escape(alt))


def _height(values: Any, log: bool) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log10(np.where(values > 0, values, np.nan)) if log else np.where(np.isfinite(values), values, np.nan)
