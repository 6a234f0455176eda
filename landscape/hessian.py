"""Hessian and Gauss-Newton matrix of a landscape at a point, known by their products.

x: (n,) the point, H: (n, n), v: (n,), V: (n, k) one vector a column. A product is one H v; a block of k costs k.
Both are sums over the landscape's terms, so a product never holds more than one micro-batch's graph, except where all of
them fit a memory budget and are kept (Pearlmutter 1994, Neural Computation 6:147, by double backward).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from landscape.core import Landscape, OutputTerm, Progress, Term, silent
from landscape.errors import NumericalError
from landscape.model import ModelLandscape

METHODS = ("auto", "retained", "rebuilt", "forward-over-reverse", "finite-difference")
BUDGET = 2**30  # bytes of graph kept across products
NUMBERS = 2**20  # most numbers in a block of vectors multiplied at once
BLOCK = 64  # most vectors in one vectorised backward pass
NO_SECOND_DERIVATIVE = (
    'a kernel has no second derivative ({}): pass method="finite-difference" to Hessian, '
    "or replace the layer by one made of elementary operations."
)
SMALL = (
    2**20
)  # bytes of a term's graph up to which a vectorised block beats a loop: the time is Python's, not arithmetic's


class SymmetricOperator:
    """A symmetric matrix known by its products, with what every such operator offers.

    ``H @ v`` for (n,) and ``H @ V`` for (n, k); ``H + G``, ``H - G``; ``shape``, ``dtype``, ``device``; ``products``, the
    number of matrix-vector products spent so far.
    """

    def __init__(self, dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device, self.products = (dim, dim), dtype, device, 0
        self._matrix: Tensor | None = None

    def __matmul__(self, V: Tensor) -> Tensor:
        """H v (n,) or H V (n, k). Cost: one product a column."""
        if V.ndim not in (1, 2) or V.shape[0] != self.shape[0]:
            raise ValueError(
                f"this operator is {self.shape}, it takes ({self.shape[0]},) or ({self.shape[0]}, k), got {tuple(V.shape)}."
            )
        if V.dtype != self.dtype or V.device.type != self.device.type:
            raise ValueError(
                f"this operator is {self.dtype} on {self.device}, got {V.dtype} on {V.device}: move the vector."
            )
        self.products += 1 if V.ndim == 1 else V.shape[1]
        columns = V.detach().reshape(self.shape[0], -1)
        width = max(8, NUMBERS // self.shape[0])
        blocks = [self._multiply(block) for block in torch.split(columns, width, dim=1)]
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)).reshape(V.shape)

    def _multiply(self, V: Tensor) -> Tensor:
        raise NotImplementedError

    def dense(self, *, symmetric: bool = True, progress: Progress = silent) -> Tensor:
        """The matrix (n, n), made symmetric unless told otherwise: its antisymmetric part is rounding.

        Cost: n products the first time, told to ``progress`` as they come; the matrix is kept.
        """
        if self._matrix is None:
            n = self.shape[0]
            matrix = torch.empty(n, n, dtype=self.dtype, device=self.device)
            for start in range(0, n, BLOCK):
                end = min(start + BLOCK, n)
                unit = torch.zeros(n, end - start, dtype=self.dtype, device=self.device)
                unit[start:end].fill_diagonal_(1.0)
                matrix[:, start:end] = self @ unit
                progress("dense Hessian", end, n)
            self._matrix = matrix
        return 0.5 * (self._matrix + self._matrix.T) if symmetric else self._matrix.clone()

    def block(self, where: Tensor | slice) -> "SymmetricOperator":
        """The diagonal block of the coordinates ``where`` (indices or a slice), as an operator.

        Cost of its products: one of this operator's each.
        """
        return _Block(self, where)

    def without(self, directions: Tensor) -> "Complement":
        """This operator on the orthogonal complement of the orthonormal columns of ``directions`` (n, m): (n - m, n - m)."""
        return Complement(self, directions)

    def to_scipy(self) -> LinearOperator:
        """The same as a ``scipy.sparse.linalg.LinearOperator``; vectors travel through the host."""

        def product(v: np.ndarray) -> np.ndarray:
            moved = torch.from_numpy(np.ascontiguousarray(v)).to(self.device, self.dtype)
            return (
                (self @ (moved if moved.ndim == 1 or moved.shape[1] > 1 else moved[:, 0]))
                .reshape(v.shape)
                .cpu()
                .numpy()
            )

        dtype = torch.empty(0, dtype=self.dtype, device="cpu").numpy().dtype
        return LinearOperator(self.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=dtype)

    def __add__(self, other: "SymmetricOperator") -> "SymmetricOperator":
        return _Sum(self, other, 1.0)

    def __sub__(self, other: "SymmetricOperator") -> "SymmetricOperator":
        return _Sum(self, other, -1.0)


class _Sum(SymmetricOperator):
    def __init__(self, a: SymmetricOperator, b: SymmetricOperator, sign: float) -> None:
        if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
            raise ValueError(
                f"operators must agree: {a.shape} {a.dtype} {a.device} against {b.shape} {b.dtype} {b.device}."
            )
        super().__init__(a.shape[0], a.dtype, a.device)
        self.a, self.b, self.sign = a, b, sign

    def _multiply(self, V: Tensor) -> Tensor:
        return self.a @ V + self.sign * (self.b @ V)


class _Block(SymmetricOperator):
    def __init__(self, whole: SymmetricOperator, where: Tensor | slice) -> None:
        size = len(range(*where.indices(whole.shape[0]))) if isinstance(where, slice) else len(where)
        super().__init__(size, whole.dtype, whole.device)
        self.whole, self.where = whole, where

    def _multiply(self, V: Tensor) -> Tensor:
        padded = V.new_zeros(self.whole.shape[0], V.shape[1])
        padded[self.where] = V
        return (self.whole @ padded)[self.where]


class Complement(SymmetricOperator):
    """Q'AQ with Q (n, n - m) an orthonormal basis of the complement of m directions, kept as m Householder reflections."""

    def __init__(self, whole: SymmetricOperator, directions: Tensor) -> None:
        n, self.left_out = directions.shape
        super().__init__(n - self.left_out, whole.dtype, whole.device)
        self.whole = whole
        self.reflectors, self.scales = torch.geqrf(directions)

    def lift(self, V: Tensor) -> Tensor:
        """Q V: vectors (n - m, k) of the complement as vectors (n, k), in the dtype of V."""
        padded = torch.cat([V.new_zeros(self.left_out, V.shape[1]), V])
        return torch.ormqr(self.reflectors.to(V.dtype), self.scales.to(V.dtype), padded) if self.left_out else V

    def restrict(self, V: Tensor) -> Tensor:
        """Q'V: vectors (n, k) as vectors (n - m, k) of the complement; what lies along the m directions is dropped."""
        return torch.ormqr(self.reflectors, self.scales, V, transpose=True)[self.left_out :] if self.left_out else V

    def _multiply(self, V: Tensor) -> Tensor:
        return self.restrict(self.whole @ self.lift(V))


