"""Families of hidden units: what may change places, sign or scale without changing the network.

Hidden units may change places where everything that writes or reads them follows. Which axes of
which tensors belong together is measured: one unit of a module's output is changed, and a module
that sees the change in the one unit reads it. A family of axes counts only where f stays the same
under a random permutation of it, to rounding.

Between what writes a unit and what reads it lies a junction: where all that writes is multiplied by
c and all that reads is divided by c, f stays the same if what lies between is odd and c = -1
(tanh), or homogeneous and c > 0 (ReLU). Which of the two holds is measured too, with random signs
and random scales of all units at once.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import LOSS_ULPS
from landscape.rng import generator

State = dict[str, Tensor]  # parameters and floating-point buffers by name
CHANNELS_SECOND = (
    *(nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm),
    nn.modules.instancenorm._InstanceNorm,
    nn.PReLU,
)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)


DRAWS = 2  # random factors of all units that verify a junction


class Axis(NamedTuple):
    """An axis of a tensor along which units lie: of shape (before, units, after) when unfolded."""

    name: str
    dim: int
    before: int
    after: int


@dataclass(frozen=True)
class Junction:
    """Where a family's units are written and read: unit i of each axis is multiplied by c_i to the
    power beside it.
    """

    axes: tuple[tuple[Axis, int], ...]
    signs: bool = False  # f stays the same for c_i = -1 and 1
    scales: bool = False  # f stays the same for c_i > 0


@dataclass(frozen=True)
class Family:
    """Axes whose units change places together."""

    size: int
    axes: tuple[Axis, ...]
    junctions: tuple[Junction, ...] = ()


class _Ports(NamedTuple):
    """Where a module's parameters meet what it reads and writes: (name, dim) of its own tensors."""

    reads: int  # units
    writes: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    through: bool = False  # unit i of its output is unit i of its input
    homogeneous: bool = False  # and c > 0 times as large where the input is


@owned()
def families(f: ModelLandscape, seed: int = 0) -> list[Family]:
    """The families of units of f's model that may be permuted, each verified at its current point,
    with the junctions at which units may change sign or scale.

    Cost: two forward passes of the first micro-batch a module, three passes or more over all data
    a family, and up to six a junction.
    """
    ports = {path: _ports(m) for path, m in f.model.named_modules()}
    known = {path: port for path, port in ports.items() if port is not None}
    found = [*_linked(f, known, seed), *_heads(f.model)]
    unchanged = Unchanged.at(f, state(f))
    held = [_with_junctions(unchanged, k, seed) for k in _verified(unchanged, found, seed)]
    return [*held, *_supposed_heads(f.model, unchanged, seed)]


def state(f: ModelLandscape) -> State:
    """Parameters at f's point and floating-point buffers, by name, float64, on the landscape's
    device.
    """
    tensors = {**f.parameters(), **dict(f.model.named_buffers())}
    return {
        k: t.detach().to(f.device, torch.float64)
        for k, t in tensors.items()
        if t.is_floating_point()
    }


def at(f: ModelLandscape, tensors: Mapping[str, Tensor]) -> tuple[ModelLandscape, Tensor]:
    """f with these buffers in the place of its own, and these parameters as its point."""
    ours = copy.copy(f)
    held = {k for k, _ in f.model.named_buffers()}
    ours.statistics = {k: t.to(f.device, f.dtype) for k, t in tensors.items() if k in held}
    x = torch.cat([tensors[k].reshape(-1).to(f.device, f.dtype) for k in f.layout])
    return ours, x


def permuted(
    tensors: Mapping[str, Tensor], families: Sequence[Family], orders: Sequence[Tensor]
) -> State:
    """The tensors with unit ``order[i]`` of each family in the place of unit i."""
    found = dict(tensors)
    for family, order in zip(families, orders, strict=True):
        for axis in family.axes:
            found[axis.name] = reordered(found[axis.name], axis, order)
    return found


