"""Which directions are flat because f has a symmetry there: proposed from the shapes of the
parameters, kept only where they hold.

theta: (n,) a point, g its gradient. A symmetry's flow has an affine velocity V(theta) = sum c_j
phi_j(theta), and f is constant along it where g'V = 0 at every theta: one linear equation for c at
each random theta. The phi_j that are tried together act on one unit i or on two units i and j of
tensors that have units of one number:

scale     T_i <- T_i, the entries of unit i along an axis; mix: T_i <- T_j
shift     T_i <- 1 in every entry
through   b <- W_i, the bias of a layer moves by the weights that read unit i
pass      b_i <- w_i, of two vectors in one module, such as a norm's weight and bias

Rescaling of ReLU-like units, GL between linear maps and in attention heads, rotations, scales
before norms, shifts of logits and parameters without effect are all found so, alone or combined,
since only their velocities are known here, not their names. What is found is verified by a finite
step of its flow, which must leave f what it is to rounding, and its tangent must be a zero
eigenvector.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import loss_noise
from landscape.rng import generator

SPARE = 12  # equations beyond the number of unknowns
FAR = 0.3  # how far random points are from x, in units of each tensor's root mean square
NEAR = 1e-5  # the same where only the smooth piece that x lies on is meant
ZERO = 1e-10  # a cosine below this is rounding
WIDEST = 64  # units of which pairs are tried
NUMBERS = 3e7  # most numbers of one system of equations
STEP = 0.1  # of a verifying flow, relative to x


class Move(NamedTuple):
    """An elementary velocity: ``targets`` (m,) move by the entries ``sources`` (m,), or by 1."""

    kind: str
    tensor: str
    targets: Tensor
    sources: Tensor | None


@dataclass(frozen=True, eq=False)
class Velocity:
    """V(theta) = sum c_j phi_j(theta)."""

    moves: tuple[Move, ...]
    weights: tuple[float, ...]
    units: tuple[int, ...]  # one or two

    @property
    def key(self) -> tuple[str, ...]:
        """The tensors that move, in the order of the layout."""
        return tuple(dict.fromkeys(move.tensor for move in self.moves))

    @property
    def kinds(self) -> set[str]:
        return {move.kind for move in self.moves}

    def at(self, theta: Tensor, *, constant: bool = True) -> Tensor:
        """The velocity (n,) at theta; without its constant part it is linear in theta."""
        out = torch.zeros_like(theta)
        for move, c in zip(self.moves, self.weights, strict=True):
            if move.sources is not None:
                out.index_add_(0, move.targets, c * theta[move.sources])
            elif constant:
                out.index_add_(0, move.targets, theta.new_full(move.targets.shape, c))
        return out


@dataclass(frozen=True, eq=False)
class Flat:
    """One kind of symmetry at a point."""

    name: str
    tangents: Tensor  # (n, m) orthonormal, orthogonal to those of the kinds before


def explained(found: Sequence[Flat]) -> dict[str, int]:
    """Name and dimension of each kind."""
    dims: dict[str, int] = {}
    for flat in found:
        dims[flat.name] = dims.get(flat.name, 0) + flat.tangents.shape[1]
    return dims


def listed(dims: Mapping[str, int]) -> str:
    """``8 of 2 x GL(2) of q, k; 3 of shift of 2``."""
    return "; ".join(f"{count} of {name}" for name, count in dims.items())


def symmetries(
    f: ModelLandscape, x: Tensor, null: Tensor | None = None, seed: int = 0
) -> list[Flat]:
    """The symmetries of f that are verified at x, with the directions that each adds.

    Args:
        f: a model's landscape; all is computed in float64.
        x: (n,) the point.
        null: (n, z) orthonormal zero eigenvectors of the Hessian at x, where x is stationary: then
            only what lies in their span counts, and directions without effect are found in it. None
            elsewhere.
        seed: of the random points.

    Cost: a gradient for each unknown of the largest system and 12 more, some tens to some hundreds.
    """
    ours, x = (f if f.dtype == torch.float64 else f.astype(torch.float64)), x.double()
    try:
        found = _Search(ours, x, None if null is None else null.double(), seed)
        return found.all()
    except (LoadingError, NumericalError):
        return []  # a model that cannot compute in float64, or is not finite beside x


class _Search:
    """The search at one point; tangents accepted so far are kept orthonormal."""

    def __init__(self, f: ModelLandscape, x: Tensor, null: Tensor | None, seed: int) -> None:
        self.f, self.x, self.null, self.seed = f, x, null, seed
        self.basis = x.new_zeros(len(x), 0)
        self.value = float(f.value(x))
        self.samples: dict[float, tuple[Tensor, Tensor]] = {}

    def all(self) -> list[Flat]:
        slots = _slots(self.f)
        found = self._named(self._constant(FAR), "parameters without effect")
        found += self._algebra(slots, FAR)
        found += self._named(self._unseen(FAR), "directions that no sample sees")
        if self.null is not None and self.left:
            dead = self._named(self._constant(NEAR), "dead units, on this piece")
            found += dead
            found += self._algebra(slots, NEAR) if self.left else []
            found += self._straight()
        return found

    @property
    def left(self) -> int:
        """Zero eigenvectors that are not explained yet."""
        return 0 if self.null is None else self.null.shape[1] - self.basis.shape[1]

    # ---- equations ------------------------------------------------------------------------------

    def drawn(self, reach: float, count: int) -> tuple[Tensor, Tensor]:
        """``count`` random points (K, n) at this reach from x, and the gradients there."""
        thetas, gradients = self.samples.get(reach, (self.x.new_zeros(0, len(self.x)),) * 2)
        sizes = torch.ones_like(self.x)
        whole = float(self.x.square().mean().sqrt()) or 1.0
        for where in self.f.layout.values():
            sizes[where] = max(float(self.x[where].square().mean().sqrt()), 0.1 * whole)
        draws = generator(self.seed + len(thetas) + (1 if reach == FAR else 1000003))
        more = max(count - len(thetas), 0)
        if more:
            noise = torch.randn(
                more, len(self.x), generator=draws, dtype=torch.float64, device="cpu"
            )
            new = self.x + reach * sizes * noise.to(self.x.device)
            thetas = torch.cat([thetas, new])
            gradients = torch.cat([gradients, *(self.f.gradient(t)[None] for t in new)])
            self.samples[reach] = thetas, gradients
        if not bool(torch.isfinite(gradients).all()):
            raise NumericalError("the gradient beside the point is not finite.")
        return thetas[:count], gradients[:count]

    def _constant(self, reach: float) -> list[Velocity]:
        """Single parameters on which f does not depend at all."""
        _, gradients = self.drawn(reach, SPARE)
        sizes = gradients.norm(dim=1, keepdim=True)
        idle = (gradients.abs() <= 1e-14 * sizes).all(0).nonzero()[:, 0]
        names = _names(self.f)
        return [
            Velocity((Move("shift", names(int(i)), i[None], None),), (1.0,), (0,)) for i in idle
        ]

    def _unseen(self, reach: float) -> list[Velocity]:
        """Zero eigenvectors not explained yet along which no gradient has a part."""
        if not 0 < self.left <= 500:
            return []
        U = self._unexplained()
        _, gradients = self.drawn(reach, U.shape[1] + SPARE)
        seen = (gradients @ U) / gradients.norm(dim=1, keepdim=True)
        _, sizes, V = torch.linalg.svd(seen, full_matrices=False)
        directions = (U @ V.T)[:, sizes <= 1e-9 * len(seen) ** 0.5]
        every = torch.arange(len(self.x), device=self.x.device)
        return [_constant_velocity(v, every, self.f) for v in directions.T]

    def _straight(self) -> list[Flat]:
        """The plane through x, within the zero eigenvectors not explained yet, on which f stays
        what it is and stationary: of maps that later layers do not see.

        Points are drawn on what is left of the plane, and directions in which the gradient there is
        not zero leave it, until none does.
        """
        if not 0 < self.left <= 500:
            return []
        U = self._unexplained()
        draws = generator(self.seed + 11)
        length = STEP * (float(self.x.norm()) or 1.0)
        for _ in range(20):
            if not U.shape[1]:
                return []
            noise = torch.randn(U.shape[1], 4, generator=draws, dtype=torch.float64, device="cpu")
            steps = U @ (noise / noise.norm(dim=0)).to(U.device)
            gradients = torch.stack([self.f.gradient(self.x + length * v) for v in steps.T])
            seen = gradients @ U / self._steep()
            if bool((gradients.norm(dim=1) <= 1e-9 * self._steep()).all()):
                return self._kept(U, "straight ways on which nothing changes")
            _, sizes, V = torch.linalg.svd(seen, full_matrices=True)
            rank = int((sizes > 1e-9).sum())
            if not rank:  # the gradient leaves the plane: f is not stationary on it
                return []
            U = U @ V[rank:].T
        return []

    def _steep(self) -> float:
        """How large a gradient is where x is left by a tenth of itself in a random direction."""
        return float(self.drawn(FAR, SPARE)[1].norm(dim=1).median()) * STEP

    def _kept(self, U: Tensor, name: str) -> list[Flat]:
        self.basis = torch.cat([self.basis, U], dim=1)
        used = (U.abs() > 1e-9).any(1)
        tensors = [name for name, where in self.f.layout.items() if bool(used[where].any())]
        return [Flat(f"{name} ({_listed(tensors)})", U)]

    def _unexplained(self) -> Tensor:
        """An orthonormal basis of the zero eigenvectors that are not explained yet."""
        assert self.null is not None
        rest = self.null - self.basis @ (self.basis.T @ self.null)
        U, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
        basis: Tensor = U[:, sizes > 0.5]
        return basis

    def _algebra(self, slots: "Mapping[int, list[_Slot]]", reach: float) -> list[Flat]:
        """All that acts on one unit or mixes two, by the tensors that move together."""
        pools: dict[tuple[bool, tuple[str, ...]], list[Velocity]] = {}
        for size, held in slots.items():
            for velocity in (*self._pairs(size, held, reach), *self._units(size, held, reach)):
                linear = bool(velocity.kinds & {"scale", "mix"})
                pools.setdefault((linear, velocity.key), []).append(velocity)
        order = sorted(pools, key=lambda key: (key[0], len(key[1]), key[1]))
        found: list[Flat] = []
        for key in order:
            before = self.basis.shape[1]
            self._accept(pools[key])
            new = self.basis[:, before:]
            if new.shape[1]:
                found.append(Flat(_title(pools[key], new.shape[1], reach), new))
        return found

    def _units(self, size: int, slots: "Sequence[_Slot]", reach: float) -> Iterator[Velocity]:
        """Velocities of one unit each."""
        moves = [m for slot in slots for m in slot.unit_moves()]
        thetas, gradients = self.drawn(reach, len(moves) + SPARE)
        columns, scales = [], []
        for move in moves:
            column, scale = move.measured(thetas, gradients)
            columns.append(column)
            scales.append(scale)
        yield from _solved(
            torch.stack(columns, -1).transpose(0, 1),  # (d, K, J)
            torch.stack(scales, -1),  # (d, J)
            lambda unit, j: moves[j].single(unit),
            [(i,) for i in range(size)],
            torch.ones(len(moves), dtype=torch.bool, device="cpu"),
        )

    def _pairs(self, size: int, slots: "Sequence[_Slot]", reach: float) -> Iterator[Velocity]:
        """Velocities that mix two units."""
        full = [slot for slot in slots if slot.entries.shape[0] == size]
        if size < 2 or size > WIDEST or len(full) < 1:
            return
        unknowns = 4 * len(full)
        count = unknowns + SPARE
        if count * unknowns * size * (size - 1) / 2 > NUMBERS:
            return
        thetas, gradients = self.drawn(reach, count)
        a, b = torch.triu_indices(size, size, 1, device=self.x.device)
        columns, scales = [], []
        norms = gradients.norm(dim=1)[:, None]
        for slot in full:
            T, G = thetas[:, slot.entries], gradients[:, slot.entries]
            M = G @ T.transpose(1, 2)  # (K, d, d)
            reachable = norms * T.norm(dim=2)
            for i, j in ((a, b), (b, a), (a, a), (b, b)):
                columns.append(M[:, i, j])
                scales.append(reachable[:, j].square().mean(0).sqrt())
        mixing = torch.tensor([True, True, False, False] * len(full), device="cpu")

        def move(pair: int, column: int) -> Move:
            slot, which = full[column // 4], column % 4
            i, j = int(a[pair]), int(b[pair])
            to, of = ((i, j), (j, i), (i, i), (j, j))[which]
            return Move(
                "mix" if which < 2 else "scale", slot.name, slot.entries[to], slot.entries[of]
            )

        yield from _solved(
            torch.stack(columns, -1).transpose(0, 1),
            torch.stack(scales, -1),
            move,
            list(zip(a.tolist(), b.tolist(), strict=True)),
            mixing,
        )

    # ---- what counts ----------------------------------------------------------------------------

    def _named(self, velocities: Sequence[Velocity], name: str) -> list[Flat]:
        before = self.basis.shape[1]
        self._accept(velocities)
        new = self.basis[:, before:]
        if not new.shape[1]:
            return []
        tensors = list(dict.fromkeys(t for v in velocities for t in v.key))
        return [Flat(f"{name} ({_listed(tensors)})", new)]

    def _accept(self, velocities: Sequence[Velocity]) -> None:
        """Take in the tangents of velocities whose flow leaves f what it is; all at once, or one by
        one where that fails.
        """
        tangents = [(v, self._tangent(v)) for v in velocities]
        moving = [(v, t) for v, t in tangents if t is not None]
        if not moving:
            return
        if not self._holds([v for v, _ in moving]):
            moving = [(v, t) for v, t in moving[:200] if self._holds([v])]
        if not moving:
            return
        T = torch.stack([t for _, t in moving], dim=1)
        rest = T - self.basis @ (self.basis.T @ T)
        rest = rest - self.basis @ (self.basis.T @ rest)
        U, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
        new = U[:, sizes > 1e-7 * math.sqrt(T.shape[1])]
        self.basis = torch.cat([self.basis, new], dim=1)

    def _tangent(self, velocity: Velocity) -> Tensor | None:
        """The unit tangent at x; None where x does not move or the Hessian is not zero along it."""
        tangent = velocity.at(self.x)
        size = float(tangent.norm())
        if size <= 1e-9 * max(float(self.x.norm()), 1e-30):
            return None
        tangent = tangent / size
        if self.null is not None and float((self.null.T @ tangent).norm()) < 1 - 1e-6:
            return None
        return tangent

    def _holds(self, velocities: Sequence[Velocity]) -> bool:
        """Whether f is the same after a finite step of a random combination: of a tenth of x, or,
        on a smooth piece, of a thousandth.
        """
        draws = generator(self.seed + 7)
        c = torch.randn(
            len(velocities), generator=draws, dtype=torch.float64, device="cpu"
        ).tolist()
        first = sum(
            (w * v.at(self.x) for w, v in zip(c, velocities, strict=True)),
            torch.zeros_like(self.x),
        )
        size = float(first.norm())
        whole = float(self.x.norm()) or 1.0
        for step in (STEP, 0.01 * STEP):
            moved = self._flowed(velocities, [step * whole / size * w for w in c])
            value = float(self.f.value(moved))
            if abs(value - self.value) <= self._noise():
                return True
        return False

    def _noise(self) -> float:
        """What rounding alone may change f by: in units of f, and of its changes around x."""
        thetas, _ = self.drawn(FAR, SPARE)
        around = float((self.f.value(thetas[:4]) - self.value).abs().max())
        return 100 * loss_noise(self.value, torch.finfo(self.x.dtype).eps) + 1e-13 * around

    def _flowed(self, velocities: Sequence[Velocity], c: Sequence[float]) -> Tensor:
        """x after time 1 of the flow, by its Taylor series, which the affine velocity ends fast."""

        def at(theta: Tensor, *, constant: bool) -> Tensor:
            parts = (w * v.at(theta, constant=constant) for w, v in zip(c, velocities, strict=True))
            return sum(parts, torch.zeros_like(theta))

        term = at(self.x, constant=True)
        moved = self.x + term
        for k in range(2, 60):
            term = at(term, constant=False) / k
            moved = moved + term
            if float(term.norm()) <= 1e-18 * float(moved.norm()):
                break
        return moved


# ---- units of tensors ----------------------------------------------------------------------------


class _UnitMove(NamedTuple):
    """An elementary velocity for every unit of a slot: rows of targets and sources."""

    kind: str
    tensor: str
    targets: Tensor  # (d, m)
    sources: Tensor | None  # (d, m)

    def single(self, unit: int) -> Move:
        sources = None if self.sources is None else self.sources[unit]
        return Move(self.kind, self.tensor, self.targets[unit], sources)

    def measured(self, thetas: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """g'phi at every point and unit (K, d), and |g| |phi| (d,), its root mean square."""
        G = gradients[:, self.targets]
        norms = gradients.norm(dim=1)[:, None]
        if self.sources is None:
            size = norms * self.targets.shape[1] ** 0.5
            return G.sum(-1), size.square().mean(0).sqrt().expand(len(self.targets))
        T = thetas[:, self.sources]
        return (G * T).sum(-1), (norms * T.norm(dim=2)).square().mean(0).sqrt()


