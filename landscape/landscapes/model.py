"""A model, its loss and its data as a landscape over one flat vector of parameters.

x: (n,), the analysed parameters in the order of ``named_parameters``, each row-major; ``layout``
maps names to slices. f(x) = mean (or sum) of the loss over ALL the data + regularisers. While f is
evaluated the tensors of x stand in the user's model (``placed``); before and after it is as it was,
and only ``load`` writes into it.
"""

import copy
import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.core import OutputTerm, Term, vector
from landscape.errors import LoadingError, NumericalError, RanksError, memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes import distributed, joins, kernels, losses, means, pieces, selection
from landscape.landscapes.arithmetic import (
    ordinary,
    owned,
    reduced,
    require_precision,
    require_supported,
    too_late,
    without_cudnn,
)
from landscape.landscapes.batches import Batch
from landscape.landscapes.data import Moved, ahead, pinned
from landscape.landscapes.domains import Space
from landscape.landscapes.kernels import Precision, unsaved
from landscape.landscapes.means import Mean
from landscape.landscapes.memory import eased, fitting
from landscape.landscapes.objective import CALLS, Objective
from landscape.landscapes.outputs import OutputLosses
from landscape.landscapes.placed import Copies, Placed, own_parameters
from landscape.landscapes.rows import Rows
from landscape.landscapes.selection import Globs
from landscape.ranks import ALONE, Ranks, Spread, several
from landscape.results import journal
from landscape.rng import host_seeded, seed_host

ANEW = (
    "forward makes parameters anew, and nn.Parameter(...) passes no gradient to what it was made "
    "of (compute a tensor there and use it with torch.nn.functional)"
)
TORCHS = (RuntimeError, NotImplementedError)  # what torch raises itself

# what torch says where a pass writes into a parameter, which is a part of the point there
IN_PLACE = (
    "is a view and is being modified inplace",
    "leaf Variable that requires grad is being used in an in-place operation",
)
WRITES = (
    "forward writes in place into a parameter, or into a part that chunk, split or unbind gave: "
    "let it make a new tensor, w = 0.9 * w in the place of w.mul_(0.9); "
)