def multiplied(tensors: Mapping[str, Tensor], junction: Junction, factors: Tensor) -> State:
    """The tensors with unit i of a junction ``factors[i]`` (size,) times as large."""
    found = dict(tensors)
    for axis, power in junction.axes:
        t = found[axis.name].movedim(axis.dim, 0)
        c = factors.to(t).pow(power).repeat_interleave(axis.after).repeat(axis.before)
        whole = t * c.view(-1, *[1] * (t.ndim - 1))
        found[axis.name] = whole.movedim(0, axis.dim)
    return found


@dataclass(frozen=True, eq=False)
class Unchanged:
    """Whether f is with other tensors what it is with these, to rounding."""

    f: ModelLandscape
    tensors: State
    value: float
    noise: float

    @classmethod
    def at(cls, f: ModelLandscape, tensors: State) -> "Unchanged":
        """With these tensors. Cost: two passes over the data."""
        ours, x = at(f, tensors)
        value, blank = (float(ours.value(point)) for point in (x, torch.zeros_like(x)))
        # a fit may be so good that f is smaller than the rounding of what it is made of; a model
        # whose parameters are all 0 tells the size of that
        size = max(abs(value), abs(blank) / 10 if math.isfinite(blank) else 0.0)
        return cls(f, tensors, value, 100 * LOSS_ULPS * f.rounding(x) * size)

    def __call__(self, tensors: Mapping[str, Tensor]) -> bool:
        ours, x = at(self.f, tensors)
        return abs(float(ours.value(x)) - self.value) <= self.noise


def reordered(t: Tensor, axis: Axis, order: Tensor) -> Tensor:
    """A tensor with unit ``order[i]`` of an axis in the place of unit i."""
    moved = t.movedim(axis.dim, 0)
    parts = moved.reshape(axis.before, len(order), axis.after, *moved.shape[1:])
    return parts[:, order.to(t.device)].reshape(moved.shape).movedim(0, axis.dim)


def units(t: Tensor, axis: Axis, size: int) -> Tensor:
    """One row a unit (size, ...)."""
    moved = t.movedim(axis.dim, 0)
    return moved.reshape(axis.before, size, -1).movedim(1, 0).reshape(size, -1)


# ---- which axes belong together ------------------------------------------------------------------


def _ports(module: nn.Module) -> _Ports | None:
    """What a module reads and writes; None where units are not told apart."""
    for kind, read in _KINDS:
        if isinstance(module, kind):
            return read(module)
    return None


def _norm_ports(module: nn.Module) -> _Ports | None:
    held = ("weight", "bias", "running_mean", "running_var")
    tensors = {k: t for k in held if isinstance(t := getattr(module, k, None), Tensor)}
    sizes = {tuple(t.shape) for t in tensors.values()}
    if len(sizes) != 1 or len(shape := sizes.pop()) != 1 or shape[0] == 1:
        return None
    own = tuple((k, 0) for k in tensors)
    return _Ports(shape[0], shape[0], own, own, True, isinstance(module, nn.PReLU))


def _attention_ports(module: Any) -> _Ports | None:
    if module.in_proj_weight is None:
        return None
    out = [("out_proj.weight", 0)]
    out += [] if module.out_proj.bias is None else [("out_proj.bias", 0)]
    return _Ports(module.embed_dim, module.embed_dim, (("in_proj_weight", 1),), tuple(out))


def _embedding_ports(module: Any) -> _Ports:
    return _Ports(0, module.embedding_dim, (), (("weight", 1),))


def _layer_ports(module: Any) -> _Ports | None:
    weight = module.weight
    biases = () if module.bias is None else (("bias", 0),)
    back = isinstance(module, nn.modules.conv._ConvTransposeNd)
    out, into = (1, 0) if back else (0, 1)
    groups = getattr(module, "groups", 1)
    if groups == 1:
        outputs = (("weight", out), *biases)
        return _Ports(weight.shape[into], weight.shape[out], (("weight", into),), outputs)
    if groups == weight.shape[0] and weight.shape[1] == 1:
        own = (("weight", 0), *biases)
        return _Ports(groups, groups, own, own, True)
    return None


