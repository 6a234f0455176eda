"""Permutations of hidden units that bring one network close to another (Git Re-Basin: Ainsworth,
Hayase & Srinivasa 2023, ICLR, arXiv:2209.04836).

Hidden units may change places where everything that writes or reads them follows. Which axes of
which tensors belong together is measured: one unit of a module's output is changed, and a module
that sees the change in the one unit reads it. A family of axes counts only where f stays the same
under a random permutation of it, to rounding. Matching takes the families in turn: the permutation
that maximises sum <A, P B> is a linear assignment (scipy.optimize.linear_sum_assignment), until
nothing changes.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import LOSS_ULPS
from landscape.rng import generator

State = dict[str, Tensor]  # parameters and floating-point buffers by name
ROUNDS = 100  # over all families
CHANNELS_SECOND = (
    *(nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm),
    nn.modules.instancenorm._InstanceNorm,
    nn.PReLU,
)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)


class Axis(NamedTuple):
    """An axis of a tensor along which units lie: of shape (before, units, after) when unfolded."""

    name: str
    dim: int
    before: int
    after: int


@dataclass(frozen=True)
class Family:
    """Axes whose units change places together."""

    size: int
    axes: tuple[Axis, ...]


class _Ports(NamedTuple):
    """Where a module's parameters meet what it reads and writes: (name, dim) of its own tensors."""

    reads: int  # units
    writes: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    through: bool = False  # unit i of its output is unit i of its input


def families(f: ModelLandscape, seed: int = 0) -> list[Family]:
    """The families of units of f's model that may be permuted, each verified at its current point.

    Cost: two forward passes of the first micro-batch a module, and a pass or more over all data a
    family.
    """
    ports = {path: _ports(m) for path, m in f.model.named_modules()}
    known = {path: port for path, port in ports.items() if port is not None}
    found = [*_linked(f, known, seed), *_heads(f.model)]
    return [*_verified(f, found, seed), *_supposed_heads(f, seed)]


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
            found[axis.name] = _reordered(found[axis.name], axis, order)
    return found


def matched(a: State, b: State, families: Sequence[Family]) -> list[Tensor]:
    """Orders (size,) of b's units, one a family, that bring b nearest to a.

    From two beginnings, and the better end of the two: b as it is; and family after family by what
    is fixed already, from the inputs on, which finds a permuted copy exactly.
    """
    if not families:
        return []
    as_it_is = [torch.arange(family.size, device="cpu") for family in families]
    ends = [_descended(a, b, families, start) for start in (as_it_is, _grown(a, b, families))]

    def likeness(orders: list[Tensor]) -> float:
        moved = permuted(b, families, orders)
        return sum(float((a[k] * t).sum()) for k, t in moved.items())

    return max(ends, key=likeness)


def _reordered(t: Tensor, axis: Axis, order: Tensor) -> Tensor:
    moved = t.movedim(axis.dim, 0)
    parts = moved.reshape(axis.before, len(order), axis.after, *moved.shape[1:])
    return parts[:, order.to(t.device)].reshape(moved.shape).movedim(0, axis.dim)


def _units(t: Tensor, axis: Axis, size: int) -> Tensor:
    """One row a unit (size, ...)."""
    moved = t.movedim(axis.dim, 0)
    return moved.reshape(axis.before, size, -1).movedim(1, 0).reshape(size, -1)


def _assigned(
    a: State, b: State, families: Sequence[Family], orders: list[Tensor], k: int, known: set[int]
) -> Tensor | None:
    """The best order of family k, the others as they are; by tensors all of whose other families
    are ``known``. None: there is none.
    """
    family, score = families[k], None
    others: dict[str, list[tuple[int, Axis]]] = {}
    for j, other in enumerate(families):
        for axis in other.axes:
            if j != k:
                others.setdefault(axis.name, []).append((j, axis))
    for axis in family.axes:
        beside = others.get(axis.name, [])
        if any(j not in known for j, _ in beside):
            continue
        theirs = b[axis.name]
        for j, other_axis in beside:
            theirs = _reordered(theirs, other_axis, orders[j])
        rows = [_units(t, axis, family.size) for t in (a[axis.name], theirs)]
        score = rows[0] @ rows[1].T + (0.0 if score is None else score)
    if score is None:
        return None
    return torch.as_tensor(
        linear_sum_assignment(score.cpu().numpy(), maximize=True)[1], device="cpu"
    )


def _grown(a: State, b: State, families: Sequence[Family]) -> list[Tensor]:
    """Orders found one family after the other, each by those that are known."""
    orders = [torch.arange(family.size, device="cpu") for family in families]
    known: set[int] = set()
    while len(known) < len(families):
        left = [k for k in range(len(families)) if k not in known]
        # first where most numbers speak; a bias alone says little
        k = max(left, key=lambda k: _witnesses(a, families, k, known))
        order = _assigned(a, b, families, orders, k, known)
        orders[k] = orders[k] if order is None else order
        known.add(k)
    return orders


