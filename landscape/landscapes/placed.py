"""A point's tensors in the place of a module's own, for as long as anything may look at them.

While a point is in place, forward, backward and second backward passes, recomputation and autograd
Functions that call the module again all see the same tensors. Afterwards every module is as it was:
parameters, buffers, and the plain attributes that hooks compute from parameters (pruning, the older
weight normalisation) or that a forward pass leaves behind, in dicts and lists too.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from landscape.landscapes import batches as batching

MODULE = frozenset(vars(nn.Module()))  # what every module has, its mode among them
CONTAINERS = (dict, OrderedDict, defaultdict, list, deque, set)
COPIED = 2**24  # bytes of frozen parameters up to which a pass sees copies of them
NONE: Mapping[int, Callable[[], Tensor]] = MappingProxyType({})

# module -> its own parameters by name, for modules in which others stand in their place
_OWN: "WeakKeyDictionary[nn.Module, dict[str, nn.Parameter | None]]" = WeakKeyDictionary()


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """``dict(module.named_parameters())``, also while other tensors stand in their place."""
    if not len(_OWN):
        return dict(module.named_parameters())
    found: dict[str, nn.Parameter] = {}
    seen = set()
    for path, part in module.named_modules():
        for name, parameter in stored_parameters(part).items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{path}.{name}" if path else name] = parameter
    return found


def sharing(parameters: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of two different parameters that begin at one place in memory, as ``b.data =
    a.data`` makes them; none where there are none.
    """
    seen: dict[tuple[Any, ...], str] = {}
    for name, parameter in parameters.items():
        if not parameter.numel() or parameter.is_meta or parameter.layout != torch.strided:
            continue
        place = parameter.device, parameter.data_ptr()
        if place in seen:
            return seen[place], name
        seen[place] = name
    return ()


class Copies:
    """A module's tensors on a device and in a dtype, made once and used by one evaluation after the
    other. One that was written into, on either side, is made anew.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        # id of a tensor -> it, its copy, how often each was written into; of the last evaluation
        self.before: dict[int, tuple[Tensor, Tensor, tuple[int, ...]]] = {}
        self.now = dict(self.before)
        # whether passes write into copies of frozen parameters; None: not seen yet
        self.written: bool | None = None

    def __deepcopy__(self, memo: Any) -> "Copies":
        return Copies(self.device, self.dtype)

    def turn(self) -> None:
        """An evaluation begins: what the last one has not used is let go."""
        self.before, self.now = self.now, {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor itself where it is on the device in the dtype, else its copy."""
        for made in (self.now, self.before):
            found = made.get(id(tensor))
            if found is not None and found[0] is tensor and found[2] == _versions(*found[:2]):
                self.now[id(tensor)] = found
                return found[1]
        copy: Tensor = batching.move(tensor, self.device, self.dtype)
        if copy is not tensor:
            self.now[id(tensor)] = tensor, copy, _versions(tensor, copy)
        return copy