class _Slot(NamedTuple):
    """The entries of a tensor by the units along one of its axes."""

    name: str
    entries: Tensor  # (d, r)
    # (d, r) what of the layer's bias an entry moves: of a weight's units that it reads, all of it
    # through the weight; of a vector's units, their own entries
    bias: Tensor | None = None
    bias_name: str = ""

    def unit_moves(self) -> list[_UnitMove]:
        moves = [
            _UnitMove("scale", self.name, self.entries, self.entries),
            _UnitMove("shift", self.name, self.entries, None),
        ]
        if self.bias is not None:
            moves.append(_UnitMove("through", self.bias_name, self.bias, self.entries))
        return moves


def _slots(f: ModelLandscape) -> dict[int, list[_Slot]]:
    """The slots of all tensors by their number of units."""
    found: dict[int, list[_Slot]] = {}
    shapes = [tuple(s) for s in f.shapes.values()]
    sizes = {d for shape in shapes for d in shape}
    channels = {shape[0] for shape in shapes if len(shape) > 2}
    for name, where in f.layout.items():
        entries = torch.arange(where.start, where.stop, device=f.device)
        entries = entries.view(tuple(f.shapes[name]) or (1,))
        found.setdefault(1, []).append(_Slot(name, entries.reshape(1, -1)))
        for dim in range(entries.ndim):
            flattened = channels if entries.ndim == 2 and dim == 1 else set[int]()
            for slot in _along(f, name, entries, dim, sizes, flattened):
                found.setdefault(len(slot.entries), []).append(slot)
    return found


