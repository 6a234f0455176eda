"""The Hessian of a landscape at a point, known by its products.

x: (n,) the point, H: (n, n), v: (n,), V: (n, k) one vector a column. A product is one H v; a block
of k costs k. It is a sum over the landscape's terms, so a product never holds more than one
micro-batch's graph, except where all of them fit a memory budget and are kept (Pearlmutter 1994,
Neural Computation 6:147, by double backward).
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from landscape.core import Landscape, Term, require_landscape
from landscape.errors import NumericalError
from landscape.operators.base import BLOCK, SymmetricOperator
from landscape.operators.derivatives import leaf, require_second_derivative, vjp
from landscape.ranks import Spread

METHODS = ("auto", "retained", "rebuilt", "forward-over-reverse", "finite-difference")
# Steps of differences that are tried along a direction.
LADDER = 6
BUDGET = 2**30  # bytes of graph kept across products
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
            one of these; "forward-over-reverse" pushes a tangent through the backward pass;
            "finite-difference" takes central differences of the gradient, for kernels without a
            second derivative: its relative error is about eps^(2/3), 2e-5 in float32.
        memory: bytes of graph that may be kept.

    Raises:
        ValueError: an unknown method, a point of another shape, no point for a formula.
        NumericalError: from a product, when a kernel has no second derivative.

    Cost of a product, in gradients: about 2 retained, 3 rebuilt, 4 forward over reverse, 2 finite
        differences.
    Nothing is computed before the first product.
    """

    def __init__(
        self, f: Landscape, at: Tensor | None = None, *, method: str = "auto", memory: int = BUDGET
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        require_landscape(f, "Hessian")
        self.f, self.x = f, leaf(f, at)
        super().__init__(f.dim, self.x.dtype, self.x.device)
        self.rows, self.sharded = len(self.x), f.spread.sharded
        self.spread = f.spread
        self.method, self.memory = method, memory
        self._graphs: list[tuple[Tensor, int | None, float]] | None = (
            None  # (gradient of a term, its batch, its share)
        )
        self._vectorise: bool | None = (
            None  # whether a block of vectors goes through one backward pass; None: not decided yet
        )
        # what differences were seen to be off by, and their step in units of |x| that served last
        self._error, self._step = 0.0, torch.finfo(self.dtype).eps ** (1 / 3)
        self.why = ""  # why products are differences though nobody asked for them
        self._differentiable = False  # whether a term's backward pass was seen to be differentiable

    @property
    def retained(self) -> bool:
        """Whether the graphs are kept across products; decided at the first product."""
        return self._graphs is not None

    def release(self) -> None:
        """Let go of the graphs kept; the next product decides anew."""
        self._graphs = self._vectorise = None

    @property
    def eps(self) -> float:
        """The rounding unit of f's own arithmetic."""
        return self.f.rounding(self.x.detach())

    @property
    def error(self) -> float:
        """What products by differences were seen to be off by, for a unit vector; else 0."""
        return self._error

    @property
    def parts(self) -> "Parts | None":
        """The same operator on vectors whose coordinates are shared over the ranks of f; None where
        there is one rank.
        """
        return None if self.f.ranks.count == 1 or self.sharded else Parts(self)

    def _multiply(self, V: Tensor) -> Tensor:
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
        if self.method != "finite-difference":
            try:
                return reduce(self._dealt(V))
            except NumericalError as error:
                if self.method != "auto" or "second derivative" not in str(error):
                    raise
                self.release()
                self.method, self.why = "finite-difference", str(error)
        return cut(torch.stack([self._difference(v) for v in V.T], dim=1))

    def _dealt(self, V: Tensor) -> Tensor:
        """What the terms of this rank make of V (n, k); the sum over the ranks is H V."""
        with nullcontext() if self.sharded else self.f.ranks.together():
            parts = (part for part, _, _ in self._parts(V))
            total = next(parts, None)
            if total is None:  # a rank may have no term
                return torch.zeros_like(V)
            for part in parts:
                total = total.add_(part)
        return total

    def quadratic_forms(self, V: Tensor) -> tuple[Tensor, Tensor]:
        """v'H_b v for every micro-batch b and column v of V (n, k): (B, k), float64, and the
        batches' shares of the data (B,).

        They sum to v'Hv less what the regulariser adds. Empty (0, k) for a formula. Cost: k
        products.
        """
        self.products += V.shape[1]
        parts = self._parts(V.detach())
        if self.method == "finite-difference":
            parts = self._part_differences(V.detach())
        if self.sharded:
            return self._group_forms(V.detach())
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
            total = float(ranks.total(torch.tensor(share, dtype=torch.float64)))
            form = ranks.total((part * V).sum(0, dtype=torch.float64))
            if total > 0:
                forms.append(form)
                shares.append(total)
        return torch.stack(forms), torch.tensor(shares, dtype=torch.float64, device=V.device)

    def _parts(self, V: Tensor) -> Iterator[tuple[Tensor, int | None, float]]:
        """(H_t V, batch, share) of every term t."""
        with self.f.evaluation(self.x), torch.enable_grad():
            if self._vectorise is None and self.method != "forward-over-reverse":
                self._prepare()
            if self._graphs is not None:
                for gradient, batch, share in self._graphs:
                    yield self._backward(gradient, V, keep=True), batch, share
                return
            for term in self.f.dealt_terms():
                yield self._term_product(term, V), term.batch, term.share

    def _term_product(self, term: Term, V: Tensor) -> Tensor:
        if self.method == "forward-over-reverse":
            gradient = torch.func.grad(term.function)
            x = self.x.detach()
            try:
                return torch.stack(
                    [torch.func.jvp(gradient, (x,), (v,))[1] for v in V.T], dim=1
                ).detach()
            except RuntimeError as error:  # NotImplementedError among them
                line = str(error).splitlines()[0]
                raise NumericalError(
                    f"a kernel has no forward derivative ({line}): use another method of Hessian."
                ) from error
        return self._backward(self._gradient(term.function), V, keep=False)

    def _gradient(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        value = function(self.x)
        if not value.requires_grad:
            return torch.zeros_like(self.x, requires_grad=False)  # a constant
        gradient = torch.autograd.grad(value, self.x, create_graph=True, allow_unused=True)[0]
        if gradient is None:
            return torch.zeros_like(self.x)
        if not self._differentiable:
            require_second_derivative(gradient)
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
            except RuntimeError:  # an operation without a batching rule: a loop does the same
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
        shares = [term.share for term in self.f.dealt_terms()]
        if not shares:
            self._vectorise, self._graphs = False, []
            return
        first = next(iter(self.f.dealt_terms()))
        needed = _graph_bytes(lambda: self._gradient(first.function))
        if self.sharded:  # exchanges follow the graphs: all ranks do the same
            needed = max(self.f.ranks.objects(needed))
            shares = [float(len(shares))]
            first = Term(first.function, None, 1.0)
        self._vectorise = needed <= SMALL and not self.sharded
        fits = needed * (sum(shares) or 1.0) / (first.share or 1.0) <= self.memory
        if self.method == "retained" or (self.method == "auto" and fits):
            terms = self.f.dealt_terms()
            self._graphs = [(self._gradient(t.function), t.batch, t.share) for t in terms]

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
        step = self._step
        for _ in range(LADDER):
            tried.add(step)
            near, far = (self._slope(x, v, scale * step * length) for scale in (1.0, 2.0))
            gap, size = float((near - far).double().norm()), float(near.double().norm())
            if gap < least:
                best, least, self._step = near, gap, step
            if gap <= goal * size:
                break
            step = self._step * 4 if self._step * 4 not in tried else self._step / 4
            if step in tried:
                break
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

    def __matmul__(self, Q: Tensor, /) -> Tensor:
        columns = Q if Q.ndim == 2 else Q[:, None]
        self.H.products += columns.shape[1]
        blocks = [self._block(block) for block in torch.split(columns, BLOCK, dim=1)]
        return torch.cat(blocks, dim=1).view(Q.shape)

    def _block(self, Q: Tensor) -> Tensor:
        return self.H.product(self.spread.whole(Q), self.spread.summed, self.spread.own)


def _slope_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    point = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(function(point), point, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _graph_bytes(build: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that autograd saves while ``build`` runs, each storage counted once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # or the graph would hold itself, and never go

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        build()
    return sum(seen.values())