def _witnesses(a: State, families: Sequence[Family], k: int, known: set[int]) -> int:
    """How many numbers say something about family k where only the ``known`` ones are fixed."""
    unknown = {
        axis.name
        for j, family in enumerate(families)
        if j != k and j not in known
        for axis in family.axes
    }
    return sum(a[axis.name].numel() for axis in families[k].axes if axis.name not in unknown)


def _descended(
    a: State, b: State, families: Sequence[Family], start: Sequence[Tensor]
) -> list[Tensor]:
    """Assignment after assignment until none changes."""
    orders, every = list(start), set(range(len(families)))
    for _ in range(ROUNDS):
        changed = False
        for k in every:
            order = _assigned(a, b, families, orders, k, every)
            if order is not None and not torch.equal(order, orders[k]):
                orders[k], changed = order, True
        if not changed:
            break
    return orders


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
    return _Ports(shape[0], shape[0], own, own, True)


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


def _linked(f: ModelLandscape, ports: Mapping[str, _Ports], seed: int) -> list[Family]:
    """Families of axes that were seen to carry the same units."""
    modules = dict(f.model.named_modules())
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.get(node, node) != node:
            node = parent[node]
        return node

    wide: dict[tuple[str, str], int] = {}  # consecutive entries that belong to one unit
    draws = generator(seed)
    for path, port in ports.items():
        if port.through:
            parent[root((path, "in"))] = root((path, "out"))
        unit = int(torch.randint(port.writes, (), generator=draws, device="cpu"))
        for reader, after in _readers(f, modules, ports, path, unit):
            parent[root((reader, "in"))] = root((path, "out"))
            wide[reader, "in"] = after
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path in ports:
        for side in ("out", "in"):
            groups.setdefault(root((path, side)), []).append((path, side))
    return [
        family
        for nodes in groups.values()
        if (family := _family(nodes, ports, wide)) is not None and family.size > 1
    ]


def _family(
    nodes: Sequence[tuple[str, str]],
    ports: Mapping[str, _Ports],
    wide: Mapping[tuple[str, str], int],
) -> Family | None:
    """The axes of a group of ports; None where nothing writes or nothing reads."""
    sides = {side for path, side in nodes if not ports[path].through}
    if sides != {"in", "out"}:
        return None
    axes: dict[tuple[str, int], Axis] = {}
    size = next(ports[path].writes for path, side in nodes if side == "out")
    for path, side in nodes:
        after = wide.get((path, side), 1)
        for name, dim in ports[path].inputs if side == "in" else ports[path].outputs:
            whole = f"{path}.{name}" if path else name
            axes.setdefault((whole, dim), Axis(whole, dim, 1, after))
    return Family(size, tuple(axes.values()))


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


def _supposed_heads(f: ModelLandscape, seed: int) -> list[Family]:
    """Heads of attention written with linear layers, fused or one each for query, key and value:
    the finest blocks under whose exchange f stays what it is.
    """
    found = []
    for path, module in f.model.named_modules():
        children = {
            f"{path}.{name}" if path else name: m
            for name, m in module.named_children()
            if type(m) is nn.Linear
        }
        for writers, reader, before in _attention(children):
            blocks = (
                _blocks(children, writers, reader, before, h) for h in _divisors(children[reader])
            )
            held = (family for family in blocks if _holds(f, family, seed))
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


def _verified(f: ModelLandscape, found: Sequence[Family], seed: int) -> list[Family]:
    """The families under whose permutations f stays what it is; those of one size that do not by
    themselves, but do together (a residual stream), as one.
    """
    held = [family for family in found if _holds(f, family, seed)]
    rest: dict[int, list[Axis]] = {}
    for family in found:
        if family not in held:
            rest.setdefault(family.size, []).extend(family.axes)
    for size, axes in rest.items():
        together = Family(size, tuple(dict.fromkeys(axes)))
        if _holds(f, together, seed):
            held.append(together)
    return held


def _holds(f: ModelLandscape, family: Family, seed: int) -> bool:
    """Whether f is the same, to rounding, after a cycle of all units, an exchange of two, which
    together make every permutation, and a random one.
    """
    here, size = state(f), family.size
    if any(axis.name not in here for axis in family.axes):
        return False
    units = torch.arange(size, device="cpu")
    exchanged = torch.cat([units[:2].flip(0), units[2:]])
    drawn = torch.randperm(size, generator=generator(seed), device="cpu")
    before = float(f.value(f.point()))
    for order in (units.roll(1), exchanged, drawn):
        ours, x = at(f, permuted(here, [family], [order]))
        noise = 100 * LOSS_ULPS * f.rounding(x) * max(abs(before), 1e-30)
        if not abs(float(ours.value(x)) - before) <= noise:
            return False
    return True