def _along(
    f: ModelLandscape, name: str, entries: Tensor, dim: int, sizes: set[int], channels: set[int]
) -> Iterator[_Slot]:
    """The slots along one axis, with the bias beside them on the axis that a weight reads."""
    other, beside = _bias(f, name, entries)
    reads = other is not None and dim == min(1, entries.ndim - 1)
    mates = _cuts(other if reads and other is not None else entries, dim, sizes, channels)
    cuts = _cuts(entries, dim, sizes, channels)
    for (_, part), (_, mate) in zip(cuts, mates, strict=True):
        yield _Slot(name, part, mate, beside) if reads else _Slot(name, part)


def _cuts(
    index: Tensor, dim: int, sizes: set[int], channels: set[int]
) -> Iterator[tuple[int, Tensor]]:
    """Entries by units (d, r) of an axis as it is; as 2, 3 or 4 tensors in one (queries, keys and
    values; gates); and as channels of several entries each, behind a flattened convolution.
    """
    rows = index.movedim(dim, 0).reshape(index.shape[dim], -1)
    d, r = rows.shape
    yield d, rows
    for pieces in (2, 3, 4):
        width = d // pieces
        if d % pieces == 0 and width in sizes and width > 1:
            yield from ((width, part) for part in rows.view(pieces, width, r))
    for c in channels:
        if d % c == 0 and d // c > 1:
            yield c, rows.reshape(c, -1)