def _versions(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(map(batching.version, tensors))


class Placed:
    """The tensors of a module and of all below it, exchanged for others by ``put`` until
    ``restore``.

    Args:
        root: the module; a part that is used twice, or a tied parameter, is exchanged everywhere at
            once.
        moved: makes what stands in the place of frozen parameters, buffers and plain tensor
            attributes.
    """

    def __init__(self, root: nn.Module, moved: Copies) -> None:
        self.moved = moved
        moved.turn()
        self.marked: list[Any] = []  # tensors in place that say they are parameters
        self.before = [_Before(module) for module in root.modules()]
        self.caches = _caches(root)
        self.outer = {module: _OWN.get(module) for module in root.modules()}
        self.slots = list(_slots(root))
        self.buffers = list(_buffers(root))
        frozen = {id(p): p.nbytes for p in root.parameters() if not p.requires_grad}
        self.copies = sum(frozen.values()) <= COPIED
        # what stands in the place of parameters that are not given, and what it was made of
        self.fixed: dict[int, tuple[Tensor, Tensor]] = {}
        for state in self.before:
            _OWN[state.module] = stored_parameters(state.module)
            state.move(moved)

    def put(
        self,
        given: Mapping[int, Tensor],
        statistics: Mapping[str, Tensor],
        makers: Mapping[int, Callable[[], Tensor]] = NONE,
    ) -> None:
        """Exchange the tensors.

        Args:
            given: id of a parameter -> what takes its place; the others keep their values.
            statistics: dotted name of a buffer -> what takes its place; buffers are copies, which a
                pass may change.
            makers: id of a parameter -> what makes a tensor in its place whenever it is asked for.
        """
        self._unmark()
        there = dict(given)
        for slot in self.slots:
            if id(slot.parameter) in makers:
                slot.made(makers[id(slot.parameter)])
                continue
            tensor = there.get(id(slot.parameter))
            if tensor is None:
                tensor = self._fixed(slot.parameter)
            if slot.rescaled:  # an embedding with max_norm writes into its weight
                tensor = there[id(slot.parameter)] = tensor.clone()
            tensor = slot.padded(tensor)
            tensor._is_param = True  # for who asks isinstance, as long as it is in place
            self.marked.append(tensor)
            slot.holder[slot.name] = tensor
        copies: dict[int, Tensor] = {}
        for holder, name, path, buffer in self.buffers:
            if id(buffer) not in copies:
                chosen = statistics.get(path, buffer)
                copies[id(buffer)] = self.moved(chosen).detach().clone()
            holder[name] = copies[id(buffer)]

    def begin(self) -> None:
        """Before a pass: plain attributes, and what containers among them hold, as they were when
        the evaluation began, so that a count of calls, or what was computed of another point, does
        not reach into the next pass.
        """
        self._forget_written()
        for state in self.before:
            state.begin()
        for cached in self.caches:
            cached.cache_clear()

    def restore(self) -> None:
        """Every module as it was before."""
        self._forget_written()
        self._unmark()
        for state in self.before:
            state.restore()
        for cached in self.caches:
            cached.cache_clear()
        for module, names in self.outer.items():
            if names is None:
                _OWN.pop(module, None)

    def _unmark(self) -> None:
        for tensor in self.marked:
            tensor._is_param = False
        self.marked = []

    def _fixed(self, parameter: nn.Parameter) -> Tensor:
        if id(parameter) not in self.fixed:
            moved = self.moved(parameter).detach()
            # a copy, which a forward pass may write into, as a teacher's moving average does
            self.fixed[id(parameter)] = moved.clone() if self.copies else moved, moved
        return self.fixed[id(parameter)][0]

    def _forget_written(self) -> None:
        """Make copies of frozen parameters anew for the next pass, where passes write into them;
        whether they do is seen after the first.
        """
        if not (self.fixed and self.copies) or self.moved.written is False:
            return
        if self.moved.written is None:
            self.moved.written = any(not torch.equal(*pair) for pair in self.fixed.values())
        if self.moved.written:
            self.fixed.clear()


class _Slot:
    """A place for a parameter: the dict and the name under which a module finds it."""

    def __init__(self, module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        self.module, self.holder = module, cast(Any, module._parameters)
        self.name, self.parameter = name, parameter
        self.rescaled, self.padding = False, None
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            self.rescaled, self.padding = module.max_norm is not None, module.padding_idx

    def padded(self, tensor: Tensor) -> Tensor:
        """What takes the parameter's place; a row that an embedding pads with stays where the model
        has it: torch gives it no gradient, though the loss may depend on it.
        """
        if self.padding is None or self.parameter.is_meta:
            return tensor
        row = self.padding % len(tensor)
        own = self.parameter.detach()[row : row + 1].to(tensor)
        return torch.cat([tensor[:row], own, tensor[row + 1 :]])

    def made(self, make: Callable[[], Tensor]) -> None:
        """Have the tensor made whenever the module asks for it."""
        if not isinstance(self.holder, _Made):
            now = self.module._parameters
            self.holder = now if isinstance(now, _Made) else _Made(now)
            vars(self.module)["_parameters"] = self.holder
        self.holder.makers[self.name] = make


class _Made(dict[str, Any]):
    """The parameters of a module, some of them made when they are asked for."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        super().__init__(before)
        self.makers: dict[str, Callable[[], Tensor]] = {}

    def __getitem__(self, name: str) -> Any:
        make = self.makers.get(name)
        return super().__getitem__(name) if make is None else make()


def makers(module: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """What makes the parameters of a module now, by name; it may be changed."""
    held: Any = module._parameters
    found: dict[str, Callable[[], Tensor]] = held.makers
    return found


class _Before:
    """What a module holds, to be put back."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        held = [value for name, value in self.attributes.items() if name not in MODULE]
        self.containers = [(held, _entries(held)) for held in _containers(held)]
        self.parameters: dict[str, Tensor | None] = dict(module._parameters)
        self.buffers = dict(module._buffers)

    def move(self, moved: Copies) -> None:
        """Plain tensor attributes on the device, floating-point ones in the dtype: constants that
        are no buffers.
        """
        for name, value in self.attributes.items():
            if isinstance(value, Tensor):
                vars(self.module)[name] = moved(value)
        self.moved = {k: v for k, v in vars(self.module).items() if k not in MODULE}

    def begin(self) -> None:
        now = vars(self.module)
        for name in [name for name in now if name not in self.moved and name not in MODULE]:
            del now[name]
        for name, value in self.moved.items():
            if now.get(name) is not value:
                now[name] = value
        self._refill()

    def _refill(self) -> None:
        """Containers with what they held before."""
        for container, entries in self.containers:
            now = _entries(container)
            if len(now) != len(entries) or any(
                a is not b for a, b in zip(now, entries, strict=True)
            ):
                _fill(container, entries)

    def restore(self) -> None:
        now = vars(self.module)
        for name in [name for name in now if name not in self.attributes]:
            del now[name]
        for name, value in self.attributes.items():
            if now.get(name) is not value:
                now[name] = value
        self._refill()
        holders: Any = (
            (self.module._parameters, self.parameters),
            (self.module._buffers, self.buffers),
        )
        for holder, earlier in holders:
            for name, tensor in earlier.items():
                if holder[name] is not tensor:
                    holder[name] = tensor


def _containers(values: Iterable[Any], seen: set[int] | None = None) -> list[Any]:
    """The dicts, lists, deques and sets among values, and those within them: what a forward pass
    may keep something in.
    """
    seen = set() if seen is None else seen
    found = []
    for value in values:
        if type(value) not in CONTAINERS or id(value) in seen:
            continue
        seen.add(id(value))
        inside = value.values() if isinstance(value, dict) else value
        found += [value, *_containers(inside, seen)]
    return found


def _entries(container: Any) -> list[Any]:
    """What a container holds; of a dict its keys and values in turn."""
    if isinstance(container, dict):
        return [part for item in container.items() for part in item]
    return list(container)


def _fill(container: Any, entries: list[Any]) -> None:
    container.clear()
    if isinstance(container, dict):
        container.update(zip(entries[::2], entries[1::2], strict=True))
    elif isinstance(container, set):
        container.update(entries)
    else:
        container.extend(entries)


def _caches(root: nn.Module) -> list[Any]:
    """What ``functools.lru_cache`` has made of methods of a module and of all below it."""
    kinds = {kind for module in root.modules() for kind in type(module).__mro__}
    return [
        value
        for kind in kinds - {nn.Module, object}
        for value in vars(kind).values()
        if callable(getattr(value, "cache_clear", None))
    ]


def stored_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """A module's own parameters, without those below it, also while others stand in their place."""
    found = _OWN.get(module)
    return dict(module._parameters) if found is None else found


def _slots(root: nn.Module) -> Iterator[_Slot]:
    for module in root.modules():
        for name, parameter in stored_parameters(module).items():
            if parameter is not None:
                yield _Slot(module, name, parameter)


def _buffers(root: nn.Module) -> Iterator[tuple[Any, str, str, Tensor]]:
    """The dict that holds a buffer, its name there, its dotted name below ``root``, and
    the buffer.
    """
    for path, module in root.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield module._buffers, name, f"{path}.{name}" if path else name, buffer
