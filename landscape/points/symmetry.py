"""Which directions are flat because f has a symmetry there: proposed from the shapes of the
parameters, kept only where they hold.

theta: (n,) a point, g its gradient. A symmetry's flow has an affine velocity V(theta) = sum c_j
phi_j(theta), and f is constant along it where g'V = 0 at every theta: one linear equation for c at
each random theta. The phi_j that are tried together act on one unit i or on two units i and j of
tensors that have units of one number, along an axis or along parts of one:

scale     T_i <- T_i, the entries of unit i along an axis; mix: T_i <- T_j
shift     T_i <- 1 in every entry
through   b <- W_i, the bias of a layer moves by the weights that read unit i

Where norms have weights of their own, two units are mixed with these held where they are too: what
follows the norm then turns as their values say. What a LayerNorm reads and gives is turned first,
so that unit 0 is the one that it does not see.

Single entries of tensors of one shape are tried too (two maps of one input, whose sum counts), and
what a module writes that later ones do not see.

Rescaling of ReLU-like units, GL between linear maps and in attention heads, rotations, scales
before norms, shifts of logits and parameters without effect are all found so, alone or combined,
since only their velocities are known here, not their names. What is found is verified by a finite
step of its flow, which must leave f what it is to rounding, and its tangent must be a zero
eigenvector. Zero eigenvectors that are left at a stationary point may be tangents of the fibre: of
weights that a norm divides, say, whose velocity is not affine.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import torch
from torch import Tensor

from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import loss_noise
from landscape.points.fibres import Fibre, other_data
from landscape.points.velocities import (
    Move,
    Slot,
    bare_norms,
    entrywise,
    held_systems,
    norms,
    systems,
)
from landscape.rng import generator

SPARE = 12  # equations beyond the number of unknowns
FAR = 0.3  # how far random points are from x, in units of each tensor's root mean square
NEAR = 1e-5  # the same where only the smooth piece that x lies on is meant
ZERO = 1e-10  # a cosine below this is rounding
FLAT = 1 - 1e-6  # the share of a zero eigenvector in the null space
WIDE = 500  # directions of one plane
WIDEST = 64  # units of which pairs are tried
NUMBERS = 3e7  # most numbers of one system of equations
STEP = 0.1  # of a verifying flow, relative to x
WHOLE = 1.0  # how far inputs are moved, in units of their spread, to meet all that a model computes
PIECE = 1e-3  # the same where units that are on, or off, for all samples stay so


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
            if constant or move.sources is not None:
                out.index_add_(0, move.targets.flatten(), c * move.at(theta).flatten())
        return out


@dataclass(frozen=True, eq=False)
class Flat:
    """One kind of symmetry at a point."""

    name: str
    tangents: Tensor  # (n, m) orthonormal, orthogonal to those of the kinds before


@dataclass(frozen=True, eq=False)
class Symmetries:
    """The symmetries of a model's landscape at a point, as far as they were verified."""

    kinds: tuple[Flat, ...]
    accidental: int = 0  # zero eigenvectors along which the loss of other data changes

    @property
    def tangents(self) -> Tensor:
        """All of them, (n, m) orthonormal, where there are any."""
        return torch.cat([flat.tangents for flat in self.kinds], dim=1)

    @property
    def dims(self) -> dict[str, int]:
        """Name and dimension of each kind."""
        dims: dict[str, int] = {}
        for flat in self.kinds:
            dims[flat.name] = dims.get(flat.name, 0) + flat.tangents.shape[1]
        return dims


def listed(dims: Mapping[str, int]) -> str:
    """``8 of 2 x GL(2) of q, k; 3 of shift of 2``."""
    return "; ".join(f"{count} of {name}" for name, count in dims.items())


def symmetries(
    f: ModelLandscape, x: Tensor, null: Tensor | None = None, seed: int = 0
) -> Symmetries:
    """The symmetries of f that are verified at x, with the directions that each adds.

    Args:
        f: a model's landscape; all is computed in float64.
        x: (n,) the point.
        null: (n, z) orthonormal zero eigenvectors of the Hessian at x, where x is stationary: then
            only what lies in their span counts, and what no velocity explains is looked for on the
            model's fibre, see ``fibres``. None elsewhere.
        seed: of the random points.

    Cost: a gradient for each unknown of the largest system and 12 more, and three a module, some
    tens to some hundreds; on the fibre some n gradients of a few samples.
    """
    ours, x = (f if f.dtype == torch.float64 else f.astype(torch.float64)), x.double()
    try:
        search = _Search(ours, x, None if null is None else null.double(), seed)
        return Symmetries(tuple(search.all()), search.accidental)
    except (LoadingError, NumericalError):
        return Symmetries(())  # cannot compute in float64, or is not finite beside x


