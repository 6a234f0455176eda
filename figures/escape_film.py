"""All optimisers leaving one point, as an animated GIF: frames at steps spaced evenly in their logarithm, from step 0."""

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from . import escape_paths, optimisers, style

FRAMES, DELAY, HOLD = 32, 120, 1500  # frames; milliseconds a frame, and the last one
DPI = 120


def frames(result: Any) -> Any:
    """The steps that are shown, ascending."""
    _, results = escape_paths.planar(result)
    longest = max(int(np.asarray(r.ended)[: len(np.asarray(r.paths.points))].max()) for r in results.values())
    return np.unique(np.concatenate([[0], np.geomspace(1, max(longest, 1), FRAMES).round().astype(int)]))


class Scene:
    """The picture of a study at a step: contours drawn once, paths moved."""

    def __init__(self, result: Any) -> None:
        self.figure, self.ax = escape_paths.canvas(result)
        plane, results = escape_paths.planar(result)
        self.walks = []
        for k, (label, runs) in enumerate(results.items()):
            drawn = optimisers.look(k)
            for path, end in zip(escape_paths.across(plane, runs.paths), escape_paths.last(runs), strict=True):
                (line,) = self.ax.plot([], [], color=drawn["color"], linewidth=0.9, alpha=0.8, zorder=4)
                (head,) = self.ax.plot([], [], markersize=4.4, linestyle="none", markeredgecolor="white",
                                       markeredgewidth=0.5, zorder=5, **drawn)  # fmt: skip
                self.walks.append((np.asarray(runs.paths.steps), path[: end + 1], line, head))
            self.ax.plot([], [], linewidth=1.1, markersize=3.6, label=optimisers.short(label), **drawn)
        self.title = self.ax.set_title(" ", loc="right", fontweight="normal")
        optimisers.key(self.figure, self.ax, 1 if len(results) < 3 else 2)

    def show(self, step: int) -> None:
        """Move the paths to where they were after ``step`` steps."""
        self.title.set_text(f"step {step:,}")
        for steps, path, line, head in self.walks:
            reached = min(int(np.searchsorted(steps, step, side="right")), len(path))
            line.set_data(path[:reached, 0], path[:reached, 1])
            head.set_data(path[reached - 1 : reached, 0], path[reached - 1 : reached, 1])


@style.styled
def draw(result: Any) -> Figure:
    """The last frame."""
    scene = Scene(result)
    scene.show(int(frames(result)[-1]))
    return scene.figure


def film(result: Any) -> bytes:
    """The GIF's bytes; it goes round for ever."""
    images: list[Image.Image] = []

    @style.styled
    def record(study: Any) -> Figure:
        scene = Scene(study)
        scene.figure.set_dpi(DPI)
        canvas: Any = FigureCanvasAgg(scene.figure)
        for step in frames(study):
            scene.show(int(step))
            canvas.draw()
            scene.figure.set_layout_engine("none")  # the first frame's layout is that of all
            images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
        return scene.figure

    record(result)
    own = [int(c[i : i + 2], 16) for c in optimisers.COLOURS for i in (1, 3, 5)]  # few pixels, and yet exact
    palette = Image.new("P", (1, 1))
    palette.putpalette(own + (images[-1].quantize(200).getpalette() or [])[: 3 * 200])
    shown = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    out = io.BytesIO()
    durations = [DELAY] * (len(shown) - 1) + [HOLD]
    shown[0].save(out, format="GIF", save_all=True, append_images=shown[1:], duration=durations, loop=0)
    return out.getvalue()


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    return f"{escape_paths.caption(result)} The last of {len(frames(result))} frames, whose steps are evenly spaced in the logarithm."
