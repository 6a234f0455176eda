"""A figure as part of a page: ids of its own, colours that follow the reader's theme, alt text."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.results import Result

    from . import Recipe

# The colours of a figure on paper, by the page's own names for them, which change with the theme.
INKS = {
    style.INK: "var(--ink)",
    style.QUIET: "var(--quiet)",
    style.POSITIVE: "var(--blue)",
    style.NEGATIVE: "var(--red)",
    style.PREDICTED: "var(--pink)",
    style.SHADE: "var(--shade)",
}


def plain(recipe: Recipe, result: Result, figure: Figure) -> str:
    """What the recipe has drawn of the result, as an SVG element."""
    alt, name, origin = recipe.caption(result), recipe.name, result.provenance
    text = style.render(figure, "svg", title=name, alt=alt, provenance=origin).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<title>.*?</title>\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    about = f'role="img" aria-label="{html.escape(alt)}"{_steps(figure)}'
    return text.replace("<svg ", f"<svg {about} ", 1)


def _steps(figure: Figure) -> str:
    """Where a figure has optimiser steps along it: first and last step, left, right, top and bottom
    in the units of its viewBox, as an attribute that a page's script reads.
    """
    named = [axes for axes in figure.axes if axes.get_xlabel() == style.STEPS]
    if len(named) != 1 or named[0].get_xscale() != "linear":
        return ""
    (lowest,) = named
    wide, tall = 72 * figure.get_size_inches()
    boxes = [axes.get_position() for axes in lowest.get_shared_x_axes().get_siblings(lowest)]
    numbers = (
        *lowest.get_xlim(),
        wide * boxes[0].x0,
        wide * boxes[0].x1,
        tall * (1 - max(box.y1 for box in boxes)),
        tall * (1 - min(box.y0 for box in boxes)),
    )
    return f' data-steps="{" ".join(f"{number:.6g}" for number in numbers)}"'


def inline(recipe: Recipe, result: Result, figure: Figure) -> str:
    """The same with the colours of a page that knows light and dark."""
    return themed(plain(recipe, result, figure))


def themed(text: str) -> str:
    """SVG whose colours for paper have become the names of a page's colours."""
    for paper, name in INKS.items():
        text = text.replace(paper, name)
    return re.sub(r"#[0-9a-f]{6}\b", _shade, text)


def _shade(found: re.Match[str]) -> str:
    """A colour between low and high values as a mixture of the page's two; any other as it is."""
    share = style.between(found[0])
    return found[0] if share is None else f"color-mix(in srgb, var(--low), var(--high) {share:.0%})"
