"""The plane that a curve between two points lies in, or nearly so."""

from dataclasses import replace

import torch

from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.paths.connect import Connection
from landscape.paths.curves import weights
from landscape.surfaces.grids import surface
from landscape.surfaces.result import Surface


@owned()
def connection_plane(
    f: Landscape,
    connection: Connection,
    resolution: int = 41,
    *,
    batch_statistics: bool = False,
    progress: Progress = silent,
) -> Surface | None:
    """f on the plane of a connection's ends and its curve's middle, centred between the ends; None
    where these lie on a line.

    The curve and the straight line between its ends are walks on it.
    ``dataclasses.replace(connection, plane=...)`` keeps it.

    Args:
        f: the landscape that was connected on.
        connection: control points (m, n).
        resolution: cells a side, at least 2.
        batch_statistics: as for ``surface``.

    Raises:
        ValueError: as of ``surface``.

    Cost: ``resolution`` squared evaluations.
    """
    C = connection.control
    t = torch.linspace(0, 1, 41, dtype=C.dtype, device=C.device)
    walk = weights(connection.kind, t, len(C)) @ C
    middle = (C[0] + C[-1]) / 2
    half = (C[-1] - C[0]) / 2
    u = half / torch.linalg.vector_norm(half)
    off = (walk[20] if len(C) > 3 else C[1]) - middle
    off = off - (off @ u) * u
    height = torch.linalg.vector_norm(off)
    if not bool(height > 1e-6 * torch.linalg.vector_norm(half)):
        return None
    v = off / height
    # all of the curve, its ends too
    reach = 1.35 * float(((walk - middle) @ torch.stack((u, v), dim=1)).abs().max())
    made = surface(
        f,
        middle,
        (u, v),
        None,
        reach,
        resolution,
        trajectory={"curve": walk, "straight line": C[0] + t[:, None] * (C[-1] - C[0])},
        batch_statistics=batch_statistics,
        progress=progress,
    )
    return replace(made, normalize="unit")