def _bias(f: ModelLandscape, name: str, index: Tensor) -> tuple[Tensor | None, str]:
    """Where the bias beside a weight lies, of the weight's shape: along its first axis."""
    other = name[: -len("weight")] + "bias" if name.endswith("weight") else ""
    if other not in f.layout or f.shapes[other] != index.shape[:1]:
        return None, ""
    where = f.layout[other]
    entries = torch.arange(where.start, where.stop, device=f.device)
    return entries.view(-1, *(1,) * (index.ndim - 1)).expand(index.shape), other


# ---- linear algebra of many small systems --------------------------------------------------------


def _solved(
    equations: Tensor,
    scales: Tensor,
    move: Callable[[int, int], Move],
    units: Sequence[tuple[int, ...]],
    wanted: Tensor,
) -> Iterator[Velocity]:
    """The velocities that solve systems (s, K, J) in units of ``scales`` (s, J), with a part in a
    ``wanted`` column each.
    """
    equations = equations / scales.clamp_min(torch.finfo(scales.dtype).tiny)[:, None]
    _, sizes, V = torch.linalg.svd(equations, full_matrices=False)
    small = sizes <= ZERO * equations.shape[1] ** 0.5
    for s in small.any(1).nonzero()[:, 0].tolist():
        null = _reduced(V[s][small[s]] / scales[s], wanted.to(V.device))
        for row in null:
            used = (row.abs() * scales[s] > 1e-7 * (row.abs() * scales[s]).max()).nonzero()[:, 0]
            if bool(wanted[used.cpu()].any()):
                moves = tuple(move(s, j) for j in used.tolist())
                yield Velocity(moves, tuple(row[used].tolist()), units[s])


