"""Values on a grid in words."""

from landscape.landscapes.grid import Grid
from landscape.results.words import Fact, Words, said


@said.register
def picture(result: Grid, folder: str) -> Words:
    """The grid and the range of the values."""
    cells = " by ".join(str(len(axis)) for axis in (result.xs, result.ys) if len(axis))
    return Words(f"{cells} cells", [Fact("grid", (f"{cells} cells",))])
