"""What may move together: the entries of tensors by units, and elementary velocities of them.

A unit is an index along an axis of a tensor, or along a part of one. T: (d, r), the entries of d
units.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from landscape.landscapes.model import ModelLandscape
from landscape.rng import generator

PARTS = 25  # most of one tensor that are tried entry by entry


class Move(NamedTuple):
    """An elementary velocity: ``targets`` (p, r) move by ``left`` (p,) times the combination
    ``right`` (q,) of the entries ``sources`` (q, r), or times 1.
    """

    kind: str
    tensor: str
    targets: Tensor
    left: Tensor
    sources: Tensor | None = None
    right: Tensor | None = None

    def at(self, theta: Tensor) -> Tensor:
        """How the targets (p, r) move at theta (n,)."""
        if self.sources is None or self.right is None:
            return self.left[:, None].expand(self.targets.shape)
        return self.left[:, None] * (self.right @ theta[self.sources])


# Of two units: what kind of move, which of them moves, and by which.
MIXED = (("mix", 0, 1), ("mix", 1, 0), ("scale", 0, 0), ("scale", 1, 1))
THROUGH = (("through", 0, 0), ("through", 1, 1))


class Slot(NamedTuple):
    """The entries of a tensor by units: along one of its axes, or a part of it."""

    name: str
    entries: Tensor  # (d, r)
    # (d, r) what of the layer's bias an entry moves: of a weight's units that it reads
    bias: Tensor | None = None
    bias_name: str = ""
    # (d, d) the units are these combinations of the entries' rows, and its inverse
    turn: Tensor | None = None
    back: Tensor | None = None
    axis: int = -1  # of the tensor; -1: of several

    @property
    def units(self) -> int:
        return len(self.entries)

    def part(self, rows: Tensor) -> "Slot":
        """The slot whose units are these rows (pieces, d), joined over the pieces."""
        entries = self.entries[rows].transpose(0, 1).flatten(1)
        bias = None if self.bias is None else self.bias[rows].transpose(0, 1).flatten(1)
        return self._replace(entries=entries, bias=bias)

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("scale", "shift") if self.bias is None else ("scale", "shift", "through")

    def mixing(self, through: bool) -> tuple[tuple[str, int, int], ...]:
        """The kinds of move of two units, and which of them moves by which."""
        return MIXED + THROUGH if through and self.bias is not None else MIXED

    def raised(self, thetas: Tensor) -> Tensor:
        """The units (K, d, r) at points (K, n)."""
        T = thetas[:, self.entries]
        return T if self.turn is None else torch.einsum("ab,kbr->kar", self.turn, T)

    def lowered(self, gradients: Tensor) -> Tensor:
        """The gradients (K, d, r) with respect to the units."""
        G = gradients[:, self.entries]
        return G if self.back is None else torch.einsum("ba,kbr->kar", self.back, G)

    def to(self, unit: int) -> Tensor:
        """How much of each row moves where this unit does."""
        if self.back is None:
            return torch.ones(1, dtype=torch.float64, device=self.entries.device)
        return self.back[:, unit]

    def move(self, kind: str, to: int, of: int) -> Move:
        """Unit ``to`` moves by unit ``of``, or the bias does."""
        rows = slice(None) if self.turn is not None else slice(to, to + 1)
        read = slice(None) if self.turn is not None else slice(of, of + 1)
        right = self.to(of) if self.turn is None else self.turn[of]
        if kind == "through":
            assert self.bias is not None
            one = right.new_ones(1)
            return Move(kind, self.bias_name, self.bias[of, None], one, self.entries[read], right)
        targets, left = self.entries[rows], self.to(to)
        if kind == "shift":
            return Move(kind, self.name, targets, left)
        return Move(kind, self.name, targets, left, self.entries[read], right)

    def measured(self, kind: str, thetas: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """g'phi at every point and unit (K, d), and |g| |phi| (d,), its root mean square."""
        targets = self.bias if kind == "through" and self.bias is not None else self.entries
        G, norms = gradients[:, targets], gradients.norm(dim=1)[:, None]
        if kind == "shift":
            size = norms * targets.shape[1] ** 0.5
            return G.sum(-1), size.square().mean(0).sqrt().expand(len(targets))
        T = thetas[:, self.entries]
        return (G * T).sum(-1), (norms * T.norm(dim=2)).square().mean(0).sqrt()

    def mixed(
        self, thetas: Tensor, gradients: Tensor, units: Tensor, *, through: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same of pairs of units (2, P) in the order of MIXED and, where asked, THROUGH."""
        T = self.raised(thetas)
        M = self.lowered(gradients) @ T.transpose(1, 2)  # (K, d, d)
        norms = gradients.norm(dim=1)[:, None]
        scales = (norms * T.norm(dim=2)).square().mean(0).sqrt()
        for _, to, of in MIXED:
            yield M[:, units[to], units[of]], scales[units[of]]
        if through and self.bias is not None:
            passed = (gradients[:, self.bias] * T).sum(-1)
            for _, to, of in THROUGH:
                yield passed[:, units[to]], scales[units[of]]


def systems(f: ModelLandscape) -> list[list[Slot]]:
    """The slots that are tried together: of one number of units, along axes as they are; and with
    parts of axes, which may lie apart.
    """
    sizes = {d for shape in f.shapes.values() for d in shape if d > 1}
    natural: dict[int, list[Slot]] = {}
    parts: dict[tuple[int, int], list[Slot]] = {}
    for name in f.layout:
        for slot in _slots(f, name, sizes):
            natural.setdefault(slot.units, []).append(slot)
            if slot.units in sizes:
                for key, cut in _cuts(slot, sizes):
                    parts.setdefault(key, []).append(cut)
    known = sizes | {1}
    whole = {d: slots for d, slots in natural.items() if d in known or len(slots) > 1}
    found = [slots + parts.pop((d, 1), []) for d, slots in whole.items()]
    return found + [natural.get(d, []) + cuts for (d, _), cuts in parts.items()]


def _slots(f: ModelLandscape, name: str, sizes: set[int]) -> Iterator[Slot]:
    """The slots of a tensor: all of it as one unit, along its axes, and along two of three."""
    where = f.layout[name]
    entries = torch.arange(where.start, where.stop, device=f.device)
    entries = entries.view(tuple(f.shapes[name]) or (1,))
    yield Slot(name, entries.reshape(1, -1))
    other, beside = _bias(f, name, entries)
    for dim in range(entries.ndim):
        reads = other is not None and dim == min(1, entries.ndim - 1)
        mates = other if reads and other is not None else entries
        for rows, mate in zip(_rows(entries, dim, sizes), _rows(mates, dim, sizes), strict=True):
            yield Slot(name, rows, mate if reads else None, beside if reads else "", axis=dim)
    yield from (Slot(name, rows) for rows in _joined(entries))


def _rows(index: Tensor, dim: int, sizes: set[int]) -> Iterator[Tensor]:
    """The entries (d, r) along an axis; of a grouped convolution's input all channels too."""
    rows = index.movedim(dim, 0)
    yield rows.reshape(len(rows), -1)
    width = len(rows)
    if index.ndim > 2 and dim == 1:
        for size in sorted(sizes):
            groups = size // width
            if groups > 1 and size == groups * width and index.shape[0] % groups == 0:
                apart = rows.reshape(width, groups, -1).transpose(0, 1)
                yield apart.reshape(size, -1)


def _cuts(slot: Slot, sizes: set[int]) -> Iterator[tuple[tuple[int, int], Slot]]:
    """Parts of an axis (m, pieces, k), each of m k units, by their number of units and m.

    Two to four pieces may be tensors of their own (queries, keys and values; gates); more are one
    (channels behind a flattened convolution, queries that share their keys).
    """
    for width in sizes:
        pieces = slot.units // width
        if width == slot.units or width * pieces != slot.units:
            continue
        for m in (m for m in range(1, width + 1) if width % m == 0):
            apart = torch.arange(slot.units, device=slot.entries.device)
            apart = apart.view(m, pieces, width // m).transpose(0, 1).reshape(pieces, width)
            for part in apart if pieces <= 4 else (apart,):
                yield (width, m), slot.part(part.view(-1, width))


def _joined(index: Tensor) -> Iterator[Tensor]:
    """Two axes of a tensor of three as one: heads and what is in them."""
    if index.ndim == 3:
        for dims in ((0, 2), (0, 1)):
            rows = index.movedim(dims, (0, 1)).flatten(0, 1)
            yield rows.reshape(len(rows), -1)


def norms(f: ModelLandscape) -> list[str]:
    """The parameters of modules that have vectors and no matrices: weights and biases of norms."""
    homes = {name: name.rpartition(".")[0] for name in f.layout}
    wide = {homes[name] for name, shape in f.shapes.items() if len(shape) > 1}
    return [name for name in f.layout if homes[name] not in wide]


def bare_norms(f: ModelLandscape) -> set[int]:
    """The widths of the model's LayerNorms that have no weights."""
    layers = [m for m in f.model.modules() if isinstance(m, nn.LayerNorm)]
    shapes = [m.normalized_shape for m in layers if not m.elementwise_affine]
    return {int(shape[0]) for shape in shapes if len(shape) == 1}


def held_systems(f: ModelLandscape, held: Sequence[str], x: Tensor) -> Iterator[list[Slot]]:
    """Slots that mix two units with the weights of norms held: as they are, and turned so that unit
    0 is the mean; what reads units does so through any of the norms of its width.
    """
    scales: dict[int, list[Tensor]] = {d: [x.new_ones(d)] for d in bare_norms(f)}
    for name in held:
        gamma = x[f.layout[name]]
        if not name.endswith("bias") and float(gamma.abs().min()) > 1e-6 * float(gamma.abs().max()):
            scales.setdefault(len(gamma), []).append(gamma)
    for slots in systems(f):
        size = slots[0].units
        free = [slot for slot in slots if slot.name not in held]
        if free and size in scales:
            yield free
            yield [turned for slot in free for turned in _turns(slot, scales[size])]


def _turns(slot: Slot, scales: Sequence[Tensor]) -> Iterator[Slot]:
    """The slot with its units turned, the mean first: as they are written, and as they are read
    through each of the scalings.
    """
    one = torch.ones_like(scales[0])
    draws = generator(len(one))
    rest = torch.randn(len(one), len(one) - 1, generator=draws, dtype=torch.float64, device="cpu")
    Q = torch.linalg.qr(torch.cat([one[:, None], rest.to(one)], dim=1))[0]
    written = [] if slot.bias is not None else [one]
    read = [] if slot.axis == 0 else [s for s in scales if not written or bool((s != 1).any())]
    for gamma in (*written, *read):
        yield slot._replace(turn=Q.T * gamma, back=Q / gamma[:, None])


def entrywise(f: ModelLandscape) -> list[list[Slot]]:
    """Slots whose units are single entries, of tensors of one shape, or of parts of that shape:
    taps of a convolution, matrices of one stack.
    """
    found: dict[tuple[int, ...], list[Slot]] = {}
    for name, shape in f.shapes.items():
        where = f.layout[name]
        entries = torch.arange(where.start, where.stop, device=f.device).view(shape)
        parts = [entries] if len(shape) == 2 else []
        if len(shape) > 2:
            taps, stack = entries.flatten(2).unbind(-1), entries.unbind(0)
            parts = [part for each in (taps, stack) if len(each) <= PARTS for part in each]
        for part in parts:
            slot = Slot(name, part.reshape(-1, 1))
            found.setdefault(tuple(part.shape), []).append(slot)
    return [slots for slots in found.values() if len({slot.name for slot in slots}) > 1]


def _bias(f: ModelLandscape, name: str, index: Tensor) -> tuple[Tensor | None, str]:
    """Where the bias beside a weight lies, of the weight's shape: along its first axis."""
    home, _, last = name.rpartition(".")
    packed = "qkv".find(last[0]) if last[1:] == "_proj_weight" else -1  # of one in_proj_bias
    beside = "in_proj_bias" if packed >= 0 else last.replace("weight", "bias")
    other = f"{home}.{beside}" if home else beside
    if other == name or other not in f.layout:
        return None, ""
    where = f.layout[other]
    entries = torch.arange(where.start, where.stop, device=f.device)
    entries = entries.view(3, -1)[packed] if packed >= 0 else entries
    if entries.shape != index.shape[:1]:
        return None, ""
    return entries.view(-1, *(1,) * (index.ndim - 1)).expand(index.shape), other
