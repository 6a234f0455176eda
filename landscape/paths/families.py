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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape
from landscape.paths.twins import scalings, twins
from landscape.paths.units import (
    Axis,
    Family,
    Junction,
    State,
    Unchanged,
    multiplied,
    permuted,
    state,
)
from landscape.rng import generator

CHANNELS_SECOND = (
    *(nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm),
    nn.modules.instancenorm._InstanceNorm,
    nn.PReLU,
)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)


DRAWS = 2  # random factors of all units that verify a junction


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

    Layers of one unit have no permutation, but may have a sign and a scale.

    Cost: two forward passes of the first micro-batch a module, three passes or more over all data
    a family, and up to six a junction; where no module tells, some gradients: see ``twins``.
    """
    ports = {path: _ports(m) for path, m in f.model.named_modules()}
    known = {path: port for path, port in ports.items() if port is not None}
    names = _one_name(f.model)
    linked = [_renamed(family, names) for family in _linked(f, known, seed)]
    unchanged = Unchanged.at(f, state(f))
    held = _verified(unchanged, [*linked, *_heads(f.model)], seed)
    held += _supposed_heads(f.model, unchanged, seed)
    # what has heads has been told; of all others scales may be free that modules do not tell of
    told = [family for family in held if not family.junctions]
    open_ = [family for family in held if family.junctions]
    fine = _fine(f)
    if fine is not None:
        open_ += twins(fine, held, lambda k: _holds(unchanged, k, seed), seed)
    freed = [_with_junctions(unchanged, family, fine, seed) for family in open_]
    return [*(k for k in freed if k.size > 1 or k.junctions), *told]


def _fine(f: ModelLandscape) -> ModelLandscape | None:
    """f in float64; None where its model cannot compute in it."""
    try:
        return f if f.dtype == torch.float64 else f.astype(torch.float64)
    except (LoadingError, NumericalError):
        return None


def _one_name(model: nn.Module) -> dict[str, str]:
    """Of every name of a parameter the one that it has in a state: tied ones have several."""
    first: dict[int, str] = {}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(p), name) for name, p in every}


def _renamed(family: Family, names: Mapping[str, str]) -> Family:
    """The family with one name for each tensor. What is written and read there takes a factor once,
    as a sign can be.
    """

    def of(axis: Axis) -> Axis:
        return axis._replace(name=names.get(axis.name, axis.name))

    junctions = []
    for junction in family.junctions:
        powers: dict[Axis, int] = {}
        for axis, power in junction.axes:
            powers[of(axis)] = max(powers.get(of(axis), power), power)
        junctions.append(replace(junction, axes=tuple(powers.items())))
    axes = tuple(dict.fromkeys(of(axis) for axis in family.axes))
    return replace(family, axes=axes, junctions=tuple(junctions))


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
    return [family for family in families if family is not None]


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

    def compute() -> tuple[State, State]:
        with _recorded(readers) as before:
            _passed(f)
        with _recorded(readers) as after, _nudged(modules[path], unit):
            _passed(f)
        return before, after

    before, after = eased(f, f.point(), compute)
    for name, module in readers.items():
        if name not in before or before[name].shape != after[name].shape:
            continue
        axis = _channel(module)
        changed = (before[name] != after[name]).movedim(axis, 0).flatten(1).any(1)
        entries, left = divmod(len(changed), ports[path].writes)
        here = slice(unit * entries, (unit + 1) * entries)
        alone = bool(changed[here].any()) and int(changed.sum()) == int(changed[here].sum())
        alone &= ports[path].writes > 1 or entries == 1  # a layer of one unit changes all behind it
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
        if not isinstance(module, nn.MultiheadAttention):
            continue
        h, wide = module.num_heads, module.head_dim
        names = [("in_proj_weight", 0, 3)]
        if module.in_proj_weight is None:
            names = [(f"{k}_proj_weight", 0, 1) for k in "qkv"]
        names += [("in_proj_bias", 0, 3)] if module.in_proj_bias is not None else []
        names += [("bias_k", 2, 1), ("bias_v", 2, 1)] if module.bias_k is not None else []
        lead = f"{path}." if path else ""
        every = [*names, ("out_proj.weight", 1, 1)]
        axes = tuple(Axis(f"{lead}{name}", dim, before, wide) for name, dim, before in every)
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


def _with_junctions(
    unchanged: Unchanged, family: Family, fine: ModelLandscape | None, seed: int
) -> Family:
    """The family with the junctions at which signs or scales are free. Where no module tells of
    any, scales as gradients have them, or the signs of all axes (a recurrent layer).
    """
    held = list(_free(unchanged, family.size, family.junctions, seed))
    told = [replace(junction, signs=False, scales=False) for junction in held]
    rest = [junction for junction in family.junctions if junction not in told]
    held += _free(unchanged, family.size, _at_once(rest), seed)
    if not held and fine is not None:
        held = list(_free(unchanged, family.size, scalings(fine, family, seed), seed))
        held = held or list(islice(_free(unchanged, family.size, _odd(family), seed), 1))
    return replace(family, junctions=tuple(held))


def _odd(family: Family) -> Iterator[Junction]:
    """The signs of all axes, but for those of some gates (a recurrent layer)."""
    blocks = sorted({axis.block for axis in family.axes if axis.before > 1})
    for count in range(len(blocks), -1, -1):
        for still in combinations(blocks, len(blocks) - count):
            moving = [axis for axis in family.axes if axis.block not in still or axis.before == 1]
            yield Junction(tuple((axis, 1) for axis in moving))


def _at_once(junctions: Sequence[Junction]) -> list[Junction]:
    """Several junctions as one (a residual stream)."""
    if len(junctions) < 2:
        return []
    powers: dict[Axis, int] = {}
    for axis, power in (pair for junction in junctions for pair in junction.axes):
        powers[axis] = powers.get(axis, 0) + power
    return [Junction(tuple(powers.items()))] if {1, -1} <= set(powers.values()) else []


def _free(
    unchanged: Unchanged, size: int, junctions: Iterable[Junction], seed: int
) -> Iterator[Junction]:
    """Those of the junctions at which signs or scales are free, with which."""
    for junction in junctions:
        freed = _freed(unchanged, size, junction, seed)
        if freed.signs or freed.scales:
            yield freed


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