class Hessian(SymmetricOperator):
    """The exact Hessian of a landscape at a point.

    Args:
        f: a landscape.
        at: the point (n,); None: the model's current one.
        method: "auto" keeps the first-order graphs of all micro-batches across products where they fit ``memory`` and rebuilds
            them one at a time otherwise; "retained" and "rebuilt" force one of these; "forward-over-reverse" pushes a tangent through the
            backward pass; "finite-difference" takes central differences of the gradient, for kernels without a second derivative:
            its relative error is about eps^(2/3), 2e-5 in float32.
        memory: bytes of graph that may be kept.

    Raises:
        ValueError: an unknown method, a point of another shape, no point for a formula.
        NumericalError: from a product, when a kernel has no second derivative.

    Cost of a product, in gradients: about 2 retained, 3 rebuilt, 4 forward over reverse, 2 finite differences.
    Nothing is computed before the first product.
    """

    def __init__(self, f: Landscape, at: Tensor | None = None, *, method: str = "auto", memory: int = BUDGET) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        self.f, self.x = f, _point(f, at)
        super().__init__(f.dim, self.x.dtype, self.x.device)
        self.method, self.memory = method, memory
        self._graphs: list[tuple[Tensor, int | None, float]] | None = None  # (gradient of a term, its batch, its share)
        self._vectorise: bool | None = (
            None  # whether a block of vectors goes through one backward pass; None: not decided yet
        )
        self._differentiable = False  # whether a term's backward pass was seen to be differentiable

    @property
    def retained(self) -> bool:
        """Whether the graphs are kept across products; decided at the first product."""
        return self._graphs is not None

    def release(self) -> None:
        """Let go of the graphs kept; the next product decides anew."""
        self._graphs = self._vectorise = None

    def _multiply(self, V: Tensor) -> Tensor:
        if self.method == "finite-difference":
            return torch.stack([self._difference(v) for v in V.T], dim=1)
        parts = (part for part, _, _ in self._parts(V))
        total = next(parts)
        for part in parts:
            total = total.add_(part)
        return total

    def quadratic_forms(self, V: Tensor) -> tuple[Tensor, Tensor]:
        """v'H_b v for every micro-batch b and column v of V (n, k): (B, k), float64, and the batches' shares of the data (B,).

        They sum to v'Hv less what the regulariser adds. Empty (0, k) for a formula. Cost: k products.
        """
        self.products += V.shape[1]
        forms: dict[int, Tensor] = {}
        shares: dict[int, float] = {}
        for part, batch, share in self._parts(V.detach()):
            if batch is not None:
                forms[batch] = forms.get(batch, 0.0) + (part * V).sum(0, dtype=torch.float64)
                shares[batch] = shares.get(batch, 0.0) + share
        if not forms:
            return V.new_zeros(0, V.shape[1], dtype=torch.float64), V.new_zeros(0, dtype=torch.float64)
        return torch.stack(list(forms.values())), torch.tensor(
            list(shares.values()), dtype=torch.float64, device=V.device
        )

    def _parts(self, V: Tensor) -> Iterator[tuple[Tensor, int | None, float]]:
        """(H_t V, batch, share) of every term t."""
        with self.f.evaluation(), torch.enable_grad():
            if self._vectorise is None and self.method != "forward-over-reverse":
                self._prepare()
            if self._graphs is not None:
                for gradient, batch, share in self._graphs:
                    yield self._backward(gradient, V, keep=True), batch, share
                return
            for term in self.f.terms():
                yield self._term_product(term, V), term.batch, term.share

    def _term_product(self, term: Term, V: Tensor) -> Tensor:
        if self.method == "forward-over-reverse":
            gradient = torch.func.grad(term.function)
            x = self.x.detach()
            try:
                return torch.stack([torch.func.jvp(gradient, (x,), (v,))[1] for v in V.T], dim=1).detach()
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
        """d(gradient'V)/dx (n, k) by one more backward pass through the graph of ``gradient``, vectorised where that works."""
        if not gradient.requires_grad:
            return torch.zeros_like(V)  # linear in x
        if self._vectorise and V.shape[1] > 1:
            try:
                return self._vectorised(gradient, V)
            except RuntimeError:  # an operation without a batching rule: a loop does the same
                self._vectorise = False
        last = V.shape[1] - 1
        columns = [_vjp(gradient, self.x, v, keep=keep or i < last) for i, v in enumerate(V.T)]
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
        first = next(iter(self.f.terms()))
        needed = _graph_bytes(lambda: self._gradient(first.function))
        self._vectorise = needed <= SMALL
        fits = needed / (first.share or 1.0) <= self.memory
        if self.method == "retained" or (self.method == "auto" and fits):
            self._graphs = [(self._gradient(t.function), t.batch, t.share) for t in self.f.terms()]

    def _difference(self, v: Tensor) -> Tensor:
        x = self.x.detach()
        domain = getattr(self.f, "domain", None)
        normals = x.new_zeros(len(x), 0) if domain is None else domain.normals(x)
        v = v - normals @ (normals.T @ v)
        norm = float(v.double().norm())
        if norm == 0:
            return torch.zeros_like(v)
        h: float = torch.finfo(self.dtype).eps ** (1 / 3) * max(float(x.double().norm()), 1.0) / norm
        difference: Tensor = self.f.gradient(x + h * v) - self.f.gradient(x - h * v)
        return (difference - normals @ (normals.T @ difference)) / (2 * h)