_KINDS: tuple[tuple[Any, Callable[[Any], _Ports | None]], ...] = (
    (NORMS, _norm_ports),
    (nn.MultiheadAttention, _attention_ports),
    (nn.Embedding, _embedding_ports),
    ((nn.Linear, nn.modules.conv._ConvNd), _layer_ports),
)


Node = tuple[str, str]  # the path of a module, and "in" or "out"
Edge = tuple[Node, Node]


def _linked(f: ModelLandscape, ports: Mapping[str, _Ports], seed: int) -> list[Family]:
    """Families of axes that were seen to carry the same units."""
    modules, draws = dict(f.model.named_modules()), generator(seed)
    seen: dict[str, dict[str, int]] = {}
    for path, port in ports.items():
        unit = int(torch.randint(port.writes, (), generator=draws, device="cpu"))
        seen[path] = dict(_readers(f, modules, ports, path, unit))
    # consecutive entries that belong to one unit
    wide = {(reader, "in"): n for found in seen.values() for reader, n in found.items()}
    nodes = [(path, side) for path in ports for side in ("out", "in")]
    near = list(_near(ports, seen))
    through = [((k, "in"), (k, "out")) for k, port in ports.items() if port.through]
    junctions = _groups(nodes, near)
    families = (
        _family(group, [part for part in junctions if part[0] in group], ports, wide)
        for group in _groups(nodes, [*near, *through])
    )
    return [family for family in families if family is not None and family.size > 1]


def _near(ports: Mapping[str, _Ports], seen: Mapping[str, Mapping[str, int]]) -> Iterator[Edge]:
    """What writes and what reads with no other module's scale between."""
    for path, port in ports.items():
        if port.homogeneous:
            yield (path, "in"), (path, "out")
        between = [k for k in seen[path] if ports[k].through and not ports[k].homogeneous]
        behind = {reader for k in between for reader in seen[k]}
        for reader in seen[path]:
            if reader not in behind:
                yield (path, "out"), (reader, "in")


def _groups(nodes: Sequence[Node], edges: Iterable[Edge]) -> list[list[Node]]:
    """Nodes that edges connect."""
    group = {node: [node] for node in nodes}
    for a, b in edges:
        if group[a] is not group[b]:
            joined = group[a] + group[b]
            group.update(dict.fromkeys(joined, joined))
    order = {node: i for i, node in enumerate(nodes)}
    different = {id(each): each for each in group.values()}
    return [sorted(each, key=order.__getitem__) for each in different.values()]


def _family(
    nodes: Sequence[Node],
    parts: Sequence[Sequence[Node]],
    ports: Mapping[str, _Ports],
    wide: Mapping[Node, int],
) -> Family | None:
    """The axes of a group of ports and of its parts; None where nothing writes or reads."""
    if {side for path, side in nodes if not ports[path].through} != {"in", "out"}:
        return None
    size = next(ports[path].writes for path, side in nodes if side == "out")
    junctions = (Junction(tuple(_powers(part, ports, wide).items())) for part in parts)
    both = tuple(j for j in junctions if {1, -1} <= {power for _, power in j.axes})
    return Family(size, tuple(_powers(nodes, ports, wide)), both)


# To which power a tensor takes a unit's factor; other outputs take it, other inputs take 1 / c.
_POWERS = {
    **{("out", "running_mean"): 0, ("out", "running_var"): 0},
    **{("in", "running_mean"): 1, ("in", "running_var"): 0, ("in", "bias"): 0},
}


def _powers(
    nodes: Sequence[Node], ports: Mapping[str, _Ports], wide: Mapping[Node, int]
) -> dict[Axis, int]:
    """The axes of sides of modules, each with the power of a unit's factor."""
    axes: dict[tuple[str, int], Axis] = {}
    powers: dict[Axis, int] = {}
    for path, side in nodes:
        port = ports[path]
        for name, dim in port.inputs if side == "in" else port.outputs:
            whole = f"{path}.{name}" if path else name
            axis = axes.setdefault((whole, dim), Axis(whole, dim, 1, wide.get((path, side), 1)))
            power = _POWERS.get((side, name), -1 if side == "in" else 1)
            powers[axis] = powers.get(axis, 0) + (0 if port.homogeneous else power)
    return powers