class _Search:
    """The search at one point; tangents accepted so far are kept orthonormal."""

    def __init__(self, f: ModelLandscape, x: Tensor, null: Tensor | None, seed: int) -> None:
        self.f, self.x, self.null, self.seed = f, x, null, seed
        self.basis = x.new_zeros(len(x), 0)
        self.value = float(f.value(x))
        self.accidental = 0
        self.samples: dict[tuple[float, bool], tuple[Tensor, Tensor]] = {}
        self.held = norms(f)
        parts = [x, *(x[where] for where in f.layout.values())]
        whole, *roots = torch.stack([part.square().mean().sqrt() for part in parts]).tolist()
        self.sizes = [max(root, 0.1 * (whole or 1.0)) for root in roots]  # of each tensor

    def all(self) -> list[Flat]:
        found = self._named(self._constant(FAR), "parameters without effect")
        found += self._algebra(self._all(FAR), FAR)
        if self.held or bare_norms(self.f):
            found += self._turned()
        found += self._blind()
        found += self._named(self._unseen(FAR), "directions that no sample sees")
        if self.left:
            found += self._named(self._constant(NEAR), "dead units, on this piece")
        if self.left:
            found += self._algebra(self._all(NEAR), NEAR)
        return found + self._made_up(WHOLE) + self._made_up(PIECE)

    @property
    def left(self) -> int:
        """Zero eigenvectors that are not explained yet."""
        return 0 if self.null is None else self.null.shape[1] - self.basis.shape[1]

    # ---- equations ------------------------------------------------------------------------------

    def drawn(self, reach: float, count: int, *, held: bool = False) -> tuple[Tensor, Tensor]:
        """``count`` random points (K, n) at this reach from x, and the gradients there; the
        weights of norms may be held at x.
        """
        key = reach, held
        thetas, gradients = self.samples.get(key, (self.x.new_zeros(0, len(self.x)),) * 2)
        sizes = torch.ones_like(self.x)
        for where, size in zip(self.f.layout.values(), self.sizes, strict=True):
            sizes[where] = size
        for name in self.held if held else ():
            sizes[self.f.layout[name]] = 0.0
        draws = generator(self.seed + len(thetas) + (1 if reach == FAR else 1000003))
        more = max(count - len(thetas), 0)
        if more:
            noise = torch.randn(
                more, len(self.x), generator=draws, dtype=torch.float64, device="cpu"
            )
            new = self.x + reach * sizes * noise.to(self.x.device)
            thetas = torch.cat([thetas, new])
            gradients = torch.cat([gradients, *(self.f.gradient(t)[None] for t in new)])
            self.samples[key] = thetas, gradients
        if not bool(torch.isfinite(gradients).all()):
            raise NumericalError("the gradient beside the point is not finite.")
        return thetas[:count], gradients[:count]

    def _constant(self, reach: float) -> list[Velocity]:
        """Single parameters on which f does not depend at all."""
        _, gradients = self.drawn(reach, SPARE)
        sizes = gradients.norm(dim=1, keepdim=True)
        idle = (gradients.abs() <= 1e-14 * sizes).all(0).nonzero()[:, 0]
        names, one = _names(self.f), self.x.new_ones(1)
        moves = [Move("shift", names(int(i)), i[None, None], one) for i in idle]
        return [Velocity((move,), (1.0,), (0,)) for move in moves]

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

    def _blind(self) -> list[Flat]:
        """Planes of what one module writes and later ones do not see, as they are at x: where only
        this module moves, no gradient has a part along some combinations of its units.
        """
        found: list[Flat] = []
        for sides in _sides(self.f):
            moving = torch.zeros_like(self.x, dtype=torch.bool)
            for entries in sides:
                moving[entries] = True
            gradients = self._beside(moving)
            for entries in sides:  # (d, r)
                rows = gradients[:, entries].transpose(0, 1).flatten(1)  # (d, K r)
                if rows.shape[1] < len(rows):
                    continue
                U, sizes, _ = torch.linalg.svd(rows)
                unseen = U[:, sizes <= ZERO * sizes[0]]
                if 0 < unseen.shape[1] * entries.shape[1] <= WIDE:
                    found += self._plain(_outer(unseen, entries, len(self.x)))
        return found

    def _beside(self, moving: Tensor) -> Tensor:
        """Gradients (3, n) at random points that differ from x in some entries (n,) alone."""
        draws = generator(self.seed + 17)
        noise = torch.randn(3, len(self.x), generator=draws, dtype=torch.float64, device="cpu")
        size = float(self.x[moving].square().mean().sqrt()) or 1.0
        thetas = self.x + FAR * size * moving * noise.to(self.x.device)
        return torch.stack([self.f.gradient(theta) for theta in thetas])

    def _plain(self, U: Tensor) -> list[Flat]:
        """The plane x + U (n, k) as flat directions, where it adds some and f is constant on it,
        whatever the data.
        """
        if self.null is not None and float((U - self.null @ (self.null.T @ U)).norm()) > 1e-6:
            return []
        if not float((U - self.basis @ (self.basis.T @ U)).norm()) > 1e-6:
            return []
        draws = generator(self.seed + 19)
        steps = torch.randn(U.shape[1], 4, generator=draws, dtype=torch.float64, device="cpu")
        length = STEP * (float(self.x.norm()) or 1.0)
        moved = self.x + length * (U @ (steps / steps.norm(dim=0)).to(U)).T
        changes = (self.f.value(moved) - self.value).abs()
        if not bool((changes <= self._noise()).all()) or not self._anywhere(U):
            return []
        return self._kept(U, "maps that later layers do not see")

    def _made_up(self, reach: float) -> list[Flat]:
        """What is left of the zero eigenvectors where the model computes the same along it for all
        data within reach: all at once, or in the tensors of one module or two. Elsewhere the fibre
        of a loss with a regulariser is more than its symmetries: the level sets of both.
        """
        fibre = self._fibre(reach) if self.left else None
        if fibre is None or self.null is None:
            return []
        U, sizes, _ = torch.linalg.svd(fibre.null.T @ self.null, full_matrices=False)
        plane = fibre.null @ U[:, sizes > 1 - 1e-6]
        sure = self._reached(fibre, plane, (0.1 * STEP, 0.01 * STEP))
        name = "changes that make up for each other" + (", on this piece" * (reach == PIECE))
        found: list[Flat] = []
        for names in (*_neighbours(list(self.f.layout)), tuple(self.f.layout)):
            part = self._within(names, plane)
            if sure or self._reached(fibre, part, (0.1 * STEP,)):
                found += self._kept(part, name)
        # of what is left the fibre has no part
        unseen = torch.linalg.svdvals(plane.T @ self._unexplained())
        self.accidental = self.left - int((unseen > 0.5).sum())
        return found

    def _fibre(self, reach: float) -> Fibre | None:
        try:
            return Fibre(self.f, self.x, self.basis.shape[1], reach, self.seed)
        except (LoadingError, NumericalError):
            return None

    def _reached(self, fibre: Fibre, plane: Tensor, steps: Sequence[float]) -> bool:
        """Whether f is the same, and as stationary, on a random point of the fibre, a finite step
        away in what a plane (n, p) adds to what is known.
        """
        new = self._rest(plane)
        whole = float(self.x.norm()) or 1.0
        for step in steps if new.shape[1] else ():
            moved = fibre.reached(new, step * whole, self.seed)
            if moved is not None:
                change = abs(float(self.f.value(moved)) - self.value)
                return change <= self._noise() and self._rests(moved)
        return False

    def _within(self, names: Sequence[str], plane: Tensor) -> Tensor:
        """An orthonormal basis (n, k) of what of a plane (n, p) lies in these tensors."""
        every = torch.arange(len(self.x), device=self.x.device)
        part = torch.cat([every[self.f.layout[name]] for name in names])
        U, sizes, _ = torch.linalg.svd(plane[part], full_matrices=False)
        basis = self.x.new_zeros(len(self.x), int((sizes > 1 - 1e-8).sum()))
        basis[part] = U[:, : basis.shape[1]]
        return basis

    def _anywhere(self, U: Tensor) -> bool:
        """Whether the loss of other data is constant on x + U too: inputs moved, tokens mixed."""
        draws, batches = generator(self.seed + 13), len(self.f.batches)
        f = self.f.on(list(islice(other_data(self.f, FAR, self.seed + 13), batches)))
        here = float(f.value(self.x))
        steps = torch.randn(U.shape[1], 4, generator=draws, dtype=torch.float64, device="cpu")
        moved = self.x + STEP * float(self.x.norm()) * (U @ (steps / steps.norm(dim=0)).to(U)).T
        changes = (f.value(moved) - here).abs()
        return bool((changes <= 1e3 * loss_noise(here, torch.finfo(self.x.dtype).eps)).all())

    def _steep(self) -> float:
        """How large a gradient is where x is left by a tenth of itself in a random direction."""
        return float(self.drawn(FAR, SPARE)[1].norm(dim=1).median()) * STEP

    def _kept(self, U: Tensor, name: str) -> list[Flat]:
        """The directions (n, k) as flat ones, but for those that are known."""
        before = self.basis.shape[1]
        self._span(U)
        new = self.basis[:, before:]
        if not new.shape[1]:
            return []
        used = (U.abs() > 1e-9).any(1)
        tensors = [name for name, where in self.f.layout.items() if bool(used[where].any())]
        return [Flat(f"{name} ({_listed(tensors)})", new)]

    def _span(self, T: Tensor) -> None:
        """Extend the basis to the columns of T (n, m): to what of them is no rounding, and flat."""
        rest = T - self.basis @ (self.basis.T @ T)
        rest = rest - self.basis @ (self.basis.T @ rest)
        U, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
        U = U[:, sizes > 1e-7 * math.sqrt(T.shape[1])]
        if self.null is not None:
            # a tangent that is known but for a small part says nothing of that part
            U = U[:, (self.null.T @ U).norm(dim=0) >= FLAT]
        self.basis = torch.cat([self.basis, U], dim=1)

    def _unexplained(self) -> Tensor:
        """An orthonormal basis of the zero eigenvectors that are not explained yet."""
        assert self.null is not None
        return self._rest(self.null)

    def _rest(self, plane: Tensor) -> Tensor:
        """An orthonormal basis of what orthonormal directions (n, p) add to those explained."""
        rest = plane - self.basis @ (self.basis.T @ plane)
        U, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
        basis: Tensor = U[:, sizes > 0.5]
        return basis

    def _all(self, reach: float) -> Iterator[Velocity]:
        """All that acts on one unit or mixes two."""
        for slots in systems(self.f):
            yield from self._pairs(slots, reach)
            yield from self._units(slots, reach)
        for slots in entrywise(self.f):
            yield from self._units(slots, reach)

    def _turned(self) -> list[Flat]:
        """What norms leave, their weights held where they are."""
        found: list[Velocity] = []
        for slots in held_systems(self.f, self.held, self.x):
            found += self._pairs(slots, FAR, held=True)
            for slot in (slot for slot in slots if slot.turn is not None):
                found += self._idle(slot)
        return self._algebra(found, FAR)

    def _idle(self, slot: "Slot") -> Iterator[Velocity]:
        """The entries of unit 0 of a slot along which nothing changes, but for a shift of the bias
        that goes with it.
        """
        _, gradients = self.drawn(FAR, SPARE, held=True)
        seen = slot.lowered(gradients)[:, 0]  # (K, r)
        least = ZERO * gradients.norm(dim=1, keepdim=True)
        beside = torch.zeros_like(seen) if slot.bias is None else gradients[:, slot.bias[0]]
        share = (seen * beside).sum(0) / beside.square().sum(0).clamp_min(1e-300)
        idle = ((seen - share * beside).abs() <= least).all(0)
        one = seen.new_ones(1)
        for e in idle.nonzero()[:, 0].tolist():
            moves = [Move("shift", slot.name, slot.entries[:, e, None], slot.to(0))]
            if slot.bias is not None:
                moves.append(Move("shift", slot.bias_name, slot.bias[:1, e, None], one))
            yield Velocity(tuple(moves), (1.0, -float(share[e]))[: len(moves)], (0,))

    def _algebra(self, velocities: Iterable[Velocity], reach: float) -> list[Flat]:
        """The flat directions of velocities, by the tensors that move together."""
        pools: dict[tuple[bool, tuple[str, ...]], list[Velocity]] = {}
        for velocity in velocities:
            linear = bool(velocity.kinds & {"scale", "mix"})
            pools.setdefault((linear, velocity.key), []).append(velocity)
        order = sorted(pools, key=lambda key: (key[0], len(key[1]), key[1]))
        found: list[Flat] = []
        for key in order:
            single = [v for v in pools[key] if len(v.units) == 1]
            before = self.basis.shape[1]
            self._accept(single)
            alone = self.basis.shape[1]
            self._accept([v for v in pools[key] if len(v.units) > 1])
            new = self.basis[:, before:]
            if new.shape[1]:
                named = single if self.basis.shape[1] == alone else pools[key]
                found.append(Flat(_title(named, new.shape[1], reach), new))
        return found

    def _units(self, slots: "Sequence[Slot]", reach: float) -> Iterator[Velocity]:
        """Velocities of one unit each."""
        kinds = [(slot, kind) for slot in slots for kind in slot.kinds]
        thetas, gradients = self.drawn(reach, len(kinds) + SPARE)
        columns, scales = [], []
        for slot, kind in kinds:
            column, scale = slot.measured(kind, thetas, gradients)
            columns.append(column)
            scales.append(scale)
        yield from _solved(
            torch.stack(columns, -1).transpose(0, 1),  # (d, K, J)
            torch.stack(scales, -1),  # (d, J)
            lambda unit, j: kinds[j][0].move(kinds[j][1], unit, unit),
            [(i,) for i in range(slots[0].units)],
            [(0,)] * len(kinds),
        )

    def _pairs(
        self, slots: "Sequence[Slot]", reach: float, *, held: bool = False
    ) -> Iterator[Velocity]:
        """Velocities that mix two units."""
        size = slots[0].units
        if not 2 <= size <= WIDEST:
            return
        kinds = [(slot, *kind) for slot in slots for kind in slot.mixing(held)]
        count = len(kinds) + SPARE
        if count * len(kinds) * size * (size - 1) / 2 > NUMBERS:
            return
        thetas, gradients = self.drawn(reach, count, held=held)
        units = torch.triu_indices(size, size, 1, device=self.x.device)
        columns, scales = [], []
        for slot in slots:
            for column, scale in slot.mixed(thetas, gradients, units, through=held):
                columns.append(column)
                scales.append(scale)

        pairs = [(a, b) for a, b in units.T.tolist()]

        def move(pair: int, j: int) -> Move:
            slot, kind, to, of = kinds[j]
            return slot.move(kind, pairs[pair][to], pairs[pair][of])

        yield from _solved(
            torch.stack(columns, -1).transpose(0, 1),
            torch.stack(scales, -1),
            move,
            pairs,
            [(to, of) if kind == "mix" else (of,) for _, kind, to, of in kinds],
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
        moving = self._tangents(velocities)
        if not moving:
            return
        if not self._holds([v for v, _ in moving]):
            moving = [(v, t) for v, t in moving[:200] if self._holds([v])]
        if not moving:
            return
        self._span(torch.stack([t for _, t in moving], dim=1))

    def _tangents(self, velocities: Sequence[Velocity]) -> list[tuple[Velocity, Tensor]]:
        """The unit tangents at x of those along which x moves and the Hessian is zero."""
        if not velocities:
            return []
        tangents = [velocity.at(self.x) for velocity in velocities]
        sizes = torch.stack([tangent.norm() for tangent in tangents])
        units = [t / size for t, size in zip(tangents, sizes.clamp_min(1e-300), strict=True)]
        moves = sizes > 1e-9 * self.x.norm().clamp_min(1e-30)
        if self.null is not None:
            inside = torch.stack([(self.null.T @ unit).norm() for unit in units])
            moves &= inside >= FLAT
        return [(v, t) for v, t, so in zip(velocities, units, moves.tolist(), strict=True) if so]

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
            if abs(value - self.value) <= self._noise() and self._rests(moved):
                return True
        return False

    def _rests(self, moved: Tensor) -> bool:
        """Whether f is stationary there where it is so at x, which a value alone would not tell:
        beside a minimum it changes with the square of what is wrong.
        """
        if self.null is None:
            return True
        here = float(self.f.gradient(self.x).norm())
        return float(self.f.gradient(moved).norm()) <= 10 * here + 1e-11 * self._steep()

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


def _sides(f: ModelLandscape) -> Iterator[list[Tensor]]:
    """Of each module, or of a tensor without one, the entries (d, r) of all that it has for a unit
    that it writes; and of each of its tensors along the other axes.
    """
    homes: dict[str, list[Tensor]] = {}
    for name, where in f.layout.items():
        entries = torch.arange(where.start, where.stop, device=f.device).view(f.shapes[name])
        home = name.rpartition(".")[0] if "weight" in name or "bias" in name else name
        homes.setdefault(home, []).append(entries)
    for tensors in homes.values():
        if wide := [t for t in tensors if t.ndim > 1]:
            yield [side for side in _axes(wide, tensors) if len(side) > 1]


def _axes(wide: Sequence[Tensor], tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """The first axis of all tensors of the first one's length, and the others of the wide ones."""
    size = len(wide[0])
    yield torch.cat([t.reshape(size, -1) for t in tensors if t.ndim and len(t) == size], dim=1)
    yield from (t.movedim(dim, 0).flatten(1) for t in wide for dim in range(1, t.ndim))


def _outer(U: Tensor, entries: Tensor, n: int) -> Tensor:
    """Directions (n, p r): one for each of the combinations U (d, p) of units and each of the r
    entries that units (d, r) have.
    """
    out = U.new_zeros(n, entries.shape[1], U.shape[1])
    for j, own in enumerate(entries.T):
        out[own, j] = U
    return out.flatten(1)


def _neighbours(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The tensors of one module, of two, and two of one module, each set once."""
    homes: dict[str, tuple[str, ...]] = {}
    for name in names:
        home = name.rpartition(".")[0]
        homes[home] = (*homes.get(home, ()), name)
    yield from homes.values()
    if len(homes) <= 30:
        yield from (a + b for a, b in combinations(homes.values(), 2))
    yield from (pair for held in homes.values() for pair in combinations(held[:30], 2))


# ---- linear algebra of many small systems --------------------------------------------------------


def _solved(
    equations: Tensor,
    scales: Tensor,
    move: Callable[[int, int], Move],
    units: Sequence[tuple[int, ...]],
    touched: Sequence[tuple[int, ...]],
) -> Iterator[Velocity]:
    """The velocities that solve systems (s, K, J) in units of ``scales`` (s, J) and touch all of a
    system's units: ``touched`` says which of them each column does.
    """
    both = torch.cat([scales[:, None], equations], dim=1).cpu()  # of many small systems one copy
    scales, equations = both[:, 0], both[:, 1:]
    equations = equations / scales.clamp_min(torch.finfo(scales.dtype).tiny)[:, None]
    _, sizes, V = torch.linalg.svd(equations, full_matrices=False)
    mixes = torch.tensor([len(of) > 1 for of in touched], device="cpu")
    small = sizes <= ZERO * equations.shape[1] ** 0.5
    for s in small.any(1).nonzero()[:, 0].tolist():
        null = _reduced(V[s][small[s]] / scales[s], mixes)
        for row in null:
            used = (row.abs() * scales[s] > 1e-7 * (row.abs() * scales[s]).max()).nonzero()[:, 0]
            columns = used.tolist()
            if {unit for j in columns for unit in touched[j]} == set(range(len(units[s]))):
                yield _combined([move(s, j) for j in columns], row[columns].tolist(), units[s])


def _combined(moves: Sequence[Move], weights: Sequence[float], units: tuple[int, ...]) -> Velocity:
    """The sum of moves, in the order of where in theta they begin."""
    begins = torch.stack([move.targets.min() for move in moves]).tolist()
    order = sorted(range(len(moves)), key=begins.__getitem__)
    return Velocity(tuple(moves[j] for j in order), tuple(weights[j] for j in order), units)


def _reduced(rows: Tensor, first: Tensor) -> Tensor:
    """The rows of a null space (p, J) in reduced echelon form, the columns ``first`` before the
    others: few entries each.
    """
    order = torch.cat([first.nonzero()[:, 0], (~first).nonzero()[:, 0]])
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
    one = v.new_ones(1)
    moves = tuple(Move("shift", names(int(i)), i[None, None], one) for i in every[used])
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