class GaussNewton(SymmetricOperator):
    """The generalised Gauss-Newton matrix G = sum over batches of J' (d2 loss / d output2) J, plus the regulariser's Hessian.

    H - G is what the model's own second derivatives contribute (Schraudolph 2002, Neural Computation 14:1723). The loss may
    be any twice differentiable loss(output, target); for convex losses G is positive semidefinite.

    Args:
        f: a ModelLandscape with loss(output, target) and one output tensor.
        at: the point (n,); None: the model's current one.

    Raises:
        TypeError: f is not a ModelLandscape.
        ValueError: the loss hides the model's output, or the output is not a tensor.

    Cost of a product: about 4 gradients; graphs are rebuilt for every block of vectors.
    """

    def __init__(self, f: ModelLandscape, at: Tensor | None = None) -> None:
        if not isinstance(f, ModelLandscape):
            raise TypeError(
                f"the Gauss-Newton matrix needs a ModelLandscape, whose loss has an output to stop at, got {type(f).__name__}."
            )
        self.f, self.x = f, _point(f, at)
        super().__init__(f.dim, self.x.dtype, self.x.device)
        with f.evaluation(), torch.no_grad():
            next(iter(f.output_terms())).output(self.x)  # raises what it raises before any product is asked for

    def _multiply(self, V: Tensor) -> Tensor:
        total = torch.zeros_like(V)
        with self.f.evaluation(), torch.enable_grad():
            for term in self.f.output_terms():
                total += self._term_product(term, V)
            for regulariser in (t for t in self.f.terms() if t.batch is None):
                total += self._regulariser_product(regulariser, V)
        return total

    def _term_product(self, term: OutputTerm, V: Tensor) -> Tensor:
        output = term.output(self.x)
        dummy = torch.zeros_like(output, requires_grad=True)
        (pulled,) = torch.autograd.grad(output, self.x, dummy, create_graph=True)  # J'u, linear in u: its vjp is J v
        at = output.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(term.criterion(at), at, create_graph=True)
        columns = []
        for v in V.T:
            (pushed,) = torch.autograd.grad(pulled, dummy, v, retain_graph=True)
            curved = _vjp(slope, at, pushed, keep=True) if slope.requires_grad else torch.zeros_like(pushed)
            columns.append(_vjp(output, self.x, curved, keep=True))
        return torch.stack(columns, dim=1)

    def _regulariser_product(self, term: Term, V: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(term.function(self.x), self.x, create_graph=True)
        if not gradient.requires_grad:
            return torch.zeros_like(V)
        return torch.stack([_vjp(gradient, self.x, v, keep=True) for v in V.T], dim=1)


def _point(f: Any, at: Tensor | None) -> Tensor:
    """The point as a new leaf that requires grad."""
    if at is None:
        if not isinstance(f, ModelLandscape):
            raise ValueError("a formula has no current point: pass at=x.")
        at = f.point()
    if at.shape != (f.dim,):
        raise ValueError(f"at must have shape ({f.dim},), got {tuple(at.shape)}.")
    if not at.is_floating_point():
        raise ValueError(f"at must be floating-point, got {at.dtype}.")
    if isinstance(f, ModelLandscape) and (at.dtype != f.dtype or at.device.type != f.device.type):
        raise ValueError(
            f"at is {at.dtype} on {at.device}, the landscape {f.dtype} on {f.device}: pass dtype= and device= to ModelLandscape."
        )
    return at.detach().clone().requires_grad_(True)


def _vjp(output: Tensor, x: Tensor, v: Tensor, *, keep: bool) -> Tensor:
    try:
        (product,) = torch.autograd.grad(output, x, v, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if (
            "not implemented" in str(error)
            or "not differentiable" in str(error)
            or "does not require grad" in str(error)
        ):
            line = str(error).splitlines()[0]
            raise NumericalError(NO_SECOND_DERIVATIVE.format(line)) from error
        raise
    return torch.zeros_like(x) if product is None else product


def require_second_derivative(gradient: Tensor) -> None:
    """Look for the node that ``once_differentiable`` leaves: autograd skips it silently and the product would be wrong."""
    seen, todo = set(), [gradient.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("::Error"):
            raise NumericalError(NO_SECOND_DERIVATIVE.format("a custom autograd.Function marked once_differentiable"))
        todo += [parent for parent, _ in node.next_functions]


def _graph_bytes(build: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that autograd saves while ``build`` runs, each storage counted once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        build()
    return sum(seen.values())
