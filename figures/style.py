"""How every figure looks, and how one is written to a file.

Sizes are in inches as printed: ``COLUMN`` is one column of a two-column paper, ``PAGE`` both.
Colours are those of Okabe & Ito (2008), told apart with any colour vision; sign and kind are also
told by place or marker, never by colour alone. Text stays text in SVG and PDF. Files hold no date:
drawn again from the same result they are the same bytes.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

if TYPE_CHECKING:
    from landscape.inventory.census import Census
    from landscape.points.classify import StationaryPoint
    from landscape.results import Provenance, Result

COLUMN, PAGE = 3.4, 7.0

INK = "#1b1f24"
QUIET = "#8a929b"  # lines that help reading: zero, grid
POSITIVE = "#0072b2"
NEGATIVE = "#d55e00"
MEASURED = "#0072b2"
PREDICTED = "#cc79a7"
STEPS = "optimiser step"  # what lies along a figure of a run
SHADE = "#e4e8ec"  # what lies behind the data: a surface, a region
PAPER = ("#a9c3d8", "#fbfcfd")  # of low and of high values under contours

KINDS = {  # of stationary points: marker, colour, size in units of the others'
    "minimum": ("o", "#0072b2", 1.0),
    "saddle": ("X", "#d55e00", 1.25),
    "maximum": ("^", "#009e73", 1.15),
    "other": ("s", "#cc79a7", 0.95),  # degenerate, plateau, not settled
}

FORMATS = ("png", "svg", "pdf")
TOLD = "told:"  # begins the id of markers that have words
RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "mathtext.fontset": "dejavusans",
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


# Arrays of numpy of any shape and type.
Array: TypeAlias = "np.ndarray[Any, Any]"
# Axes in space, whose class has no types.
Axes3D: TypeAlias = Any
R = TypeVar("R", bound="Result")


class NothingToDraw(ValueError):  # noqa: N818  # nobody did wrong
    """The result lacks the numbers this figure shows; the message says which."""


def between(colour: str) -> float | None:
    """How far #rrggbb lies on the way from PAPER's first to its second; None: it is beside it."""
    low, high, mixed = (np.array(to_rgb(c)) for c in (*PAPER, colour))
    share = (mixed - low) / (high - low)
    inside = 0 <= share.mean().round(6) <= 1 and np.ptp(share) < 0.05
    return float(share.mean()) if inside else None


