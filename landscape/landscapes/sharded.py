"""A model's landscape whose points lie on several ranks: exact derivatives of weights that no rank
keeps whole.

Every parameter tensor is a piece of the point, of which each rank holds a part (``Spread``). A pass
gathers a large tensor when the model asks for it, and small ones together at its start. Gathering
and the sum over ranks of what each makes of a whole tensor are each other's derivative, so that
gradients, products and any further derivative are exact. What autograd would keep of a gathered
tensor for a backward pass is gathered again there, in the first one and in the second.

The model may hold its weights whole, or parts of them (``distributed``), or none: tensors on the
meta device, of which each rank reads its part from a checkpoint (``fill``).

Exchanges follow the graph and nothing else, and the ranks' graphs must be alike: each evaluates as
many batches as any other, where it has fewer one of them again with weight zero. A model must use
its parameters in an order that does not hang on the data.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from landscape.core import Term
from landscape.errors import LoadingError
from landscape.landscapes import distributed
from landscape.landscapes.model import ModelLandscape
from landscape.landscapes.placed import own_parameters, stored_parameters
from landscape.landscapes.recomputed import Unit, UnitPart, units
from landscape.ranks import Ranks, Spread

SMALL = 2**14  # entries of a tensor up to which it is gathered with others,
MANY = 2**12  # gathered tensors from which on those that are gone are forgotten
BUCKET = 2**18  # and entries of those together, where the largest tensor has fewer


class Sharded(ModelLandscape):
    """The landscape of a model over ranks, each of which holds a part of every point.

    Points and gradients are this rank's parts (local,), values whole. Made by ``over_ranks(f,
    shard=True)``.
    """

    def __init__(self, f: ModelLandscape, ranks: Ranks) -> None:
        if f.recurrent:
            raise ValueError(
                f"{f.name} has recurrent layers, which keep their weights in a list of their own: "
                "it cannot be sharded. Leave shard out: batches and bases are shared all the same."
            )
        distributed.settle(f.model)
        own = own_parameters(f.model)
        if not any(t.is_meta or distributed.on_several(t) for t in own.values()):
            _ = f.weights  # measured on the whole model, where that is needed
        self.__dict__.update(f.__dict__)
        self.ranks = ranks
        self._spread = Spread([s.stop - s.start for s in f.layout.values()], ranks, sharded=True)
        self._gathered: dict[int, _Origin] = {}  # by address
        self._saved: dict[int, int] | None = None  # bytes by address, while a graph is weighed
        # this rank's parts of what the model itself does not hold, or not as a pass needs it
        self._parts: dict[str, Tensor] = {}
        for name, t in own.items():
            if name not in self.layout and distributed.on_several(t):
                self._parts[name] = self._cut(distributed.whole(t))
        self._small = self._bucketed()
        self._units = units(self.model)

    @property
    def spread(self) -> Spread:
        """How points lie on the ranks."""
        return self._spread

    def point(self) -> Tensor:
        """This rank's part (local,) of the model's current parameters."""
        own = own_parameters(self.model)
        return torch.cat([self._part(name, own[name]) for name in self.layout])

    def load(self, x: Tensor) -> None:
        """Write the point of which x (local,) is this rank's part into the model, on every rank; of
        a tensor on the meta device the part is kept.
        """
        self._require(x)
        own = own_parameters(self.model)
        pieces = torch.split(x.detach(), self.spread.widths)
        for name, size, piece in zip(self.layout, self.spread.sizes, pieces, strict=True):
            if own[name].is_meta:
                self._parts[name] = piece.clone()
            else:
                value = self.ranks.gather(piece)[:size].view(own[name].shape)
                distributed.write(own[name], value)

    @property
    def absent(self) -> dict[str, Tensor]:
        """The model's parameters and buffers that have no values yet, on the meta device."""
        tensors = {**own_parameters(self.model), **dict(self.model.named_buffers())}
        return {k: t for k, t in tensors.items() if t.is_meta and k not in self._parts}

    def fill(self, name: str, read: Callable[[int, int], Tensor]) -> None:
        """Give values to a tensor of ``absent``: ``read(low, high)`` has its entries low to high,
        row by row. A parameter's part is read, and a buffer whole.
        """
        t = self.absent[name]
        if isinstance(t, nn.Parameter):
            width = -(-t.numel() // self.ranks.count)
            low = min(self.ranks.rank * width, t.numel())
            mine = read(low, min(low + width, t.numel())).to(self.device, self.dtype)
            self._parts[name] = torch.cat([mine, mine.new_zeros(width - len(mine))])
            return
        path, _, last = name.rpartition(".")
        buffers = self.model.get_submodule(path)._buffers
        buffers[last] = read(0, t.numel()).view(t.shape).to(t.dtype)

    def take_over(self) -> None:
        """Keep this rank's parts, and let the model's own analysed tensors go to the meta device:
        for a model that nobody else uses.
        """
        own, names = own_parameters(self.model), {}
        for name in self.layout:
            self._parts[name] = self._part(name, own[name])
            names[id(own[name])] = nn.Parameter(own[name].detach().to("meta"))
        for module in self.model.modules():
            for key, held in module._parameters.items():
                if id(held) in names:
                    module._parameters[key] = names[id(held)]

    def value(self, x: Tensor) -> Tensor:
        """f at the points of which x (..., local) are this rank's parts -> (...)."""
        self._require(x)
        points = x.detach().reshape(-1, self.spread.local)
        total = torch.zeros(len(points), dtype=torch.float64, device=self.device)
        with self.evaluation(), torch.no_grad():
            for term in self.dealt_terms():
                for i, point in enumerate(points):
                    total[i] += term.function(point)
        return self.ranks.total(total).to(self.dtype).reshape(x.shape[:-1])

    def gradient(self, x: Tensor) -> Tensor:
        """This rank's parts (..., local) of the gradients there; summed over the ranks on the way
        back.
        """
        self._require(x)
        points = [p.detach().clone().requires_grad_(True) for p in x.reshape(-1, self.spread.local)]
        total = torch.zeros(len(points), self.spread.local, dtype=self.dtype, device=self.device)
        with self.evaluation(), torch.enable_grad():
            for term in self.dealt_terms():
                for i, point in enumerate(points):
                    total[i] += torch.autograd.grad(term.function(point), point)[0]
        return total.reshape(x.shape)

    def locate(self, at: Any) -> Tensor:
        """This rank's part of a point; None is where the model stands."""
        if at is None:
            return self.point()
        self._require(at)
        x: Tensor = at.detach()
        return x

    def terms(self) -> Iterator[Term]:
        """The terms that this rank evaluates: no rank can evaluate another's alone."""
        return self.dealt_terms()

    def dealt_terms(self) -> Iterator[Term]:
        """As many terms on every rank, then the regulariser of the part that this rank holds."""
        for term in super().dealt_terms():
            if term.batch is not None:
                yield term
        for _ in range(self._missing()):
            again = next(iter(super().terms()))
            yield Term(partial(_nothing, again), None, 0.0)
        if self.l2 or self.l1:
            yield Term(self._own_regulariser, None, 0.0)

    def finer(self, x: Tensor) -> bool:
        """Never: exchanges follow the graphs, which must be alike on all ranks."""
        return False

    @contextmanager
    def evaluation(self, at: Tensor | None = None, precision: str = "full") -> Iterator[None]:
        """As a model's landscape, and what a graph keeps of gathered tensors is gathered again."""
        hooks = saved_tensors_hooks(self._pack, self._unpack)
        with hooks, distributed.unhooked(self.model), super().evaluation(at, precision):
            yield

    def graph_bytes(self, build: Callable[[], Tensor]) -> float:
        """Bytes of the tensors that autograd saves while ``build`` runs inside ``evaluation()``,
        those apart that are gathered again.
        """
        self._saved = {}
        try:
            build()
            return sum(self._saved.values())
        finally:
            self._saved = None

    # ---- inside ---------------------------------------------------------------------------------

    def _require_values(self) -> None:
        for name in self.absent:
            raise LoadingError(
                f"{name} of {self.name} is on the meta device and has no values: read them by "
                f"landscape.loading.load_parts(f, checkpoint)."
            )

    def _bucketed(self) -> frozenset[str]:
        """The tensors that are gathered together: the smallest ones, as many as a bucket takes."""
        sizes = dict(zip(self.layout, self.spread.sizes, strict=True))
        room, found = max(BUCKET, *sizes.values()), []
        for name in sorted(sizes, key=lambda name: sizes[name]):
            room -= sizes[name]
            if sizes[name] <= SMALL and room >= 0:
                found.append(name)
        return frozenset(found)

    def _stored(self, name: str, t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter) or not (t.is_meta or distributed.on_several(t)):
            return t
        piece = self._part(name, t)
        return self.ranks.gather(piece)[: t.numel()].view(t.shape).to(t.dtype)

    def _cut(self, whole: Tensor) -> Tensor:
        """This rank's part of a tensor."""
        flat = whole.reshape(-1).to(self.device, self.dtype)
        return Spread([flat.numel()], self.ranks).own(flat)

    def _part(self, name: str, t: Tensor) -> Tensor:
        """This rank's part of a parameter where it stands now."""
        if t.is_meta:
            self._require_values()
        if t.is_meta or (name in self._parts and name not in self.layout):
            return self._parts[name]
        return self._cut(distributed.whole(t))

    def _require(self, x: Tensor) -> None:
        fits = x.shape[-1:] == (self.spread.local,)
        self._check(x, f"(..., {self.spread.local}) on this rank, a part of (..., n)", fits)

    def _missing(self) -> int:
        """How many terms the rank with the most batches has more than this one."""
        weights = self.weights.tolist()
        owners = [rank for rank, w in zip(self._owners(), weights, strict=True) if w > 0]
        counts = [owners.count(rank) for rank in range(self.ranks.count)]
        return self.masks * (max(counts) - counts[self.ranks.rank])

    def _put(self, x: Tensor) -> None:
        """Have the model's tensors gathered when it asks for them."""
        assert self._placed is not None, "terms are called inside evaluation()"
        own = own_parameters(self.model)
        pieces = dict(zip(self.layout, torch.split(x, self.spread.widths), strict=True))
        ready = self._together({k: piece for k, piece in pieces.items() if k in self._small})
        held = {name: part for name, part in self._parts.items() if name not in pieces}
        makers = {
            id(own[name]): partial(_ready, ready[name])
            if name in ready
            else partial(self._whole, piece, own[name].shape)
            for name, piece in (pieces | held).items()
        }
        self._placed.put({}, {}, makers)
        self._make_again(pieces | held, ready)

    def _make_again(self, pieces: dict[str, Tensor], ready: dict[str, Tensor]) -> None:
        """Have the passes of modules with weights made again in backward passes."""
        own = own_parameters(self.model)
        names = {id(t): name for name, t in own.items() if name in pieces}
        for unit in self._units:
            parts: list[UnitPart] = []
            for module in unit.modules():
                for key, held in stored_parameters(module).items():
                    name = names.get(id(held))
                    if name is not None:
                        whole = partial(self._whole, shape=own[name].shape)
                        part = (ready[name], _ready) if name in ready else (pieces[name], whole)
                        parts.append((module, key, part))
            now = unit.forward
            forward = now.forward if isinstance(now, Unit) else now
            vars(unit)["forward"] = Unit(forward, parts, self.mode == "train")

    def _together(self, pieces: dict[str, Tensor]) -> dict[str, Tensor]:
        """Small tensors, gathered in one exchange."""
        if not pieces:
            return {}
        own = own_parameters(self.model)
        gathered = _gathered(torch.cat(list(pieces.values())), self.ranks)
        rows = gathered.view(self.ranks.count, -1)
        parts = torch.split(rows, [len(piece) for piece in pieces.values()], dim=1)
        return {
            name: part.reshape(-1)[: own[name].numel()].view(own[name].shape)
            for name, part in zip(pieces, parts, strict=True)
        }

    def _whole(self, piece: Tensor, shape: torch.Size) -> Tensor:
        gathered = _gathered(piece, self.ranks)
        self._note(gathered, piece.detach())
        return gathered[: shape.numel()].view(shape)

    def _note(self, gathered: Tensor, piece: Tensor) -> None:
        if len(self._gathered) > MANY:  # most of which are gone
            self._gathered = {k: o for k, o in self._gathered.items() if not _gone(o)}
        storage = gathered.untyped_storage()
        kept = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self._gathered[storage.data_ptr()] = _Origin(kept, piece)

    def _pack(self, t: Tensor) -> "Tensor | _Handle":
        origin = self._gathered.get(t.untyped_storage().data_ptr())
        # an expired one: another tensor lies at the same address now
        if origin is None or _gone(origin):
            if self._saved is not None:
                self._saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t.detach()  # or the graph would hold itself, and never go
        return _Handle(origin.piece, t.size(), t.stride(), int(t.storage_offset()))

    def _unpack(self, kept: "Tensor | _Handle") -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        gathered = self.ranks.gather(kept.piece)
        self._note(gathered, kept.piece)
        return gathered.as_strided(kept.size, kept.stride, kept.offset)

    def _own_regulariser(self, x: Tensor) -> Tensor:
        total, own = 0.0 * x[0], own_parameters(self.model)
        pieces = dict(zip(self.layout, torch.split(x, self.spread.widths), strict=True))
        for name in self._trainable:
            w = pieces[name] if name in pieces else self._part(name, own[name])
            c2 = sum(c for glob, c in self.l2.items() if fnmatchcase(name, glob))
            c1 = sum(c for glob, c in self.l1.items() if fnmatchcase(name, glob))
            total = total + 0.5 * c2 * w.square().sum() + c1 * w.abs().sum()
        return total


@dataclass(frozen=True)
class _Origin:
    """What a gathered tensor was made of, for as long as its storage lives."""

    storage: StorageWeakRef
    piece: Tensor


@dataclass(frozen=True)
class _Handle:
    """What is kept in the place of a gathered tensor or a view of one."""

    piece: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _gathered(part: Tensor, ranks: Ranks) -> Tensor:
    whole: Tensor = _Gather.apply(part, ranks)  # type: ignore[no-untyped-call]
    return whole


def _gone(origin: _Origin) -> bool:
    return bool(origin.storage.expired())  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """A rank's part (m,) -> the whole (count m,)."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(part.detach())

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(slopes[0], ctx.ranks), None  # type: ignore[no-untyped-call]


class _Scatter(torch.autograd.Function):
    """What every rank makes of the whole (count m,) -> a rank's part (m,) of the sum."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.scatter(whole)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(slopes[0], ctx.ranks), None  # type: ignore[no-untyped-call]


def _ready(tensor: Tensor) -> Tensor:
    return tensor


def _nothing(term: Term, x: Tensor) -> Tensor:
    """A term that takes part in the exchanges and counts nothing."""
    return 0.0 * term.function(x)