def _reduced(rows: Tensor, wanted: Tensor) -> Tensor:
    """The rows of a null space (p, J) in reduced echelon form, wanted columns first: few entries
    each.
    """
    order = torch.cat([wanted.nonzero()[:, 0], (~wanted).nonzero()[:, 0]])
    A = rows[:, order].clone()
    row = 0
    for column in range(A.shape[1]):
        if row == len(A):
            break
        pivot = row + int(A[row:, column].abs().argmax())
        if float(A[pivot, column].abs()) <= 1e-8 * float(A.abs().max()):
            continue
        A[[row, pivot]] = A[[pivot, row]]
        A[row] = A[row] / A[row, column]
        others = torch.arange(len(A), device=A.device) != row
        A[others] -= A[others, column : column + 1] * A[row]
        row += 1
    found = torch.empty_like(A)
    found[:, order] = A
    return found


# ---- words ---------------------------------------------------------------------------------------


def _names(f: ModelLandscape) -> Callable[[int], str]:
    ends = [(where.stop, name) for name, where in f.layout.items()]
    return lambda i: next(name for stop, name in ends if i < stop)


def _constant_velocity(v: Tensor, every: Tensor, f: ModelLandscape) -> Velocity:
    """The velocity v (n,) everywhere, a move a tensor that has an entry."""
    used = v.abs() > 1e-9 * v.abs().max()
    names = _names(f)
    moves = tuple(Move("shift", names(int(i)), i[None], None) for i in every[used])
    return Velocity(moves, tuple(v[used].tolist()), (0,))