class ModelLandscape:
    """The loss of a model over all its data, as a function of its flat parameters.

    Args:
        model: called as ``model(input)``; held, never copied: training it moves ``point()``.
        loss: ``loss(output, target)`` or ``loss(model, batch)``, giving a scalar; which of the two
            it is is tried with the first batch. None: ``model(**batch)`` returns the loss or an
            object with ``.loss``. What is called with what: ``landscapes.objective``.
        batches: a re-iterable of (input, target) pairs or dicts, a DataLoader say; read once and
            kept up to 1 GiB, else read anew for every pass and compared.
        l2: {glob: c} adds c/2 |w|^2 over the trainable parameters whose names match: torch's
            ``weight_decay=c``.
        l1: {glob: c} adds c |w|_1.
        include, exclude: globs over parameter names; the others are held where they are.
        mode: "eval" or "train"; in train mode dropout masks are drawn by ``seed`` and frozen, batch
            statistics are used.
        reduction: what ``loss`` does over a batch, "mean" or "sum"; uneven batches are weighted
            accordingly.
        dtype: of x and of all floating-point tensors; None: the parameters' own (at least float32).
        device: where everything is computed; None: where the parameters are.
        name: for reports.
        seed: of the dropout masks and whatever else draws from the global generators of torch,
            NumPy and Python.
        masks: number of dropout masks per batch to average over, in train mode.
        weight: batch -> how much it counts in the mean; None: what the loss divides by is known or
            measured, see ``mean``.
        precision: what Hessian-vector products are computed in: "full", all bits of ``dtype``;
            "tf32", matrix products and convolutions of 10 bits where a CUDA device has them;
            "bf16", forward passes in bfloat16 by autocast. What that loses is measured with
            products in full and is in every bound. Values, gradients and dense Hessians are always
            in full.

    Raises:
        TypeError: model is no nn.Module or loss is not callable.
        ValueError: an unknown option, a glob that matches nothing, batches that can be read only
            once, or none.
        LoadingError: no trainable parameter; later, from an evaluation: the model or loss raises,
            the loss is not a scalar or is detached.

    Memory: one micro-batch's graph at a time, whatever the size of the data.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> f.dim, f.samples
        (2, 20)
        >>> round(float(f.value(torch.tensor([0.0, 1.0]))), 4)
        0.3684
    """

    domain = Space()  # parameters fill R^n
    symmetry = None

    def __init__(  # noqa: PLR0913
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None,
        batches: Iterable[Batch],
        *,
        l2: Mapping[str, float] | None = None,
        l1: Mapping[str, float] | None = None,
        include: Globs = "*",
        exclude: Globs | None = None,
        mode: str = "eval",
        reduction: str = "mean",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        name: str | None = None,
        seed: int = 0,
        masks: int = 1,
        weight: Callable[[Batch], float] | None = None,
        precision: str = "full",
    ) -> None:
        _require_objects(model, loss, batches)
        require_precision(precision)
        _require_options(loss, mode, reduction, masks)
        self.model, self.loss, self.batches = model, loss, pinned(batches, seed)
        # the numbers of the batches that are evaluated
        self._chosen = frozenset(range(len(self.batches)))
        self.include, self.exclude, self.weight = include, exclude, weight
        self.mode, self.reduction, self.seed, self.masks = (
            mode,
            reduction,
            seed,
            masks if mode == "train" else 1,
        )
        self.name = name or type(model).__name__
        distributed.require_understood(model, self.name)
        self._trainable = selection.trainable(model, self.name)
        self._names = selection.select(model, self._trainable, include, exclude)
        self.l2, self.l1 = (
            selection.coefficients(k, t, self._trainable) for k, t in (("l2", l2), ("l1", l1))
        )
        self.layout = self._lay_out()
        self.dim = sum(s.stop - s.start for s in self.layout.values())
        if not self.dim:
            raise LoadingError(
                f"the parameters of {self.name} to analyse are all empty: there is nothing to "
                f"analyse."
            )
        parameters = own_parameters(model)
        self.dtype = dtype or selection.common_dtype([parameters[k] for k in self._names])
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {self.dtype}.")
        self._require_read()
        self.device = self._one_device() if device is None else torch.device(device)
        require_supported(self.device, f"the landscape of {self.name}")
        self.precision, self._pass = precision, "full"
        self._objective = Objective(model, loss)
        # By name, used in the place of the model's own buffers.
        self.statistics: dict[str, Tensor] = {}
        self._moved = Moved(self.device, self.dtype)
        self._copies = Copies(self.device, self.dtype)
        self._held: dict[str, Tensor] = {}  # by name, where a part of a landscape holds parameters
        self._placed: Placed | None = None  # the point's tensors, while the landscape is evaluated
        # Whether the model changes its inputs in place; None: not seen yet.
        self._alters: bool | None = None
        self._differentiates = False  # whether the loss was seen to call autograd itself
        sizes = [batching.samples(batch) for batch in self.batches]
        self.samples, self._largest = sum(sizes), max(sizes, default=0)
        # Into how many pieces each batch is cut, since memory ran out; why into no more, once tried
        self.pieces, self._uncut = 1, ""
        # What each batch's pieces count, by its number.
        self._counts: dict[int, list[float]] = {}
        self._mean = self._stated_mean()
        self.ranks = ALONE
        self._eps: float | None = None

    def _require_values(self) -> None:
        distributed.require_values(self.model, self.name)

    def _require_read(self) -> None:
        if not several():  # else weights may be read later, a part of them on each process
            self._require_values()

    def _one_device(self) -> torch.device:
        """Where the parameters are; those on the meta device will be read to where the others are,
        or to the host.
        """
        places = {p.device for p in own_parameters(self.model).values() if not p.is_meta}
        if len(places) > 1:
            listed = ", ".join(sorted(map(str, places)))
            raise ValueError(
                f"the parameters of {self.name} are split over {listed}, and a landscape is "
                f"computed on one device: move the model, with model.to('cuda:0') say."
            )
        return next(iter(places), torch.device("cpu"))

    # ---- points ---------------------------------------------------------------------------------

    def point(self) -> Tensor:
        """The model's current parameters, a new tensor (n,) in the landscape's dtype and on its
        device.
        """
        self._require_values()
        parameters = self.parameters()
        parts = [
            parameters[k].detach().reshape(-1).to(self.device, self.dtype) for k in self._names
        ]
        return torch.cat(parts)

    def load(self, x: Tensor) -> None:
        """Write the point x (n,) into the model's parameters, each in its own dtype and on its own
        device.
        """
        self._check(x, "(n,)", x.shape == (self.dim,))
        parameters = self.parameters()
        with torch.no_grad():
            for name, where in self.layout.items():
                parameters[name].copy_(x[where].view_as(parameters[name]))

    # ---- values ---------------------------------------------------------------------------------

    def value(self, x: Tensor) -> Tensor:
        """f at points (..., n) -> (...), non-finite where the loss is. Cost: a forward pass over
        the data per point.
        """
        self._check(x, "(..., n)", x.shape[-1:] == (self.dim,))
        what = f"values {journal.identity(self)}"
        (values,) = journal.recalled(
            what, [x], lambda: [self._fitting(lambda: self._values(x), x)], self.ranks
        )
        return values

    def _values(self, x: Tensor) -> Tensor:
        with self.ranks.together(), self.evaluation(), torch.no_grad():
            points = ordinary(x.detach()).reshape(-1, self.dim)
            total = torch.zeros(len(points), dtype=torch.float64, device=self.device)
            for term in self.dealt_terms():
                for i, point in enumerate(points):
                    total[i] += term.function(point)
        return self.ranks.total(total).to(self.dtype).reshape(x.shape[:-1])

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient at points (..., n) -> (..., n). Cost: a forward and a backward pass over the
        data per point.
        """
        self._check(x, "(..., n)", x.shape[-1:] == (self.dim,))
        what = f"gradients {journal.identity(self)}"
        (gradients,) = journal.recalled(
            what, [x], lambda: [self._fitting(lambda: self._gradients(x), x)], self.ranks
        )
        return gradients

    def _gradients(self, x: Tensor) -> Tensor:
        with self.ranks.together(), self.evaluation(), torch.enable_grad():
            points = [p.detach().clone().requires_grad_(True) for p in x.reshape(-1, self.dim)]
            total = torch.zeros(len(points), self.dim, dtype=self.dtype, device=self.device)
            for term in self.dealt_terms():
                for i, point in enumerate(points):
                    value = term.function(point)
                    if value.requires_grad:
                        total[i] += torch.autograd.grad(value, point)[0]
        return self.ranks.total(total).reshape(x.shape)

    def _fitting(self, compute: Callable[[], Tensor], x: Tensor) -> Tensor:
        """What ``compute`` gives at points x (..., n), in smaller pieces where memory runs out."""
        return fitting(compute, lambda: self.finer(x.reshape(-1, self.dim)[0]), self.device)

    def finer(self, x: Tensor) -> bool:
        """Keep no batch on the device, then cut every batch into twice as many pieces, since memory
        has run out near x (n,); False where none is left to cut, or samples see each other:
        ``notes`` say which.

        Cost: the first time, the gradient of a few samples.
        """
        if self.ranks.any(self._moved.give_way()):
            return True
        if self.pieces >= self._largest:
            return False
        if self.pieces == 1 and not self._uncut:
            with self.ranks.together():
                mine = self._why_whole(x)
            self._uncut = next(filter(None, self.ranks.objects(mine)), "")
        if self._uncut:
            return False
        self.pieces, self._counts = 2 * self.pieces, {}
        return True

    def cut(self, samples: int, x: Tensor) -> None:
        """Cut batches into pieces of at most so many samples, as far as ``finer`` can."""
        while self._largest > samples * self.pieces and self.finer(x):
            pass

    @property
    def notes(self) -> list[str]:
        """What is done otherwise than asked for, since memory ran out, in sentences."""
        if self._uncut:
            return [f"batches cannot be evaluated in smaller pieces: {self._uncut}"]
        if self.pieces == 1:
            return []
        return [
            f"every batch is evaluated in {self.pieces} pieces, since the memory of {self.device} "
            "does not hold the graph of a whole one; their sum is the same"
        ]

    def _why_whole(self, x: Tensor) -> str:
        """Why batches cannot be cut into pieces, in words; "" where they can."""
        if self.mean.how == "one batch":  # what it divides by did not matter until now
            self._mean = self._measured()
        if self.mean.how in ("coupled", "assumed", "solved"):
            return f"what the loss divides by is not known of parts of batches ({self.mean.how})"
        sizes = list(pieces.FEW)
        smaller = lambda: len(sizes) > 1 and sizes.pop(0) > 0  # noqa: E731
        return fitting(lambda: self._coupled(x, sizes[0]), smaller, self.device)

    def _coupled(self, x: Tensor, size: int) -> str:
        """Why so many samples of a batch are not what they make one by one, in words; "" where they
        are.
        """
        cuts = self._few(size)
        if not cuts:
            return "no batch has two samples that count"
        counts = [self.mean.count(cut) for cut in cuts[1:]]
        shares = [c / sum(counts) if self.reduction == "mean" else 1.0 for c in counts]
        drawn: list[bool] = []

        def loss(batch: Batch, at: Tensor) -> Tensor:
            self._seed(self.seed)
            before = self._drawn()
            value = self._batch_loss(batch, 1.0, 0, self.seed, at)
            drawn.append(not torch.equal(before, self._drawn()))
            return value

        with self.evaluation(), torch.enable_grad():
            why = pieces.coupled(loss, cuts, shares, pieces.nearby(x))
        return "random numbers are drawn for a batch as a whole" if any(drawn) else why

    def _few(self, size: int) -> Sequence[Batch]:
        """Some samples of a batch, on the device, and the same in two pieces that both count."""
        for batch in self.batches:
            for cuts in pieces.few(batch, size):
                if all(self.mean.count(cut) > 0 for cut in cuts):
                    return [batching.move(cut, self.device, self.dtype) for cut in cuts]
        return ()

    def _drawn(self) -> Tensor:
        """The state of what passes draw from."""
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.default_generator.get_state()

    def part(self, names: Sequence[str], x: Tensor) -> "ModelLandscape":
        """f as a function of some of its parameters, the others held where the point x (n,) has
        them.

        ``names`` are of ``layout`` and keep its order; a point of the part is x in their slices,
        one after the other. Its Hessian is a diagonal block of f's, and its passes record nothing
        of what comes before the first of these parameters.

        Raises:
            ValueError: no name, or one that is not of ``layout``.
        """
        self._check(x, "(n,)", x.shape == (self.dim,))
        unknown = [k for k in names if k not in self.layout]
        if unknown or not names:
            raise ValueError(
                f"names must be of the layout's parameters, {selection.some(self._names)}, got "
                f"{list(names)!r}."
            )
        chosen = copy.copy(self)
        parameters = self.parameters()
        chosen._names = [k for k in self._names if k in names]
        chosen._held = self._held | {
            k: x[s].detach().view_as(parameters[k]) for k, s in self.layout.items()
        }
        chosen.layout = chosen._lay_out()
        chosen.dim = sum(s.stop - s.start for s in chosen.layout.values())
        return chosen

    def heaviest(self, count: int) -> "ModelLandscape":
        """What the ``count`` batches that count most add to f, without its regularisers' share in
        the others: enough where every batch says the same of how f is computed.
        """
        chosen = copy.copy(self)
        weights = self.weights.tolist()
        order = sorted(range(len(weights)), key=lambda i: -weights[i])
        chosen._chosen = frozenset(order[:count])
        return chosen

    # ---- what operators are made of
    # ------------------------------------------------------------------------------------

    def terms(self) -> Iterator[Term]:
        """One term a micro-batch and mask, in order, then the regulariser. Iterate and call inside
        ``evaluation()``.
        """
        for i, share, batch, seed in self._passes():
            yield Term(partial(self._batch_loss, batch, share, i, seed), i, share)
        if self.l2 or self.l1:
            yield Term(self._regulariser, None, 0.0)

    def dealt_terms(self) -> Iterator[Term]:
        """The terms that this rank evaluates, all of them where there is one: batches are dealt by
        what they count, the heaviest first, each to the rank with the least so far.
        """
        for i, share, batch, seed in self._passes(self._dealt()):
            yield Term(partial(self._batch_loss, batch, share, i, seed), i, share)
        if self.ranks.first and (self.l2 or self.l1):
            yield Term(self._regulariser, None, 0.0)

    @property
    def spread(self) -> Spread:
        """How points lie on the ranks: whole on each."""
        return Spread([self.dim])

    def over(self, ranks: Ranks) -> "ModelLandscape":
        """The same landscape as a sum over ranks, each of which evaluates its part of the
        batches.
        """
        ours = copy.copy(self)
        ours.ranks = ranks
        return ours

    def batch_value(self, x: Tensor, batch: Batch) -> Tensor:
        """What one batch says of f at x (n,) -> (): its mean, or for a sum its sum times samples /
        its samples, plus the regularisers.

        Differentiable in x. For use inside ``evaluation()``; the batch is on the landscape's
        device, in its dtype. A mean over random batches of one size is f where the loss counts
        samples equally.
        """
        value = self._part_value(batch, batch, 1.0, x)
        return value + self._regulariser(x) if self.l2 or self.l1 else value

    def batch_parts(self, batch: Batch) -> Iterator[Callable[[Tensor], Tensor]]:
        """Functions of x (n,) that sum to ``batch_value``: one, or where memory has run out one a
        piece of the batch, then the regularisers.
        """
        if self.pieces == 1:
            yield partial(self.batch_value, batch=batch)
            return
        cut = batching.pieces(batch, self.pieces)
        for share, piece in zip(self._piece_shares(batch), cut, strict=True):
            if share != 0:
                yield partial(self._part_value, batch, piece, share)
        if self.l2 or self.l1:
            yield self._regulariser

    def _part_value(self, batch: Batch, piece: Batch, share: float, x: Tensor) -> Tensor:
        """What a piece adds to what a batch says of f."""
        value = self._batch_loss(piece, share, 0, self.seed, x)
        if self.reduction == "sum":
            value = value * (self.masks * self.samples / batching.samples(batch))
        return value

    def output_terms(self, *, dealt: bool = False) -> Iterator[OutputTerm]:
        """Like ``terms``, with each loss taken apart into x -> output and output -> loss, for the
        Gauss-Newton matrix and for metrics; ``dealt``: those that this rank evaluates.

        Raises:
            ValueError: the loss is loss(model, batch), which hides the output.
        """
        if self._hides_output():
            raise ValueError(
                "the Gauss-Newton matrix and metrics need loss(output, target): loss(model, batch) "
                "hides the model's output."
            )
        for i, share, batch, seed in self._passes(self._dealt() if dealt else None):
            output, criterion = (
                partial(self._output, batch, i, seed),
                partial(self._criterion, batch, share, i),
            )
            yield OutputTerm(output, criterion, i, share, batching.split(batch)[1])

    def first_output(self, x: Tensor) -> tuple[Tensor, Any]:
        """The output at x (n,) of the first micro-batch, and its target. Cost: a forward pass of
        it.
        """
        return eased(self, x, lambda: self._first_output(x))

    def _first_output(self, x: Tensor) -> tuple[Tensor, Any]:
        with self.evaluation(), torch.no_grad():
            term = next(iter(self.output_terms()))
            return term.output(x), term.target

    def _hides_output(self) -> bool:
        """Whether the loss is a loss(model, batch); tried with the first batch where that is not
        known.
        """
        if self._objective.takes_model is None:
            with self.evaluation():
                next(iter(self._passes()))
        return bool(self._objective.takes_model)

    def trivial_directions(self, x: Tensor) -> Tensor:
        """None, (n, 0): parameters fill R^n, and no symmetry is declared."""
        return x.new_zeros(self.dim, 0)

    @contextmanager
    def evaluation(self, at: Tensor | None = None, precision: str = "full") -> Iterator[None]:
        """Parameters, mode, arithmetic, kernels and random state for an evaluation, put back
        afterwards whatever happens.

        The point of the last term that was called stays in place in the model until the next one or
        the end, so that backward passes which look at the model again see it; ``at`` puts one in
        place at once, for graphs kept earlier.

        Attention runs under the math SDPA backend, recurrent layers without cuDNN, what
        ``landscape.kernels`` lists in
        elementary operations: the fused kernels have no second derivative, or a wrong one. One
            landscape must not be
        evaluated by two kernels, so values and gradients use the same.
        """
        training = [(m, m.training) for m in self.model.modules()]
        wanted = self.mode == "train"
        cuda = [self.device.index or 0] if self.device.type == "cuda" else []
        fastpath = torch.backends.mha.get_fastpath_enabled()
        self._require_values()
        with ExitStack() as stack:
            stack.enter_context(owned(precision))
            stack.enter_context(torch.random.fork_rng(devices=cuda))
            stack.enter_context(host_seeded(self.seed))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self.recurrent:
                stack.enter_context(without_cudnn())
            if kernels.replaced(self.model):
                stack.enter_context(kernels.instead(kernels.ELEMENTARY))
            if "torch._dynamo" in sys.modules:  # what torch.compile made has no second derivative
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(unsaved())
            earlier, self._placed = self._placed, Placed(self._objective, self._copies)
            outer, self._pass = self._pass, precision
            try:
                torch.backends.mha.set_fastpath_enabled(False)
                for module, was in training:
                    if was != wanted:
                        module.training = wanted
                self._seed(self.seed)
                if at is not None:
                    with torch.enable_grad():
                        self._put(at)
                yield
            # of a backward pass: what the model itself raises is a LoadingError already
            except TORCHS as error:
                if type(error) not in TORCHS or memory_is_full(error):  # not the pass's doing
                    raise
                raise LoadingError(_of_pass(error, self.name)) from error
            finally:
                self._placed.restore()
                self._placed, self._pass = earlier, outer
                torch.backends.mha.set_fastpath_enabled(fastpath)
                for module, was in training:
                    if module.training != was:
                        module.training = was

    @property
    def recurrent(self) -> bool:
        """Whether the model has recurrent layers, whose fused kernels are switched off."""
        return any(isinstance(m, nn.RNNBase) for m in self.model.modules())

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of the parameter tensors of ``layout``."""
        parameters = self.parameters()
        return {name: parameters[name].shape for name in self.layout}

    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters of the model by name, frozen ones and those left out included.

        Raises:
            LoadingError: one that the landscape was made of is no longer there.
        """
        found = own_parameters(self.model)
        gone = [name for name in self._names if name not in found]
        if gone:
            raise LoadingError(
                f"{selection.some(gone)} of {self.name} was a parameter of its own when the "
                "landscape was made and is none now: forward ties or replaces it. Call the model "
                "once, then make the landscape."
            )
        return found

    def copy(self, at: Tensor | None = None) -> "ModelLandscape":
        """The same landscape of a copy of the model, moved to ``at``; the data are shared."""
        ours = copy.deepcopy(self)  # data copy themselves by being shared
        if at is not None:
            ours.load(at)
        return ours

    def astype(self, dtype: torch.dtype) -> "ModelLandscape":
        """The same landscape of the same model, computed in another dtype."""
        chosen = copy.copy(self)
        chosen.dtype, chosen._eps = dtype, None
        chosen._moved, chosen._copies = Moved(self.device, dtype), Copies(self.device, dtype)
        chosen._held = {name: held.to(dtype) for name, held in self._held.items()}
        return chosen

    def on(self, batches: Iterable[Batch]) -> "ModelLandscape":
        """The same landscape of the same model, on other batches of the same number and sizes."""
        chosen = copy.copy(self)
        chosen.batches, chosen._moved = pinned(batches, self.seed), Moved(self.device, self.dtype)
        chosen._counts = {}
        return chosen

    def moved(self, device: torch.device) -> "ModelLandscape":
        """The same landscape of the same model, computed on another device."""
        chosen = copy.copy(self)
        chosen.device, chosen._moved = device, Moved(device, self.dtype)
        chosen._copies = Copies(device, self.dtype)
        chosen._held = {name: held.to(device) for name, held in self._held.items()}
        return chosen

    def rounding(self, x: Tensor) -> float:
        """The rounding unit of the coarsest floating-point dtype that a pass computes in: a model
        may convert inside.

        Cost: a forward pass of the first batch, once.
        """
        if self._eps is None:
            seen = eased(self, x, lambda: self._seen_eps(x.detach()))
            self._eps = max(seen, torch.finfo(self.dtype).eps)
        return self._eps

    def _seen_eps(self, x: Tensor) -> float:
        with self.evaluation(), torch.no_grad():
            term = next(iter(self.terms()))  # a batch is cut in its own dtype, which does not count
            with Precision() as seen:
                term.function(x)
        return float(seen.eps)

    @property
    def floor(self) -> float:
        """What f never falls below: 0 where loss and regularisers are never negative, else
        -infinity.
        """
        regularised = min([0.0, *self.l2.values(), *self.l1.values()])
        return losses.floor(self.loss) if regularised >= 0 else -math.inf

    def many(self) -> Rows:
        """This landscape at many points: all rows in one pass by vmap, or one by one where a module
        does not allow that.
        """
        return Rows(self, lambda: (term.function for term in self.dealt_terms()), self.ranks)

    def locate(self, at: Tensor | Sequence[float] | None) -> Tensor:
        """``at`` as a point (n,), None the model's parameters; a list of numbers becomes a tensor
        of this landscape's dtype.

        Raises:
            ValueError: it is no point of this landscape.
        """
        if at is None:
            return self.point()
        x = vector(at, self.dim)
        if not isinstance(at, Tensor):
            return x.to(self.device, self.dtype)
        if x.dtype != self.dtype or x.device.type != self.device.type:
            raise ValueError(
                f"at is {x.dtype} on {x.device}, the landscape {self.dtype} on {self.device}: "
                "pass dtype= and device= to ModelLandscape."
            )
        return x

    def fingerprint(self) -> tuple[str, str]:
        """Hashes of the model (names, shapes, values of parameters and buffers) and of the data, 16
        hexadecimal digits each.
        """
        model, data = hashlib.sha256(), hashlib.sha256()
        for name, tensor in [*own_parameters(self.model).items(), *self.model.named_buffers()]:
            model.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            model.update(batching.raw(self._stored(name, tensor)))
        for batch in self.batches:
            for leaf in batching.leaves(batch):
                data.update(f"{tuple(leaf.shape)}{leaf.dtype}".encode())
                data.update(batching.raw(leaf))
        return model.hexdigest()[:16], data.hexdigest()[:16]

    # ---- inside ---------------------------------------------------------------------------------

    def _stored(self, name: str, t: Tensor) -> Tensor:
        """All of a parameter or buffer, by its name."""
        return t

    def identity(self) -> str:
        """What tells this landscape from another one of the same model and data: its options, and
        what it holds besides a point.
        """
        held = hashlib.sha256()
        for name, tensor in (*self._held.items(), *self.statistics.items()):
            held.update(name.encode() + batching.raw(tensor))
        options = (self.name, self.dtype, self.mode, self.masks, self.seed, self.reduction)
        terms = (self.l2, self.l1, self._names, sorted(self._chosen))
        return f"{options} {terms} {held.hexdigest()}"

    def _lay_out(self) -> dict[str, slice]:
        sizes = {k: p.numel() for k, p in own_parameters(self.model).items()}
        ends = np.cumsum([sizes[k] for k in self._names]).tolist()
        return {k: slice(end - sizes[k], end) for k, end in zip(self._names, ends, strict=True)}

    @property
    def mean(self) -> Mean:
        """What the loss divides by, and so what batches count: stated, known of torch's losses, or
        measured when first asked for.

        Cost: where it is measured, two forward passes and the loss of some ten parts of two
            batches; where no way of counting explains these, five passes over all the data.
        """
        if self._mean is None:
            if len(self.batches) == 1:
                self._mean = Mean([float(self.samples)], "all the data, one batch", "one batch")
            else:
                self._mean = self._measured()
        return self._mean

    def _measured(self) -> Mean:
        batches, point, eps = list(self.batches), self.point(), torch.finfo(self.dtype).eps
        with self.evaluation(), torch.no_grad():
            judge = self._judge(point)
            coarse = max(_seen_eps(judge, batches[0]), eps)
            found = means.measured(judge, batches, eps, coarse)
            if found.how == "assumed":  # near the start of training all samples may lose the same
                there = self._judge(pieces.nearby(point, 1.0))
                again = means.measured(there, batches, eps, coarse)
                found = again if again.how == "measured" else found
        if found.how == "coupled":
            found = self._solved(batches) or found
        if found.total:
            self.reduction = "sum"
        if found.what == means.BY_LIST:
            self.samples = int(sum(found.counts))
        return found

    def _solved(self, batches: Sequence[Batch]) -> Mean | None:
        """What batches count, from their losses in double precision one by one and together."""
        if self.spread.sharded:  # a pass is a matter of all ranks there
            return None
        finer = self.astype(torch.float64)
        # a user's loss may refuse any batch, and a batch may have no samples
        with suppress(Exception), finer.evaluation(), torch.no_grad():
            counts = joins.solved(finer._judge(finer.point()), batches)
            if counts is not None:
                return Mean(counts, "what losses of batches together tell", "solved")
        return None

    @property
    def weights(self) -> Tensor:
        """What each batch counts in the mean, (B,) float64 on the CPU; they sum to 1."""
        counts = torch.tensor(self.mean.counts, dtype=torch.float64, device="cpu")
        return counts / counts.sum()

    def _stated_mean(self) -> Mean | None:
        if not len(self.batches):
            raise ValueError("batches is empty: there are no data.")
        if self.weight is not None:
            found: Mean | None = means.stated(self.weight, list(self.batches))
        elif self.reduction == "sum":
            found = Mean(
                [float(batching.samples(b)) for b in self.batches], "samples", "stated", total=True
            )
        else:
            found = means.known(self.loss, list(self.batches))
        if found is not None and not sum(found.counts) > 0:
            raise ValueError(
                f"batches is empty: {len(found.counts)} batches that count {sum(found.counts):g} "
                f"in all."
            )
        return found

    def _judge(self, x: Tensor) -> means.Judge:
        """The loss at x of parts of batches."""
        run = partial(self._run, x, 0, self.seed)
        of_outputs = OutputLosses(
            lambda batch: float(run(batch)),
            lambda batch: run(batch, None, "output"),
            lambda output, target: float(run((None, target), output, "criterion")),
            self._forget,
        )

        def judge(batch: Batch, part: Tensor | None, dim: int = 0, /) -> float:
            moved = batching.move(batch, self.device, self.dtype)
            if self._objective.takes_model is not False:
                whole = float(run(moved))
                if self._objective.takes_model and part is not None:
                    moved = batching.cut_out(moved, part, batching.samples(batch), dim)
                    return float(run(moved))
                if part is None:
                    return whole
            return of_outputs.judge(id(batch), moved, part, dim)

        return judge

    def _forget(self) -> None:
        """Let modules have nothing of any pass."""
        if self._placed is not None:
            self._placed.begin()

    def _passes(self, mine: Set[int] | None = None) -> Iterator[tuple[int, float, Batch, int]]:
        """(number, share of the total, batch on the device, seed) for every micro-batch
        and mask; ``mine``: only for batches of these numbers.
        """
        if self._objective.takes_model is None:
            eased(self, self.point(), self._settle)
        moved = self._in_pieces(self._chosen if mine is None else self._chosen & mine)
        for i, share, batch in ahead(moved) if self.device.type == "cuda" else moved:
            for mask in range(self.masks):
                seed = int(
                    np.random.SeedSequence(self.seed, spawn_key=(i, mask)).generate_state(
                        1, np.uint64
                    )[0]
                )
                yield i, share / self.masks, batch, seed

    def _in_pieces(self, mine: Set[int] | None) -> Iterator[tuple[int, float, Batch]]:
        """(number, share of the total, piece on the device) of every piece of every batch."""
        weights = self.weights.tolist()
        for i, batch in enumerate(self.batches):
            if mine is not None and i not in mine:
                continue
            if weights[i] == 0:  # every target is ignored: a mean over nothing
                continue
            # read anew, every batch is another one
            number = i if self.batches.kept is not None else None
            moved = self._moved(number, batch, self.pieces)
            for share, piece in zip(self._shares(i, batch), moved, strict=True):
                if share > 0:
                    yield i, weights[i] * share, piece

    def _shares(self, number: int, batch: Batch) -> list[float]:
        """What each piece of a batch counts in it; they sum to 1."""
        if self.pieces == 1:
            return [1.0]
        if number not in self._counts:
            self._counts[number] = self._piece_shares(batch)
        return self._counts[number]

    def _piece_shares(self, batch: Batch) -> list[float]:
        """What each piece of any batch counts in it."""
        counts = [self.mean.count(piece) for piece in batching.pieces(batch, self.pieces)]
        whole = sum(counts) or math.nan  # a mean over nothing
        return [count / whole for count in counts]

    def _settle(self) -> None:
        """Try how model and loss are called, in a pass of its own: hooks, counters and random
        numbers of the first pass that counts are then those of all.
        """
        for number, _, batch in islice(self._in_pieces(self._chosen), 1):
            with torch.enable_grad():
                self._run(self.point().requires_grad_(), number, self.seed, batch)

    def _owners(self) -> list[int]:
        """Which rank evaluates each batch: the heaviest first, each to the rank with the least."""
        weights = self.weights.tolist()
        load, owners = [0.0] * self.ranks.count, [0] * len(weights)
        for i in sorted(range(len(weights)), key=lambda i: -weights[i]):
            owners[i] = load.index(min(load))
            load[owners[i]] += weights[i]
        return owners

    def _dealt(self) -> Set[int]:
        """The numbers of the batches that this rank evaluates."""
        return {i for i, owner in enumerate(self._owners()) if owner == self.ranks.rank}

    def _given(self, x: Tensor) -> dict[str, Tensor]:
        """What stands in the place of the parameters at x, by name: the point's own, and what a
        part holds.
        """
        sizes = [s.stop - s.start for s in self.layout.values()]
        parts = zip(self.shapes.items(), torch.split(x, sizes), strict=True)
        return self._held | {name: part.view(shape) for (name, shape), part in parts}

    def _put(self, x: Tensor) -> None:
        """Put the point x in its place in the model, until another takes it or the
        evaluation ends.
        """
        assert self._placed is not None, "terms are called inside evaluation()"
        own = own_parameters(self.model)
        # a model that writes into its parameters must not write into the caller's point
        x = x if x.requires_grad else x.clone()
        given = {id(own[name]): tensor for name, tensor in self._given(x).items()}
        wrapper = "" if self._objective.model is self.model else "module."
        statistics = {
            f"model.{name.removeprefix(wrapper)}": t for name, t in self.statistics.items()
        }
        self._placed.put(given, statistics)

    def _run(self, x: Tensor, number: int, seed: int, *args: Any) -> Any:
        self._seed(seed)
        if args[2:] != ("criterion",):  # which goes on with a pass
            self._forget()
        self._put(x)
        if torch.is_grad_enabled() or not self._differentiates:
            try:
                return self._called(number, *args)
            except LoadingError as error:
                if torch.is_grad_enabled() or "does not require grad" not in str(error):
                    raise
                self._differentiates = True  # a physics-informed loss, forces, a gradient penalty
                self._seed(seed)
        with torch.enable_grad():
            if not x.requires_grad:  # an inner step, or a penalty on the gradient of the weights
                self._put(x.detach().clone().requires_grad_(True))
            return batching.mapped(self._called(number, *args), Tensor.detach)

    def _called(self, number: int, *args: Any) -> Any:
        try:
            with reduced(self.device, self._pass):
                return self._unaltered(args)
        except (torch.OutOfMemoryError, MemoryError, LoadingError, RanksError):
            raise
        except NotImplementedError as error:
            if "derivative" not in str(error) and "forward AD" not in str(error):
                raise self._refused(error, number) from error
            if "forward AD" not in str(error):
                raise
            raise NumericalError(
                f"a kernel has no forward derivative ({str(error).splitlines()[0]}): use another "
                f"method of Hessian."
            ) from error
        except RuntimeError as error:
            if memory_is_full(error) or too_late(error):
                raise
            raise self._refused(error, number) from error
        except (Exception, SystemExit) as error:
            raise self._refused(error, number) from error

    def _refused(self, error: BaseException, number: int) -> LoadingError:
        line = " ".join(str(error).split())
        rule = f". {CALLS}" if isinstance(error, TypeError | NotImplementedError) else ""
        writes = WRITES if any(words in line for words in IN_PLACE) else ""
        return LoadingError(
            f"{writes}the model or its loss raised {type(error).__name__} on batch {number}: "
            f"{line}{self._dtype_hint(line)}{rule}"
        )

    def _unaltered(self, args: tuple[Any, ...]) -> Any:
        """The objective of a batch, whose tensors stay as they are: a model that changes its input
        in place gets copies.
        """
        if self._alters is not False:
            args = (batching.mapped(args[0], _copied), *args[1:])
        given = [t for t in batching.tensors(args[0]) if not _is_wrapped(t)]
        before = [t._version for t in given]
        found = self._objective(*args)
        altered = before != [t._version for t in given]
        if altered and self._alters is False:
            raise LoadingError(
                "the model changes some of its inputs in place, and so the data: let forward begin "
                "with x = x.clone()."
            )
        self._alters = altered or bool(self._alters)
        return found

    def _dtype_hint(self, line: str) -> str:
        """What to do where a tensor was left in another dtype than the landscape's."""
        asked = selection.common_dtype([self.parameters()[name] for name in self._names])
        mixed = any(word in line.lower() for word in ("dtype", "scalar type", "double", "float"))
        if asked == self.dtype or not mixed:
            return ""
        return (
            f". The landscape is in {self.dtype} (dtype=), the model in {asked}: a tensor that is "
            f"no parameter, buffer or "
            f"batch kept its own dtype. Make it a buffer, create it in the dtype of an input, or "
            f"leave dtype= out"
        )

    def _batch_loss(self, batch: Batch, share: float, number: int, seed: int, x: Tensor) -> Tensor:
        return self._scaled(self._run(x, number, seed, batch), share, number)

    def _output(self, batch: Batch, number: int, seed: int, x: Tensor) -> Tensor:
        output = self._run(x, number, seed, batch, None, "output")
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the Gauss-Newton matrix and metrics need a model whose output is one tensor, got "
                f"{type(output).__name__}."
            )
        return output

    def _criterion(self, batch: Batch, share: float, number: int, output: Tensor) -> Tensor:
        x = torch.zeros(self.dim, dtype=self.dtype, device=self.device)
        return self._scaled(
            self._run(x, number, self.seed, batch, output, "criterion"), share, number
        )

    def _scaled(self, loss: Any, share: float, number: int) -> Tensor:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = (
                f"shape {tuple(loss.shape)}"
                if isinstance(loss, Tensor)
                else f"a {type(loss).__name__}"
            )
            raise LoadingError(
                f"the loss must be a scalar tensor, got {got} on batch {number}: average or sum it "
                f"over the batch, or pass loss=lambda model, batch: ... that gives the scalar."
            )
        if (
            torch.is_grad_enabled() and not _unwrapped(loss).requires_grad and not self._held
        ):  # a part may be unused
            raise LoadingError(
                f"the loss on batch {number} is detached from the analysed parameters: it was made "
                f"by .item(), .detach(), "
                "numpy or under no_grad, or does not use them."
            )
        return loss.reshape(()) * (share if self.reduction == "mean" else 1.0 / self.masks)

    def _regulariser(self, x: Tensor) -> Tensor:
        given, own = self._given(x), self.parameters()
        total = x.new_zeros(()) + 0.0 * x[0]
        for name in self._trainable:
            w = given[name] if name in given else self._copies(own[name]).detach()
            c2 = sum(c for glob, c in self.l2.items() if fnmatchcase(name, glob))
            c1 = sum(c for glob, c in self.l1.items() if fnmatchcase(name, glob))
            total = (
                total
                + (0.5 * c2 * w.square().sum() if c2 else 0.0)
                + (c1 * w.abs().sum() if c1 else 0.0)
            )
        return total

    def _seed(self, seed: int) -> None:
        seed_host(seed)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _check(self, x: Tensor, shape: str, fits: bool) -> None:
        if not fits:
            raise ValueError(
                f"a point of {self.name} has shape {shape} with n = {self.dim}, got "
                f"{tuple(x.shape)}."
            )
        if x.dtype != self.dtype or x.device.type != self.device.type:
            raise ValueError(
                f"a point of {self.name} is {self.dtype} on {self.device}, got {x.dtype} on "
                f"{x.device}: "
                "pass dtype= and device= to ModelLandscape, or move the point."
            )