def _readers(
    f: ModelLandscape,
    modules: Mapping[str, nn.Module],
    ports: Mapping[str, _Ports],
    path: str,
    unit: int,
) -> Iterator[tuple[str, int]]:
    """The modules that see a change of one unit of a module's output in that unit alone, and how
    many entries it has there.
    """
    readers = {k: modules[k] for k, port in ports.items() if port.inputs and k != path}
    with _recorded(readers) as before:
        _passed(f)
    with _recorded(readers) as after, _nudged(modules[path], unit):
        _passed(f)
    for name, module in readers.items():
        if name not in before or before[name].shape != after[name].shape:
            continue
        axis = _channel(module)
        changed = (before[name] != after[name]).movedim(axis, 0).flatten(1).any(1)
        entries, left = divmod(len(changed), ports[path].writes)
        here = slice(unit * entries, (unit + 1) * entries)
        alone = bool(changed[here].any()) and int(changed.sum()) == int(changed[here].sum())
        if alone and not left and len(changed) == ports[name].reads:
            yield name, entries


def _channel(module: nn.Module) -> int:
    return 1 if isinstance(module, CHANNELS_SECOND) else -1


def _passed(f: ModelLandscape) -> None:
    """One forward pass of the first micro-batch at f's point."""
    with f.evaluation(), torch.no_grad():
        next(iter(f.terms())).function(f.point())


