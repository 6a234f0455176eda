"""Moving figures, as GIFs by Pillow: a surface that turns, a trajectory that walks over contours."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from . import levels, style, surface, surface_3d

FRAMES = 36
DOTS = 110  # an inch


def gif(frames: Iterable[Figure], seconds: float = 0.08, hold: int = 10) -> bytes:
    """The frames one after the other, the last one held; the same bytes for the same figures."""
    pictures = [_pixels(fig) for fig in frames]
    palette = pictures[-1].quantize(128, dither=Image.Dither.NONE)  # one for all, so that nothing flickers
    shown = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    buffer = io.BytesIO()
    times = [round(1000 * seconds)] * (len(shown) - 1) + [round(1000 * seconds * max(hold, 1))]
    shown[0].save(
        buffer, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0, optimize=False, disposal=1
    )
    return buffer.getvalue()


def _pixels(fig: Figure) -> Image.Image:
    fig.set_dpi(DOTS)
    canvas: Any = FigureCanvasAgg(fig)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def turn(result: Any) -> bytes:
    """The surface in space, once round."""

    def at(azimuth: float) -> Callable[[], Figure]:
        def draw() -> Figure:
            fig = surface_3d.draw(result)
            axes: Any = fig.axes[0]
            axes.view_init(elev=32, azim=azimuth)
            return fig

        return draw

    return gif((at(-58 + 360 * k / FRAMES)() for k in range(FRAMES)), 0.1, 1)


def walk(result: Any) -> bytes:
    """The trajectories walk over the contours, all of them at the same share of their points."""
    plane = levels.plane_of(result)
    found = levels.walks(plane)
    if not found:
        raise style.NothingToDraw(
            "this result has no trajectory that could walk; pass one to `landscape surface --trajectory`."
        )

    def frame(share: float) -> Figure:
        fig = surface.draw(plane)
        for ax in fig.axes:
            lines = [line for line in ax.lines if np.asarray(line.get_xdata()).size > 1]
            for line in lines:
                x, y = (np.asarray(v) for v in line.get_data())
                last = max(1, round(share * len(x)))
                line.set_data(x[:last], y[:last])
            ends = [line for line in ax.lines if line.get_marker() == "o"]
            for line, end in zip(lines, ends, strict=False):
                x, y = (np.asarray(v) for v in line.get_data())
                end.set_data(x[-1:], y[-1:])
        return fig

    return gif(frame((k + 1) / FRAMES) for k in range(FRAMES))