def require_model(f: object, why: str, error: type[Exception] = ValueError) -> ModelLandscape:
    """f, where it is a model's landscape; else raise ``error`` with the sentence ``why``."""
    if not isinstance(f, ModelLandscape):
        raise error(why)
    return f


def _seen_eps(judge: means.Judge, batch: Batch) -> float:
    """The rounding unit of the coarsest arithmetic in which the loss of a batch is computed; 0
    where it refuses the batch.
    """
    with suppress(Exception), Precision() as seen:
        judge(batch, None)
        return float(seen.eps)
    return 0.0


def _of_pass(error: Exception, name: str) -> str:
    """What a backward pass through a model raised, in a sentence."""
    line = " ".join(str(error).split())
    if "used in the graph" not in line:
        return f"a pass through {name} raised {type(error).__name__}: {line}"
    return (
        f"the loss of {name} does not depend on the analysed parameters: {ANEW}, or the loss is of "
        "something else."
    )


def _unwrapped(t: Tensor) -> Tensor:
    """What a tensor inside of vmap stands for: the wrapper does not say whether autograd outside
    follows it.
    """
    while torch._C._functorch.is_batchedtensor(t):
        t = torch._C._functorch.get_unwrapped(t)
    return t


def _is_wrapped(t: Tensor) -> bool:
    """Whether it stands for others inside of vmap, and has no count of changes."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(t)) or t.is_inference()


def _copied(t: Tensor) -> Tensor:
    return t if _is_wrapped(t) else t.clone()


def _require_objects(model: object, loss: object, batches: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    if loss is not None and not callable(loss):
        raise TypeError(
            f"loss must be callable, got {type(loss).__name__}; landscape.losses.get(name) "
            f"gives the named ones."
        )
    if not isinstance(batches, Iterable):
        raise TypeError(
            f"batches must be an iterable of batches, a DataLoader or a list, got "
            f"{type(batches).__name__}."
        )


def _require_options(loss: object, mode: str, reduction: str, masks: int) -> None:
    _require("mode", mode, ("eval", "train"))
    _require("reduction", reduction, ("mean", "sum"))
    function, options = losses.unwrapped(loss)
    stated = options.get("reduction", getattr(function, "reduction", reduction))
    if stated == "none":
        raise ValueError(
            "the loss has reduction='none', and a landscape is one number: give the loss "
            "reduction='mean' or 'sum'."
        )
    if (reduction if stated == "batchmean" else stated) != reduction:  # a mean over samples
        raise ValueError(
            f"the loss has reduction={stated!r} but the landscape reduction={reduction!r}: "
            f"make them agree."
        )
    if masks < 1:
        raise ValueError(f"masks must be at least 1, got {masks}.")


def _require(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{option} must be one of {', '.join(allowed)}, got {value!r}.")
