"""Clusters of atoms: points are structures up to translation, rotation, reflection and exchange of
equal atoms.

x: (..., 3 N), atom by atom. Lengths are in units of sigma, energies in units of the pair's well
depth.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group
from torch import Tensor

from landscape.core import Symmetry
from landscape.landscapes.domains import Space
from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, refined

BOND = 2 ** (1 / 6)  # where a pair's energy is least
CHAIN = 12  # most atoms of a start on a line
LINK = 2.0  # atoms nearer than this hold together
TURNS = 200  # orientations tried to lay one structure over another
CLOSEST = 0.8  # of two atoms of a start: the energy of a pair there is 43

STARTS: dict[int, tuple[tuple[float, ...], ...]] = {
    2: ((0, 0, 0, BOND, 0, 0),),
    3: (
        (0, 0, 0, BOND, 0, 0, BOND / 2, BOND * math.sqrt(3) / 2, 0),  # triangle
        (-1.12, 0, 0, 0, 0, 0, 1.12, 0, 0),  # chain
    ),
    4: (
        tuple(
            v * BOND / math.sqrt(8) for v in (1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, 1)
        ),  # tetrahedron
        (0, 0.562, 0, 0, -0.562, 0, 0.969, 0, 0, -0.969, 0, 0),  # rhombus
        (0.556, 0.556, 0, 0.556, -0.556, 0, -0.556, 0.556, 0, -0.556, -0.556, 0),  # square
        (0.205, 0, 0, -0.765, 0.562, 0, -0.765, -0.562, 0, 1.324, 0, 0),  # triangle with a tail
        (0, 0, 0, 1.116, 0, 0, -0.558, 0.966, 0, -0.558, -0.966, 0),  # star
        (-1.681, 0, 0, -0.560, 0, 0, 0.560, 0, 0, 1.681, 0, 0),  # chain
    ),
}

# minima and index 1 as published; from index 2 on what searches from many thousands of starts find,
# without proof
COUNTS = {
    2: {0: 1},
    3: {0: 1, 2: 1},
    4: {0: 1, 1: 1, 2: 2, 3: 1, 4: 1},
    5: {0: 1, 1: 2, 2: 5, 3: 6, 4: 6, 5: 2, 6: 1},
    6: {0: 2, 1: 3},
    7: {0: 4, 1: 12},
}


@dataclass(frozen=True)
class Cluster(Space):
    """All of R^(3 N) as the place of one cluster: flown apart, its forces vanish but it is no
    stationary point.

    Starts fill a ball of radius ``spread``; of eight, three fill a disc and one, up to 12 atoms, a
    line: searches from a plane or a line stay in it, and flat structures, most of them of high
    index, are seldom met from elsewhere.
    """

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Atoms placed one by one at random, neither too near to another nor far from all; (count,
        dim), centred.
        """
        lines = 0.125 if dim <= 3 * CHAIN else 0.0
        shares = torch.tensor(
            [lines, 0.375, 0.5], device="cpu", dtype=torch.float32
        )  # of lines, discs, balls
        axes = 1 + torch.multinomial(shares, count, replacement=True, generator=generator)
        atoms = self._draw(axes, generator)[:, None]
        for _ in range(dim // 3 - 1):
            new = self._draw(axes, generator)
            for _ in range(100):
                nearest = _distances(new[:, None], atoms).amin((-2, -1))
                misplaced = (nearest < CLOSEST) | (nearest >= LINK)
                if not bool(misplaced.any()):
                    break
                new[misplaced] = self._draw(axes[misplaced], generator)
            atoms = torch.cat([atoms, new[:, None]], dim=1)
        return self.wrap(atoms.flatten(1)).to(dtype)

    def contains(self, x: Tensor) -> Tensor:
        """Which points (..., n) are one cluster: every atom is linked to every other by steps below
        2.
        """
        r = _atoms(x)
        linked = (_distances(r, r) < LINK).double()
        for _ in range(
            max(r.shape[-2] - 1, 1).bit_length()
        ):  # paths of twice as many steps each time
            linked = (linked @ linked > 0).double()
        together: Tensor = torch.isfinite(x).all(-1) & (linked > 0).flatten(-2).all(-1)
        return together

    def wrap(self, x: Tensor) -> Tensor:
        """The structures moved to put their centres at 0."""
        return _centred(x).flatten(-2)

    def size(self, dim: int) -> Tensor:
        """The ball's diameter."""
        return torch.full((dim,), 2 * self.spread, dtype=torch.float64, device="cpu")

    def _draw(self, axes: Tensor, generator: torch.Generator) -> Tensor:
        """An atom (count, 3) for each start, uniform in its ball, disc or line (3, 2, 1 axes),
        which have equal room for atoms.
        """
        atoms = torch.randn(len(axes), 3, generator=generator, dtype=torch.float64, device="cpu")
        share = torch.rand(len(axes), generator=generator, dtype=torch.float64, device="cpu")
        atoms = torch.where(torch.arange(3, device="cpu") < axes[:, None], atoms, 0.0)
        radius = self.spread ** (3 / axes) * share ** (1 / axes)
        placed: Tensor = atoms * (radius / atoms.norm(dim=-1))[:, None]
        return placed


def lennard_jones(particles: int = 4) -> KnownLandscape:
    """Equal atoms that repel when near and attract when far.

    Args:
        particles: number of atoms. Up to 4 the stationary points are listed, up to 5 counted; up to
            7 those of index 0 and 1.

    Raises:
        ValueError: particles is not at least 2.
    """
    whole(2, particles=particles)
    first, second = torch.triu_indices(particles, particles, offset=1, device="cpu")

    def f(x: Tensor) -> Tensor:
        r = _atoms(x)
        gaps = r[..., first.to(x.device), :] - r[..., second.to(x.device), :]
        s: Tensor = gaps.square().sum(-1) ** -3
        return 4 * (s * (s - 1)).sum(-1)

    def invariants(x: Tensor) -> Tensor:
        """All distances in order, and the eigenvalues of their matrix, which tell who is near
        whom.
        """
        r = _atoms(x)
        D = _distances(r, r)
        pairs = D[..., first.to(x.device), second.to(x.device)].sort(-1).values
        return torch.cat([pairs, torch.linalg.eigvalsh(D)], dim=-1)

    starts = STARTS.get(particles)
    return KnownLandscape(
        f,
        3 * particles,
        Cluster(particles ** (1 / 3)),
        name="lennard-jones",
        formula="sum_{i<j} 4 (r_ij^-12 - r_ij^-6)",
        source="Hoare, Pal 1971, Adv. Phys. 20:161; Doye, Wales 2002, J. Chem. Phys. 116:3777",
        points=None if starts is None else lambda: refined(f, starts, rigid_motions),
        counts=COUNTS.get(particles),
        complete=particles <= 5,
        symmetry=Symmetry(invariants, rigid_motions, superposed),
    )


def superposed(x: Tensor, y: Tensor) -> Tensor:
    """The structure y (n,) turned, mirrored and with its atoms exchanged so that they lie near
    those of x (n,).

    From TURNS random orientations the best exchange of atoms (Kuhn 1955) and the best turn (Kabsch
    1976, Acta Cryst. A 32:922) take turns until neither gains; the nearest end wins. Not proven to
    be the nearest of all.
    """
    a, b = (_centred(v).double().cpu().numpy() for v in (x, y))
    best, least = b, math.inf
    for turn in ortho_group.rvs(3, size=TURNS, random_state=0):
        r, last = b @ turn, math.inf
        while True:
            _, columns = linear_sum_assignment(cdist(a, r, "sqeuclidean"))
            u, _, v = np.linalg.svd(r[columns].T @ a)
            r = r[columns] @ (u @ v)
            distance = float(((a - r) ** 2).sum())
            if distance >= last - 1e-12:
                break
            last = distance
        if last < least:
            best, least = r, last
    return (torch.from_numpy(best).to(x) + (_atoms(x) - _centred(x))).flatten()


def rigid_motions(x: Tensor) -> Tensor:
    """An orthonormal basis (n, m) of translations and rotations at x (n,); m = 6, one less for
    atoms on a line.
    """
    r = _centred(x)
    axes = torch.eye(3, dtype=x.dtype, device=x.device)
    moves = axes.repeat(len(r), 1) / math.sqrt(len(r))
    turns = torch.cat(
        [torch.linalg.cross(axis.expand_as(r), r).reshape(-1, 1) for axis in axes], dim=1
    )
    U, sizes, _ = torch.linalg.svd(turns, full_matrices=False)
    # about the line itself only rounding turns
    turning = U[:, sizes > torch.finfo(x.dtype).eps ** 0.4 * sizes.max()]
    return torch.cat([moves, turning], dim=1)


def _atoms(x: Tensor) -> Tensor:
    """The points (..., n) as atoms (..., N, 3)."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // 3, 3)


def _centred(x: Tensor) -> Tensor:
    """The atoms (..., N, 3) about their centre."""
    r = _atoms(x)
    return r - r.mean(-2, keepdim=True)


def _distances(r: Tensor, s: Tensor) -> Tensor:
    """(..., N, M) between atoms (..., N, 3) and (..., M, 3); by differences, since products would
    lose digits.
    """
    D: Tensor = (r[..., :, None, :] - s[..., None, :, :]).norm(dim=-1)
    return D
