"""Moving figures as files: a GIF by Pillow, or an MP4 by ffmpeg. The same frames give the same
bytes.

MP4 needs imageio-ffmpeg, the extra ``mp4``, which brings its own ffmpeg.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from . import style

if TYPE_CHECKING:
    from .style import Array

SHADES = 200  # colours of a GIF, of the last frame
RATE = 25  # frames a second of an MP4, which shows each picture for a whole number of them


@dataclass(frozen=True)
class Film:
    """Pictures of one size, in their order."""

    pictures: tuple[Image.Image, ...]
    seconds: float = 0.1  # that each is shown
    hold: float = 1.0  # that the last one is
    exact: tuple[
        str, ...
    ] = ()  # colours #rrggbb that a GIF must have, of lines too thin to earn their own


def of(
    figures: Iterable[Figure], dots: int, seconds: float, hold: float, exact: tuple[str, ...] = ()
) -> Film:
    """A film of figures, ``dots`` an inch; one figure that is changed between two of its frames
    will do.
    """
    with style.own():  # ticks are made when they are drawn
        return Film(tuple(_pictures(figures, dots)), seconds, hold, exact)


def _pictures(figures: Iterable[Figure], dots: int) -> Iterator[Image.Image]:
    last: Figure | None = None
    for fig in figures:
        if fig is not last:
            fig.set_dpi(dots)
            canvas = FigureCanvasAgg(fig)
        canvas.draw()  # type: ignore[no-untyped-call]
        fig.set_layout_engine("none")  # the first frame's layout is that of all
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        yield Image.fromarray(pixels[..., :3].copy())
        last = fig


def gif(film: Film) -> bytes:
    """The bytes of a GIF that goes round for ever, with one palette for all frames, so that nothing
    flickers.
    """
    exact = [
        [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        for colour in ("#ffffff", style.INK, *film.exact)
    ]
    shades = film.pictures[-1].quantize(SHADES, dither=Image.Dither.NONE).getpalette() or []
    palette = np.array(exact + np.array(shades[: 3 * SHADES]).reshape(-1, 3).tolist())
    shown = [_indexed(picture, palette) for picture in film.pictures]
    times = [round(1000 * film.seconds)] * (len(shown) - 1) + [round(1000 * film.hold)]
    out = io.BytesIO()
    shown[0].save(
        out, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0, optimize=False
    )
    return out.getvalue()


def _indexed(picture: Image.Image, palette: Array) -> Image.Image:
    """The picture with each pixel the nearest colour of the palette (k, 3); Pillow's own search
    takes one that is near.
    """
    red, green, blue = np.moveaxis(np.asarray(picture, dtype=np.int64), -1, 0)
    seen, where = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colours = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], axis=1)
    nearest = np.square(colours[:, None] - palette).sum(axis=2).argmin(axis=1).astype(np.uint8)
    indexed = Image.fromarray(nearest[where].reshape(red.shape))
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    return indexed


def encoder() -> Callable[..., Any]:
    """What writes an MP4.

    Raises:
        NothingToDraw: imageio-ffmpeg is missing.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError:
        raise style.NothingToDraw(
            "an MP4 needs imageio-ffmpeg: pip install 'torch-landscape[mp4]'."
        ) from None
    writer: Callable[..., Any] = write_frames
    return writer


def mp4(film: Film) -> bytes:
    """The bytes of an MP4, H.264, that every browser plays.

    Raises:
        NothingToDraw: imageio-ffmpeg is missing, or its ffmpeg does not run.
    """
    write_frames = encoder()
    width, height = (
        n + n % 2 for n in film.pictures[0].size
    )  # its colours are stored for squares of four
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        plain = [
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
            "-threads",
            "1",
            "-movflags",
            "+faststart",
        ]
        writer = write_frames(
            str(path),
            (width, height),
            fps=RATE,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "20", *plain],
        )
        try:
            writer.send(None)
            for k, picture in enumerate(film.pictures):
                whole = Image.new("RGB", (width, height), "white")
                whole.paste(picture)
                long = film.hold if k == len(film.pictures) - 1 else film.seconds
                for _ in range(max(1, round(RATE * long))):
                    writer.send(whole.tobytes())
            writer.close()
            return path.read_bytes()
        except (OSError, RuntimeError) as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise style.NothingToDraw(f"ffmpeg made no MP4: {said}") from None


FORMS = {"gif": gif, "mp4": mp4}