@contextmanager
def own(**more: object) -> Iterator[None]:
    """Inside, matplotlib has this style whatever the user's own settings are; those are as they
    were behind it.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC | more)
        yield


def styled(draw: Callable[[R], Figure]) -> Callable[[R], Figure]:
    """Draw under this style."""

    @functools.wraps(draw)
    def wrapped(result: R) -> Figure:
        with own():
            return draw(result)

    return wrapped


def kinds(points: Sequence[StationaryPoint]) -> dict[str, list[int]]:
    """Positions of stationary points by the kinds of KINDS, in that order, those that occur."""
    found: dict[str, list[int]] = {name: [] for name in KINDS}
    for i, point in enumerate(points):
        found[point.kind if point.kind in KINDS else "other"].append(i)
    return {name: where for name, where in found.items() if where}


def need(result: object, field: str, *inside: str, why: str) -> Any:
    """A field of a result, "" for itself, that is not empty and has these attributes ``inside``.

    Of a list or dict, the first item must have them.

    Raises:
        NothingToDraw: it is missing; ``why`` says what is, and where it comes from.
    """
    found = getattr(result, field, None) if field else result
    items = list(found.values()) if isinstance(found, dict) else found
    first = items[0] if isinstance(items, list | tuple) and items else items
    if found is None or (isinstance(items, list | tuple) and not items):
        raise NothingToDraw(f"this result has no {why}")
    if not all(hasattr(first, name) for name in inside):
        raise NothingToDraw(f"this result has no {why}")
    return found


def points_of(result: Census) -> list[StationaryPoint]:
    """The stationary points of a census."""
    why = "list of stationary points; take a census that finds some."
    points: list[StationaryPoint] = need(result, "points", "nullity", why=why)
    return points


def axes_in_space(fig: Figure, place: tuple[float, float, float, float]) -> Axes3D:
    """Axes in space at ``place`` of the figure: left, bottom, width, height."""
    return fig.add_axes(place, projection="3d", computed_zorder=False)


def turn(ax: Axes3D, elevation: float, azimuth: float) -> None:
    """Look at axes in space from these angles, in degrees."""
    ax.view_init(elev=elevation, azim=azimuth)


def label(name: str) -> str:
    """A user's name as text of a figure: dollars make no formula of it, and a leading underscore
    keeps it in the legend.
    """
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def zero_line(ax: Axes, *, vertical: bool = False) -> None:
    """A quiet line where the eigenvalue is zero."""
    (ax.axvline if vertical else ax.axhline)(0, color=QUIET, linewidth=0.7, zorder=0)


def space(ax: Axes3D) -> None:
    """Axes in space: white panes, quiet lines, labels near."""
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis._axinfo["grid"].update(color="#dde2e7", linewidth=0.5)
        axis.line.set(color=QUIET, linewidth=0.6)
    ax.tick_params(pad=-2, labelsize=6.5)
    turn(ax, 32, -58)
    ax.set_box_aspect((1, 1, 0.72), zoom=0.98)


def plain_log(axis: Axis, ticks: list[int]) -> None:
    """Plain numbers at ``ticks`` of a log axis, where powers of ten would be too few."""
    axis.set_major_locator(FixedLocator([float(t) for t in ticks]))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def symlog(ax: Axes, low: float, high: float, *, linear: float, most: int) -> None:
    """A symmetric log scale in x for [low, high], linear below ``linear``, with at most ``most``
    powers of ten a side.
    """
    floor = math.floor(math.log10(linear))
    top = math.floor(math.log10(max(abs(low), abs(high))))
    ax.set_xscale("symlog", linthresh=10.0**floor, linscale=0.6)
    margin = 10.0**floor / 3
    left, right = (
        v * (1.6 if v * side > 0 else 0.6) + side * margin for v, side in ((low, -1), (high, 1))
    )
    ax.set_xlim(left, right)
    powers = [10.0**k for k in range(top, floor, -max(1, math.ceil((top - floor) / most)))] or [
        10.0**floor
    ]
    ax.xaxis.set_major_locator(
        FixedLocator([t for p in (0.0, *powers) for t in {p, -p} if left <= t <= right])
    )
    ax.xaxis.set_minor_locator(NullLocator())


def render(
    fig: Figure, format: str, *, title: str, alt: str, provenance: Provenance, dpi: int = 300
) -> bytes:
    """The figure as the bytes of a file, with its provenance and alt text in the metadata."""
    tool = f"torch-landscape {version('torch-landscape')}"
    source = f"model {provenance.name}, seed {provenance.seed}, model hash {provenance.model_hash}"
    title, alt, source = (
        "".join(c if c.isprintable() else " " for c in text) for text in (title, alt, source)
    )
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Title": title, "Description": alt, "Software": tool, "Source": source},
        "svg": {
            "Title": title,
            "Description": alt,
            "Creator": tool,
            "Source": source,
            "Date": None,
        },
        "pdf": {
            "Title": title,
            "Subject": alt,
            "Creator": tool,
            "Keywords": source,
            "CreationDate": None,
        },
    }
    buffer = io.BytesIO()
    with own(**{"svg.hashsalt": title}):
        more: dict[str, dict[str, bool]] = (
            {"pil_kwargs": {"optimize": True}} if format == "png" else {}
        )
        fig.savefig(
            buffer,
            format=format,
            metadata=metadata[format],
            transparent=format == "svg",
            dpi=dpi,
            **more,
        )
    return _titled(buffer.getvalue()) if format == "svg" else buffer.getvalue()


def tell(artist: Artist, labels: Iterable[str]) -> None:
    """Give each marker of a line that is drawn, in order, words that an SVG shows where a pointer
    rests.
    """
    artist.set_gid(TOLD + "|".join(label.replace("|", "/") for label in labels))


def _titled(svg: bytes) -> bytes:
    """Markers with the words that ``tell`` gave them."""
    group = rf'<g id="{TOLD}([^"]*)">(.*?</g>)'
    return re.sub(group, _titles, svg.decode(), flags=re.DOTALL).encode()


def _titles(found: re.Match[str]) -> str:
    """One group of markers; without words where some are not drawn, as those outside the frame."""
    labels, marker = found[1].split("|"), r"(<use [^>]*)/>"
    if len(re.findall(marker, found[2])) != len(labels):
        return f"<g>{found[2]}"
    told = iter(labels)
    named = re.sub(marker, lambda use: f"{use[1]}><title>{next(told)}</title></use>", found[2])
    return f"<g>{named}"


def save(fig: Figure, path: Path, *, alt: str, provenance: Provenance, dpi: int = 300) -> Path:
    """Write the figure to ``path``, PNG, SVG or PDF by its suffix, in the place of an earlier one
    and atomically.

    Raises:
        ValueError: another suffix.
        OSError: the folder cannot be written.
    """
    format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise ValueError(f"a figure is written as .png, .svg or .pdf, got {path.name}.")
    return store(
        path,
        render(
            fig,
            format,
            title=f"{path.stem} of {provenance.name}",
            alt=alt,
            provenance=provenance,
            dpi=dpi,
        ),
    )


def store(path: Path, data: bytes) -> Path:
    """Write a file in the place of an earlier one, atomically; its folder is made if missing."""
    from landscape.results import atomic_write

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)
    return path