@contextmanager
def _recorded(modules: Mapping[str, nn.Module]) -> Iterator[State]:
    """What the modules are given at their first call."""
    seen: State = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = next((t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)), None)
            if given is not None and name not in seen:
                seen[name] = given.detach().clone()

        return keep

    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(hook(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield seen


@contextmanager
def _nudged(module: nn.Module, unit: int) -> Iterator[None]:
    """One unit of a module's output is larger than it was, everywhere."""

    def nudge(_: nn.Module, args: object, output: Any) -> Any:
        whole = output[0] if isinstance(output, tuple) else output
        moved = whole.clone()
        part = moved.select(_channel(module), unit)
        part += 3 * whole.abs().max() + 1
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = module.register_forward_hook(nudge)
    try:
        yield
    finally:
        handle.remove()


def _heads(model: nn.Module) -> list[Family]:
    """The heads of torch's attention modules, which change places as blocks."""
    found = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.MultiheadAttention) or module.in_proj_weight is None:
            continue
        h, wide = module.num_heads, module.head_dim
        names = [("in_proj_weight", 0, 3), ("in_proj_bias", 0, 3), ("out_proj.weight", 1, 1)]
        if module.in_proj_bias is None:
            del names[1]
        lead = f"{path}." if path else ""
        axes = tuple(Axis(f"{lead}{name}", dim, before, wide) for name, dim, before in names)
        found.append(Family(h, axes))
    return [family for family in found if family.size > 1]


def _supposed_heads(model: nn.Module, unchanged: Unchanged, seed: int) -> list[Family]:
    """Heads of attention written with linear layers, fused or one each for query, key and value:
    the finest blocks under whose exchange f stays what it is.
    """
    found = []
    for path, module in model.named_modules():
        children = {
            f"{path}.{name}" if path else name: m
            for name, m in module.named_children()
            if type(m) is nn.Linear
        }
        for writers, reader, before in _attention(children):
            blocks = (
                _blocks(children, writers, reader, before, h) for h in _divisors(children[reader])
            )
            held = (family for family in blocks if _holds(unchanged, family, seed))
            found += list(islice(held, 1))
    return found


def _divisors(reader: nn.Linear) -> list[int]:
    """Numbers of heads that a width allows, the largest first."""
    width = reader.in_features
    return [h for h in range(width, 1, -1) if width % h == 0]


def _blocks(
    children: Mapping[str, nn.Linear], writers: list[str], reader: str, before: int, heads: int
) -> Family:
    """The heads of these layers as a family."""
    width = children[reader].in_features // heads
    axes = [Axis(f"{reader}.weight", 1, 1, width)]
    for name in writers:
        biased = children[name].bias is not None
        kinds = ("weight", "bias") if biased else ("weight",)
        axes += [Axis(f"{name}.{kind}", 0, before, width) for kind in kinds]
    return Family(heads, tuple(axes))


def _attention(children: Mapping[str, nn.Linear]) -> Iterator[tuple[list[str], str, int]]:
    """Names of what may write queries, keys and values, of what reads the heads, and how many
    tensors one weight holds: one fused layer, or three.
    """
    names = list(children)
    for fused in names:
        width, left = divmod(children[fused].out_features, 3)
        readers = [k for k in names if k != fused and children[k].in_features == width]
        if not left:
            yield from (([fused], reader, 3) for reader in readers)
    if len(names) == 4:
        sizes = {children[k].out_features for k in names[:3]}
        if sizes == {children[names[3]].in_features}:
            yield names[:3], names[3], 1


def _verified(unchanged: Unchanged, found: Sequence[Family], seed: int) -> list[Family]:
    """The families under whose permutations f stays what it is; those of one size that do not by
    themselves, but do together (a residual stream), as one.
    """
    held = [family for family in found if _holds(unchanged, family, seed)]
    rest: dict[int, list[Family]] = {}
    for family in found:
        if family not in held:
            rest.setdefault(family.size, []).append(family)
    together = (_together(size, parts) for size, parts in rest.items())
    return [*held, *(family for family in together if _holds(unchanged, family, seed))]


def _together(size: int, parts: Sequence[Family]) -> Family:
    axes = dict.fromkeys(axis for family in parts for axis in family.axes)
    junctions = tuple(junction for family in parts for junction in family.junctions)
    return Family(size, tuple(axes), junctions)


def _holds(unchanged: Unchanged, family: Family, seed: int) -> bool:
    """Whether f is the same, to rounding, after a cycle of all units, an exchange of two, which
    together make every permutation, and a random one.
    """
    here, size = unchanged.tensors, family.size
    if any(axis.name not in here for axis in family.axes):
        return False
    every = torch.arange(size, device="cpu")
    exchanged = torch.cat([every[:2].flip(0), every[2:]])
    drawn = torch.randperm(size, generator=generator(seed), device="cpu")
    orders = (every.roll(1), exchanged, drawn)
    return all(unchanged(permuted(here, [family], [order])) for order in orders)


def _with_junctions(unchanged: Unchanged, family: Family, seed: int) -> Family:
    """The family with the junctions at which signs or scales are free; of those at which neither
    is, all at once (a residual stream).
    """
    tried = [_freed(unchanged, family.size, junction, seed) for junction in family.junctions]
    held = [junction for junction in tried if junction.signs or junction.scales]
    rest = [junction for junction in tried if junction not in held]
    if len(rest) > 1:
        powers: dict[Axis, int] = {}
        for axis, power in (pair for junction in rest for pair in junction.axes):
            powers[axis] = powers.get(axis, 0) + power
        if {1, -1} <= set(powers.values()):
            held.append(_freed(unchanged, family.size, Junction(tuple(powers.items())), seed))
    return replace(family, junctions=tuple(j for j in held if j.signs or j.scales))


def _freed(unchanged: Unchanged, size: int, junction: Junction, seed: int) -> Junction:
    """The junction with what is free at it, verified with random signs, those of all other units,
    and random scales.
    """
    here = unchanged.tensors
    draws = torch.rand(DRAWS, size, generator=generator(seed), dtype=torch.float64, device="cpu")
    signs = torch.where(draws < 0.5, -1.0, 1.0)
    return replace(
        junction,
        signs=all(unchanged(multiplied(here, junction, c)) for c in (*signs, *-signs)),
        scales=all(unchanged(multiplied(here, junction, c)) for c in 16 ** (draws - 0.5)),
    )
