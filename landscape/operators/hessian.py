"""The Hessian of a landscape at a point, known by its products.

x: (n,) the point, H: (n, n), v: (n,), V: (n, k) one vector a column. A product is one H v; a block
of k costs k. It is a sum over the landscape's terms, so a product never holds more than one
micro-batch's graph, except where all of them fit a memory budget and are kept (Pearlmutter 1994,
Neural Computation 6:147, by double backward).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from landscape.core import Landscape, Term, require_landscape
from landscape.errors import LoadingError, NumericalError, memory_is_full
from landscape.landscapes.arithmetic import ordinary, owned, require_precision
from landscape.landscapes.convolutions import WINDOWS, few_passes, graph_alone, slow_in_float64
from landscape.landscapes.memory import GRAPHS, budget, fitting
from landscape.operators.base import BLOCK, NUMBERS, SymmetricOperator
from landscape.operators.derivatives import (
    NO_SECOND_DERIVATIVE,
    cut_off,
    leaf,
    require_second_derivative,
    vjp,
)
from landscape.operators.programs import Program, aside, compiled, recorded
from landscape.ranks import Spread
from landscape.results import journal

T = TypeVar("T")
METHODS = (
    "auto",
    "retained",
    "rebuilt",
    "compiled",
    "cuda-graph",
    "forward-over-reverse",
    "finite-difference",
)
# Methods that make one program of what the graphs kept do with a vector, as notes call it.
PROGRAMS = {"compiled": "compiled product", "cuda-graph": "CUDA graph"}
# Groups that batches form where they are watched, and how many of their sums are held at a time.
GROUPS, SIDE = 32, 8
# Steps of differences that are tried along a direction.
LADDER = 6
# The longest of them, in units of |x|: beyond it f is another function for all that is known.
FARTHEST = 0.1
SMALL = (
    2**20
    # bytes of a term's graph up to which a vectorised block beats a loop: the time is Python's, not
    # arithmetic's
)


class Hessian(SymmetricOperator):
    """The exact Hessian of a landscape at a point.

    Args:
        f: a landscape.
        at: the point (n,); None: the model's current one.
        method: "auto" keeps the first-order graphs of all micro-batches across products where they
            fit ``memory`` and rebuilds them one at a time otherwise; "retained" and "rebuilt" force
            one of these; "compiled" keeps graphs and has ``torch.compile`` make one program of the
            backward pass through all of them: for thousands of products with a small network, whose
            kernels take less time than to start them, and after some ten seconds a micro-batch;
            "cuda-graph" keeps graphs and has a CUDA device record the kernels of that pass, which
            one call starts again: for a hundred products with a small network, and the memory of
            one more backward pass. Both are held against the graphs at their first products, and
            dropped, which ``notes`` tell, where they differ or cannot be made;
            "forward-over-reverse" pushes a tangent through the backward pass; "finite-difference"
            takes central differences of the gradient, for kernels without a second derivative: its
            relative error is about eps^(2/3), 2e-5 in float32.
        memory: bytes of graph that may be kept; None: 1 GiB on a CPU, 40 % of what is free on a
            GPU.
        precision: what products are computed in, "full", "tf32" or "bf16", see ``ModelLandscape``;
            None: as f says.

    Raises:
        ValueError: an unknown method or precision, a point of another shape, no point for a
            formula, a CUDA graph for a point on a CPU.
        NumericalError: from a product, when a kernel has no second derivative.

    Cost of a product, in gradients: about 2 retained, 0.7 compiled (a small network on a CPU), 3
        rebuilt, 4 forward over reverse, 2 finite
        differences.
    Nothing is computed before the first product.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> H = ls.Hessian(f, [1.0, 0.0])
        >>> H.dense().tolist(), H.products
        ([[8.0, 0.0], [0.0, 2.0]], 2)
    """

    def __init__(
        self,
        f: Landscape,
        at: Tensor | Sequence[float] | None = None,
        *,
        method: str = "auto",
        memory: int | None = None,
        precision: str | None = None,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        require_landscape(f, "Hessian")
        self.f, self.x = f, leaf(f, at)
        super().__init__(f.dim, self.x.dtype, self.x.device)
        self.rows, self.sharded = len(self.x), f.spread.sharded
        self.spread = f.spread
        self.method = method
        self.memory = budget(self.device, GRAPHS) if memory is None else memory
        self._program: Program | None = None  # of the graphs kept, where it is asked for
        self._stream = self._own_stream()
        self._keeping, self._evicted = False, False  # graphs are kept; they were, and did not fit
        self.precision = f.precision if precision is None else precision
        require_precision(self.precision)
        self._require_whole()
        self._graphs: list[tuple[Tensor, int | None, float]] | None = (
            None  # (gradient of a term, its batch, its share)
        )
        self._vectorise: bool | None = (
            None  # whether a block of vectors goes through one backward pass; None: not decided yet
        )
        # what differences were seen to be off by, and their step in units of |x| that served last
        self._error, self._step = 0.0, torch.finfo(self.dtype).eps ** (1 / 3)
        self._size = 0.0  # of the largest product by differences of a unit vector so far
        self.why = ""  # why products are differences though nobody asked for them
        # whether terms are built of kernels for few passes, which no block goes through at once
        self._few_passes = method != "forward-over-reverse" and not self.sharded
        self._width = NUMBERS  # the most columns at a time
        self._differentiable = False  # whether a term's backward pass was seen to be differentiable
        # whether a search that multiplies may ask what each batch makes of its vectors
        self.by_batch = False
        self._made = 0
        self._watch: _Watch | None = None

    def _require_whole(self) -> None:
        """Refuse what is not known of points that lie on several ranks by parts."""
        if not self.sharded:
            return
        if self.method in ("finite-difference", *PROGRAMS):
            raise ValueError(
                f'method="{self.method}" is for points that a rank keeps whole: leave shard out.'
            )
        if self.precision != "full":
            raise ValueError(
                f"precision must be full where points are sharded, got {self.precision}: what it "
                f"loses is measured with products in float64, for which there is no room."
            )

    def _own_stream(self) -> torch.cuda.Stream | None:
        """The stream that a CUDA graph is recorded on."""
        if self.method != "cuda-graph":
            return None
        if self.device.type != "cuda":
            raise ValueError(
                f'method="cuda-graph" is for points on a CUDA device, and this one is on '
                f'{self.device}: pass method="retained" or "compiled".'
            )
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    @property
    def retained(self) -> bool:
        """Whether the graphs are kept across products; decided at the first product."""
        return self._graphs is not None

    @property
    def made(self) -> int:
        """How many products were made, those in float64 among them: not the ones that an earlier
        run has made.
        """
        finer = self._finer
        return self._made + (finer.made if isinstance(finer, Hessian) else 0)

    def release(self) -> None:
        """Let go of the graphs kept; the next product decides anew."""
        self._graphs = self._vectorise = self._program = None
        self._keeping = False

    @property
    def eps(self) -> float:
        """The rounding unit of f's own arithmetic."""
        return self.f.rounding(self.x.detach())

    @property
    def error(self) -> float:
        """What products were seen to be off by besides rounding, for a unit vector: by differences,
        or by arithmetic coarser than their dtype.
        """
        return max(self._error, super().error)

    @property
    def unmeasured(self) -> bool:
        """Whether ``error`` would spend a product in float64; what is known to be coarse is
        measured before it is used.
        """
        plain = self.precision == "full" and self.method != "finite-difference"
        return plain and super().unmeasured

    def _in_float64(self) -> SymmetricOperator | None:
        if (self.dtype == torch.float64 and self.precision == "full") or self.sharded:
            return None  # of a sharded point float64 would take the room that sharding spares
        f = self.f.astype(self.dtype)
        if slow_in_float64(getattr(f, "model", None), self.device):
            f.cut(WINDOWS, self.x.detach())  # type: ignore[attr-defined]  # f has a model
        return self._in_full_of(f.astype(torch.float64))

    def _in_full(self) -> SymmetricOperator | None:
        return None if self.precision == "full" else self._in_full_of(self.f.astype(self.dtype))

    def _in_full_of(self, f: Landscape) -> SymmetricOperator:
        """The Hessian of f at the same point, in its dtype and in full precision."""
        method = self.method if self.method == "finite-difference" else "auto"
        return Hessian(f, self.x.detach().to(f.dtype), method=method, memory=0, precision="full")

    def _probe(self) -> Tensor:
        """Half a random vector and half the gradient, which lies along the large eigenvalues for
        the most part.
        """
        random, g = super()._probe(), self.f.gradient(self.x.detach()).detach()
        size = g.double().norm()
        if not bool(torch.isfinite(size) & (size > 0)):
            return random
        both = random.double() + (g.double() / size)[:, None]
        unit: Tensor = (both / both.norm()).to(self.dtype)
        return unit

    @property
    def parts(self) -> "Parts | None":
        """The same operator on vectors whose coordinates are shared over the ranks of f; None where
        there is one rank.
        """
        return None if self.f.ranks.count == 1 or self.sharded else Parts(self)

    def _multiply(self, V: Tensor) -> Tensor:
        return self.recalled(V, lambda: self._multiplied(V))

    def recalled(self, V: Tensor, multiply: Callable[[], Tensor]) -> Tensor:
        """What ``multiply`` makes of V, or has made in an interrupted run."""
        if not journal.active():
            return multiply()
        product, *state = journal.recalled(
            self._what("products"), [self.x, V], lambda: self._kept(multiply), self.f.ranks
        )
        self._go_on(state)
        return product

    def _kept(self, multiply: Callable[[], Tensor]) -> list[Tensor]:
        """A product, and what products have told of how to be made."""
        product = multiply()
        why = torch.tensor(list(self.why.encode()), dtype=torch.uint8, device="cpu")
        numbers = [self._error, self._step, float(self.method == "finite-difference")]
        return [product, torch.tensor(numbers, dtype=torch.float64, device="cpu"), why]

    def _go_on(self, state: list[Tensor]) -> None:
        """Take what products have told; after a product that was made here it is known."""
        numbers, why = state
        self._error, self._step, differences = numbers.tolist()
        self.why = bytes(why.tolist()).decode()
        if differences and self.method != "finite-difference":
            self.release()
            self.method = "finite-difference"

    def _what(self, of: str) -> str:
        """What a product depends on besides the point and the vectors."""
        return f"{of} {self.method} {self._step!r} {journal.identity(self.f)}"

    def _multiplied(self, V: Tensor) -> Tensor:
        return self.product(V, self._total, lambda whole: whole)

    def _total(self, t: Tensor) -> Tensor:
        """What the terms of all ranks make; where points are sharded, passes have summed it."""
        return t if self.sharded else self.f.ranks.total(t)

    def product(
        self, V: Tensor, reduce: Callable[[Tensor], Tensor], cut: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """H V as ``reduce`` makes it of what the terms of every rank give, or ``cut`` of the whole
        of it, which differences of gradients give.
        """
        self._made += V.shape[1]
        if self.method != "finite-difference":
            try:
                return self._within_memory(V, reduce)
            except NumericalError as error:
                self._fall_back(error)
        return cut(torch.stack([self._difference(v) for v in V.T], dim=1))

    def _fall_back(self, error: NumericalError) -> None:
        """Go on by differences where a kernel has no second derivative and the method was left
        open; else raise.
        """
        if self.method != "auto" or self.sharded or "second derivative" not in str(error):
            raise error
        self.release()
        self.method, self.why = "finite-difference", str(error)

    def _within_memory(self, V: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """H V, with less kept and less computed at a time where memory runs out on a rank."""

        def compute() -> Tensor:
            blocks = [reduce(self._dealt(block)) for block in torch.split(V, self._width, dim=1)]
            return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)

        return self._fitting(compute, V.shape[1])

    def _fitting(self, compute: Callable[[], T], columns: int) -> T:
        if self.sharded:  # the other ranks wait in an exchange, and end with this one
            return compute()
        return fitting(compute, lambda: self._give_way(columns), self.device)

    def _give_way(self, columns: int) -> bool:
        """Whether there is something to do with less memory: graphs rebuilt first, then half the
        columns at a time, then smaller pieces of batches. It is remembered, and said in ``notes``.
        """
        if self.f.ranks.any(self._keeping):  # what ranks keep is unlike, what they do next is not
            self.release()
            self.memory, self._evicted = 0, True
            return True
        width = min(columns, self._width)
        if width > 1:
            self._width, self._vectorise = (width + 1) // 2, False
            return True
        if not self.f.finer(self.x.detach()):
            return False
        self.release()  # a piece's graph is weighed anew, and as many columns tried as before
        self._width = NUMBERS
        return True

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than asked for, and why, in sentences."""
        notes = []
        if self._evicted:
            notes.append(
                f"graphs did not fit the memory of {self.device} and are rebuilt at every product"
            )
        if self._width < NUMBERS:
            notes.append(
                f"more than {self._width} products at once did not fit the memory of {self.device}"
            )
        if self._program is not None and self._program.dropped:
            notes.append(
                f"the {PROGRAMS[self.method]} was dropped ({self._program.dropped}), and products "
                "are those of the graphs kept"
            )
        return [*notes, *self.f.notes, *self._remarks]

    def _dealt(self, V: Tensor) -> Tensor:
        """What the terms of this rank make of V (n, k); the sum over the ranks is H V."""
        if self.method in PROGRAMS:
            self.f.rounding(self.x.detach())  # on all ranks, though some make no program
        with nullcontext() if self.sharded else self.f.ranks.together(), aside(self._stream):
            if self.method in PROGRAMS and self._watch is None and self._one_by_one(V):
                return torch.stack([self._programmed(v) for v in V.T], dim=1)
            return self._summed_parts(V)

    def _one_by_one(self, V: Tensor) -> bool:
        """Whether columns go through the graphs kept one at a time."""
        if self._vectorise is None:
            self._prepare()
        return self._graphs is not None and (V.shape[1] == 1 or not self._vectorise)

    def _summed_parts(self, V: Tensor) -> Tensor:
        return _sum(self._watched(self._parts(V)), V)

    def _programmed(self, v: Tensor) -> Tensor:
        def product(u: Tensor) -> Tensor:
            return self._summed_parts(u[:, None])[:, 0]

        if self._program is None:
            make = self._recorded if self._stream else partial(compiled, product)
            self._program = Program(product, make, self.eps)
        with owned(self.precision):
            return self._program(v)

    def _recorded(self, v: Tensor) -> Callable[[Tensor], Tensor]:
        """The backward pass through the graphs kept, without what surrounds it on the host."""
        graphs = [gradient for gradient, _, _ in self._graphs or ()]

        def product(u: Tensor) -> Tensor:
            V = u[:, None]
            return _sum((self._backward(g, V, keep=True) for g in graphs), V)[:, 0]

        with self._evaluation():
            return recorded(product, v)

    def _watched(self, parts: Iterator[tuple[Tensor, int | None, float]]) -> Iterator[Tensor]:
        """What the terms make of vectors, seen by whoever watches."""
        if self._watch is not None:
            self._watch.begin()
        for part, batch, _ in parts:
            if self._watch is not None and batch is not None:
                self._watch.see(part[:, 0], batch)
            yield part

    @owned()
    def quadratic_forms(self, V: Tensor) -> tuple[Tensor, Tensor]:
        """v'H_b v for every micro-batch b and column v of V (n, k): (B, k), float64, and the
        batches' shares of the data (B,).

        They sum to v'Hv less what the regulariser adds. Empty (0, k) for a formula. Cost: k
        products.
        """
        self.products += V.shape[1]
        forms, shares = journal.recalled(
            self._what("forms"),
            [self.x, V],
            lambda: self._forms(ordinary(V.detach())),
            self.f.ranks,
        )
        return forms, shares

    @cached_property
    def batches(self) -> dict[int, float]:
        """The share of the data of every batch; none for a formula."""
        shares: dict[int, float] = {}
        with self.f.evaluation():
            for term in self.f.terms():
                if term.batch is not None:
                    shares[term.batch] = shares.get(term.batch, 0.0) + term.share
        return shares

    @property
    def shares(self) -> Tensor:
        """The shares (G,) of the data that the groups of batches of ``observed`` have; empty where
        it does not tell them apart.
        """
        if not self.by_batch or self.sharded:
            return torch.zeros(0, dtype=torch.float64, device="cpu")
        groups = _groups(self.batches)
        shares = torch.zeros(
            max(groups.values(), default=-1) + 1, dtype=torch.float64, device="cpu"
        )
        for batch, share in self.batches.items():
            shares[groups[batch]] += share
        return shares

    @owned()
    def observed(
        self, v: Tensor, Q: Tensor, dots: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """H v (n,), and q'H_b v for every group b of micro-batches and every row q of Q (m, n):
        (G, m), float64; NaN where products are differences of gradients.

        At most ``GROUPS`` groups are formed, of batches that follow each other. Cost: one product,
        and the G m ``dots`` of rows with rows.
        """
        self.products += 1
        inputs = [self.x, v, Q[:, :64].contiguous()]  # which tells one basis from another
        product, forms, *state = journal.recalled(
            self._what("observed"),
            inputs,
            lambda: self._observed(ordinary(v.detach()), Q, dots),
            self.f.ranks,
        )
        self._go_on(state)
        return product, forms

    def _observed(
        self, v: Tensor, Q: Tensor, dots: Callable[[Tensor, Tensor], Tensor]
    ) -> list[Tensor]:
        self._watch = _Watch(Q, dots, _groups(self.batches))
        try:
            product, *state = self._kept(lambda: self._multiplied(v[:, None]))
            forms = self._watch.told()
        finally:
            self._watch = None
        return [product[:, 0], forms, *state]

    def _forms(self, V: Tensor) -> tuple[Tensor, Tensor]:
        if self.sharded:
            return self._group_forms(V)
        if self.method != "finite-difference":
            try:
                return self._fitting(lambda: self._summed_by_width(V), V.shape[1])
            except NumericalError as error:
                self._fall_back(error)
        return self._summed(self._part_differences(V), V)

    def _summed_by_width(self, V: Tensor) -> tuple[Tensor, Tensor]:
        with aside(self._stream):
            found = [self._summed(self._parts(b), b) for b in torch.split(V, self._width, dim=1)]
        return torch.cat([forms for forms, _ in found], dim=1), found[0][1]

    def _summed(
        self, parts: Iterator[tuple[Tensor, int | None, float]], V: Tensor
    ) -> tuple[Tensor, Tensor]:
        mine: dict[int, tuple[Tensor, float]] = {}
        nothing = V.new_zeros(V.shape[1], dtype=torch.float64)
        with self.f.ranks.together():
            for part, batch, share in parts:
                if batch is not None:
                    form, before = mine.get(batch, (nothing, 0.0))
                    mine[batch] = form + (part * V).sum(0, dtype=torch.float64), before + share
        every = {b: one for dealt in self.f.ranks.objects(mine) for b, one in dealt.items()}
        forms = [every[b][0].to(V.device) for b in sorted(every)]
        shares = [every[b][1] for b in sorted(every)]
        empty = V.new_zeros(0, V.shape[1], dtype=torch.float64)
        return torch.stack(forms) if forms else empty, torch.tensor(
            shares, dtype=torch.float64, device=V.device
        )

    def _group_forms(self, V: Tensor) -> tuple[Tensor, Tensor]:
        """As ``quadratic_forms``, of the batches that all ranks evaluate at the same time."""
        ranks, forms, shares = self.f.ranks, [], []
        for part, _, share in self._parts(V):
            total = float(ranks.total(torch.tensor(share, dtype=torch.float64, device="cpu")))
            form = ranks.total((part * V).sum(0, dtype=torch.float64))
            if total > 0:
                forms.append(form)
                shares.append(total)
        return torch.stack(forms), torch.tensor(shares, dtype=torch.float64, device=V.device)

    def _parts(self, V: Tensor) -> Iterator[tuple[Tensor, int | None, float]]:
        """(H_t V, batch, share) of every term t."""
        undecided = self._vectorise is None and self.method != "forward-over-reverse"
        if undecided and (self.memory > 0 or V.shape[1] > 1 or self.sharded):
            self._prepare()
        with self._evaluation():
            if self._graphs is not None:
                for gradient, batch, share in self._graphs:
                    yield self._backward(gradient, V, keep=True), batch, share
                return
            for term in self.f.dealt_terms():
                yield self._term_product(term, V), term.batch, term.share

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Around whatever makes graphs of terms, or passes through them."""
        model = getattr(self.f, "model", None) if self._few_passes else None
        with self.f.evaluation(self.x, self.precision), few_passes(model), torch.enable_grad():
            yield

    def _term_product(self, term: Term, V: Tensor) -> Tensor:
        if self.method == "forward-over-reverse":
            gradient = torch.func.grad(term.function)
            x = self.x.detach()
            try:
                return torch.stack(
                    [torch.func.jvp(gradient, (x,), (v,))[1] for v in V.T], dim=1
                ).detach()
            except RuntimeError as error:  # NotImplementedError among them
                if memory_is_full(error):
                    raise
                line = str(error).splitlines()[0]
                raise NumericalError(
                    f"a kernel has no forward derivative ({line}): use another method of Hessian."
                ) from error
        return self._backward(self._gradient(term.function), V, keep=False)

    def _gradient(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        value = function(self.x)
        if not value.requires_grad:
            return torch.zeros_like(self.x, requires_grad=False)  # a constant
        if self._differentiable:
            return _slope_with_graph(value, self.x)
        with cut_off(value) as lost:
            gradient = _slope_with_graph(value, self.x)
        require_second_derivative(gradient)
        if lost:
            what = f"the backward pass of {lost[0]} records nothing"
            raise NumericalError(NO_SECOND_DERIVATIVE.format(what))
        self._differentiable = True
        return gradient

    def _backward(self, gradient: Tensor, V: Tensor, *, keep: bool) -> Tensor:
        """d(gradient'V)/dx (n, k) by one more backward pass through the graph of ``gradient``,
        vectorised where that works.
        """
        if not gradient.requires_grad:
            return torch.zeros_like(V)  # linear in x
        if self._vectorise and V.shape[1] > 1:
            try:
                return self._vectorised(gradient, V)
            except RuntimeError as error:
                if memory_is_full(error):
                    raise
                # an operation without a batching rule: a loop does the same
                self._vectorise = False
        last = V.shape[1] - 1
        columns = [vjp(gradient, self.x, v, keep=keep or i < last) for i, v in enumerate(V.T)]
        return torch.stack(columns, dim=1) if last else columns[0][:, None]

    def _vectorised(self, gradient: Tensor, V: Tensor) -> Tensor:
        blocks = []
        for block in torch.split(V.T, BLOCK):
            (rows,) = torch.autograd.grad(
                gradient, self.x, block, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
            blocks.append(torch.zeros_like(block) if rows is None else rows)
        return torch.cat(blocks).T

    def _prepare(self) -> None:
        """Weigh the first term's graph; keep every term's graph if all will fit."""
        with self.f.evaluation(self.x, self.precision), torch.enable_grad():
            shares = [term.share for term in self.f.dealt_terms()]
            if not shares:
                self._vectorise, self._graphs = False, []
                return
            first = next(iter(self.f.dealt_terms()))
            needed = self._weighed(first)
        if self.sharded:  # exchanges follow the graphs: all ranks do the same
            needed = max(self.f.ranks.objects(needed))
            self.memory = min(self.f.ranks.objects(self.memory))
            shares = [float(len(shares))]
            first = Term(first.function, None, 1.0)
        self._vectorise = needed <= SMALL and not self.sharded
        self._few_passes &= not self._vectorise
        fits = needed * (sum(shares) or 1.0) / (first.share or 1.0) <= self.memory
        if self.memory > 0 and (
            self.method in ("retained", *PROGRAMS) or (self.method == "auto" and fits)
        ):
            self._keeping = True
            with self._evaluation():
                terms = self.f.dealt_terms()
                self._graphs = [(self._gradient(t.function), t.batch, t.share) for t in terms]

    def _weighed(self, term: Term) -> float:
        """Bytes of a term's graph."""
        weigh = getattr(self.f, "graph_bytes", _graph_bytes)
        return float(weigh(lambda: self._gradient(term.function)))

    @cached_property
    def light(self) -> bool:
        """Whether a term's graph is so small that its time is Python's. Cost: one such graph."""
        if self.sharded:
            return False
        try:
            with self.f.evaluation(self.x, self.precision), torch.enable_grad():
                return self._weighed(next(iter(self.f.terms()))) <= SMALL
        except NumericalError:  # it has no second derivative
            return False

    def _difference(self, v: Tensor) -> Tensor:
        """H v by central differences of the gradient, at the step along v at which two differences
        agree best; what they disagree by is kept as the error of products.
        """
        x = self.x.detach()
        normals = self.f.domain.normals(x)
        v = v - normals @ (normals.T @ v)
        norm = float(v.double().norm())
        if norm == 0:
            return torch.zeros_like(v)
        length = max(float(x.double().norm()), 1.0) / norm
        goal = 10 * self.eps ** (2 / 3)
        best, least, tried = torch.zeros_like(v), float("inf"), set[float]()
        step = chosen = self._step
        for _ in range(LADDER):
            tried.add(step)
            near, far = (self._slope(x, v, scale * step * length) for scale in (1.0, 2.0))
            gap, size = float((near - far).double().norm()), float(near.double().norm())
            if gap < least:
                best, least, chosen = near, gap, step
                self._size = max(self._size, size / norm)
            # along a null direction differences of any step are but noise, and small beside others
            if gap <= goal * max(size, self._size * norm):
                break
            step = chosen * 4 if chosen * 4 not in tried else chosen / 4
            if step in tried or step > FARTHEST:
                break
        if least < float(best.double().norm()):
            self._step = chosen
        self._error = max(self._error, least / norm)
        return best - normals @ (normals.T @ best)

    def _slope(self, x: Tensor, v: Tensor, h: float) -> Tensor:
        difference: Tensor = self.f.gradient(x + h * v) - self.f.gradient(x - h * v)
        return difference / (2 * h)

    def _part_differences(self, V: Tensor) -> Iterator[tuple[Tensor, int | None, float]]:
        """As ``_parts``, by central differences of the terms' gradients."""
        x = self.x.detach()
        length = max(float(x.double().norm()), 1.0)
        with self.f.evaluation(), torch.enable_grad():
            for term in self.f.dealt_terms():
                columns = []
                for v in V.T:
                    h = self._step * length / (float(v.double().norm()) or 1.0)
                    high, low = (_slope_of(term.function, x + s * h * v) for s in (1, -1))
                    columns.append((high - low) / (2 * h))
                yield torch.stack(columns, dim=1), term.batch, term.share


def _sum(parts: Iterator[Tensor], V: Tensor) -> Tensor:
    """The sum of what terms make of V, added into the first."""
    total = next(parts, None)
    if total is None:  # a rank may have no term
        return torch.zeros_like(V)
    for part in parts:
        total = total.add_(part)
    return total


def _groups(batches: Iterable[int]) -> dict[int, int]:
    """The group of every batch: at most ``GROUPS`` runs of batches."""
    order = sorted(batches)
    count = min(GROUPS, len(order))
    return {batch: i * count // len(order) for i, batch in enumerate(order)}


class _Watch:
    """q'H_b v for the rows q of Q (m, n), from what each batch makes of v: sums over groups of
    batches, a few groups at a time.
    """

    def __init__(
        self, Q: Tensor, dots: Callable[[Tensor, Tensor], Tensor], groups: dict[int, int]
    ) -> None:
        self.Q, self.dots, self.groups = Q, dots, groups
        self.count = max(groups.values(), default=-1) + 1
        self.begin()

    def begin(self) -> None:
        """Forget what was seen: a product begins."""
        self.forms = self.Q.new_full((self.count, len(self.Q)), torch.nan, dtype=torch.float64)
        self.sums: dict[int, Tensor] = {}

    def see(self, part: Tensor, batch: int) -> None:
        """What a batch makes of v, (n,)."""
        group = self.groups[batch]
        if group in self.sums:
            self.sums[group] += part
            return
        if len(self.sums) == SIDE:
            self._reckon()
        self.sums[group] = part.clone()  # the first part is where the others are added

    def told(self) -> Tensor:
        """The forms (G, m)."""
        self._reckon()
        return self.forms

    def _reckon(self) -> None:
        if self.sums:
            where = torch.tensor(list(self.sums), device=self.Q.device)
            self.forms[where] = self.dots(torch.stack(list(self.sums.values())), self.Q)
            self.sums = {}


class Parts:
    """A Hessian over ranks as solvers see it: each rank holds a part of the coordinates of every
    vector, so that bases and what is done with them are divided by the number of ranks.

    A product gathers the vector, sums what the ranks make of it, and leaves each its part.
    """

    def __init__(self, H: Hessian) -> None:
        self.H, self.shape, self.dtype, self.device = H, H.shape, H.dtype, H.device
        self.spread, self.granted = Spread([H.shape[0]], H.f.ranks), H.granted

    @property
    def eps(self) -> float:
        return self.H.eps

    @property
    def error(self) -> float:
        return self.H.error

    @property
    def coarse(self) -> bool:
        return self.H.coarse

    @property
    def unmeasured(self) -> bool:
        return self.H.unmeasured

    def learn(self, lost: float, scale: float) -> None:
        """As of the whole operator; the numbers are those of all ranks."""
        self.H.learn(lost, scale)

    def reference(self, Q: Tensor) -> Tensor:
        """H Q in float64, of which each rank takes and gets its part."""
        return self.spread.own(self.H.reference(self.spread.whole(Q)))

    def __matmul__(self, Q: Tensor, /) -> Tensor:
        columns = Q if Q.ndim == 2 else Q[:, None]
        self.H.products += columns.shape[1]
        blocks = [self._block(block) for block in torch.split(columns, BLOCK, dim=1)]
        return torch.cat(blocks, dim=1).view(Q.shape)

    def _block(self, Q: Tensor) -> Tensor:
        def multiply() -> Tensor:
            return self.H.product(self.spread.whole(Q), self.spread.summed, self.spread.own)

        return self.H.recalled(Q, multiply)


def _slope_with_graph(value: Tensor, x: Tensor) -> Tensor:
    """The graph of the gradient; its values may be zeros where convolutions give them."""
    with graph_alone(value):
        (gradient,) = torch.autograd.grad(value, x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _slope_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    point = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(function(point), point, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _graph_bytes(build: Callable[[], Tensor]) -> float:
    """Bytes of the tensors that autograd saves while ``build`` runs, each storage counted once;
    infinite where they cannot be weighed.
    """
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided:  # of a sparse one little is saved
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # or the graph would hold itself, and never go

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            build()
    except LoadingError as error:
        # a loss that calls torch.func allows no hooks, or saves tensors without a storage
        if not any(words in str(error) for words in ("saved tensor hooks", "python storage")):
            raise
        return float("inf")
    return sum(seen.values())