def _title(velocities: Sequence[Velocity], dims: int, reach: float) -> str:
    """What a group of velocities that move the same tensors is called."""
    where = _listed(velocities[0].key)
    piece = ", on this piece" if reach == NEAR else ""
    pairs = [v.units for v in velocities if "mix" in v.kinds]
    kinds = set[str]().union(*(v.kinds for v in velocities))
    if pairs:
        blocks = Counter(_blocks(pairs))
        group = _group(blocks, dims)
        return f"{group} of {where}{piece}"
    if kinds == {"scale"}:
        return f"rescaling of {where}{piece}"
    return (
        f"shift of {where}{piece}" if "scale" not in kinds else f"scale and shift of {where}{piece}"
    )


def _group(blocks: Mapping[int, int], dims: int) -> str:
    """GL(m) or O(m) by how many dimensions the blocks of m mixed units have."""
    for name, of in (("GL", (1, 0, 1)), ("O", (1, -1, 2))):
        if dims == sum(count * m * (of[0] * m + of[1]) // of[2] for m, count in blocks.items()):
            parts = [
                f"{name}({m})" if count == 1 else f"{count} x {name}({m})"
                for m, count in sorted(blocks.items())
            ]
            return " and ".join(parts)
    return f"mixing of {sum(m * count for m, count in blocks.items())} units"


def _blocks(pairs: Iterable[tuple[int, ...]]) -> list[int]:
    """The sizes of the sets of units that pairs join."""
    root: dict[int, int] = {}

    def top(i: int) -> int:
        while root.setdefault(i, i) != i:
            i = root[i]
        return i

    for a, b in pairs:
        root[top(a)] = top(b)
    return list(Counter(top(i) for i in list(root)).values())


def _listed(names: Sequence[str]) -> str:
    """The names, a module's tensors as one."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(modules[:4]) + (f" and {len(modules) - 4} more" if len(modules) > 4 else "")
