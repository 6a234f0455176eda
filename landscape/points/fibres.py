"""Which directions no data tell of, and how far one may go along them: the fibre of a model.

r(theta): (m,) the losses of small batches of other data, each with its gradient at x for its unit;
J: (m, n) their Jacobian. The fibre of x is where r is what it is at x, whatever the data: there the
model computes the same (Grigsby, Lindsey, Meyerhoff & Wu 2022, arXiv:2209.04036, whose functional
dimension is the rank of J). N: (n, k) the null space of J at x, Q: (n, n - k) its complement. A
plane in N belongs to the fibre's tangents where a random step v in it has a z with
r(x + v + Q z) = r(x), which Newton's method finds: no symmetry need be linear, or have a name.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import torch
from torch import Tensor

from landscape.errors import LoadingError, NumericalError
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import loss_noise
from landscape.rng import generator

SPARE = 12  # batches beyond the number of unknowns
SAMPLES = 32  # of a batch: some for a batch's own statistics, and for units that few samples use
ZERO = 1e-10  # a singular value below this share of the largest is rounding
ROUNDS = 10  # of Newton's method
SLOW = 0.1  # a round that leaves more than this share of the gap asks for another Jacobian


def other_data(f: ModelLandscape, reach: float, seed: int) -> Iterator[Batch]:
    """The landscape's batches again and again, their numbers moved so far, in units of the spread,
    and entries that are no numbers (tokens, classes) mixed.
    """
    draws = generator(seed)

    def other(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            order = torch.randperm(t.numel(), generator=draws, device="cpu")
            return t.flatten()[order.to(t.device)].view(t.shape)
        noise = torch.randn(t.shape, generator=draws, dtype=torch.float64, device="cpu")
        return t + reach * (float(t.double().std()) if t.numel() > 1 else 1.0) * noise.to(t)

    while True:
        for batch in f.batches:
            yield batching.move(batching.mapped(batch, other), f.device, f.dtype)


class Fibre:
    """The fibre of f's model at x (n,), of which ``known`` dimensions need no equations, for inputs
    that are ``reach`` away from the landscape's own, in units of their spread.

    Raises:
        LoadingError: the model or its loss refuses other data.
        NumericalError: it is not finite there.

    Cost: a gradient of SAMPLES samples for each of the n - ``known`` and 12 equations, and a
    singular value decomposition of as many rows.
    """

    def __init__(
        self, f: ModelLandscape, x: Tensor, known: int, reach: float, seed: int = 0
    ) -> None:
        self.f, self.x = f, x
        self.batches = list(self._small(f.dim - known + SPARE, reach, seed))
        self.here, J = self._evaluated(x, slopes=True)
        if not bool(torch.isfinite(J).all()):
            raise NumericalError("the loss of other data is not finite.")
        self.units = J.norm(dim=1).clamp_min(1e-300)
        _, sizes, V = torch.linalg.svd(J / self.units[:, None], full_matrices=True)
        rank = int((sizes > ZERO * sizes[0]).sum())
        self.null, self.across = V[rank:].T, V[:rank].T
        self.solver = torch.linalg.qr(J / self.units[:, None] @ self.across)

    def reached(self, plane: Tensor, length: float, seed: int = 0) -> Tensor | None:
        """The point of the fibre a random step of this length in a plane (n, p) away, corrected
        across the null space; None where none is found.

        Cost: some losses of each batch, and where these do not lead there fast their gradients.
        """
        c = torch.randn(
            plane.shape[1], generator=generator(seed + 23), dtype=torch.float64, device="cpu"
        )
        theta: Tensor = self.x + length * (plane @ (c / c.norm()).to(plane))
        solver = self.solver
        before, near = torch.inf, False
        for _ in range(ROUNDS):
            gap, within = self._gap(theta)
            if within and near:
                return theta
            near = within  # one round more: what is left of the gap is rounding then
            size = float(gap.norm())
            if not (within or size < 2 * before):
                return None
            if size > SLOW * before or before == torch.inf:
                solver = self._solver(theta)
            before = size
            Q, R = solver
            step = torch.linalg.solve_triangular(R, -(Q.T @ gap)[:, None], upper=True)
            theta = theta + self.across @ step[:, 0]
        return None

    def _solver(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        _, J = self._evaluated(theta, slopes=True)
        Q, R = torch.linalg.qr(J / self.units[:, None] @ self.across)
        return Q, R

    def _gap(self, theta: Tensor) -> tuple[Tensor, bool]:
        """r(theta) - r(x), and whether rounding alone may make it."""
        values, _ = self._evaluated(theta, slopes=False)
        gap = values - self.here
        allowed = 1e3 * loss_noise(1.0, torch.finfo(gap.dtype).eps) * self.here.abs()
        return gap / self.units, bool((gap.abs() <= allowed).all())

    def _small(self, count: int, reach: float, seed: int) -> Iterator[Batch]:
        """So many batches of a few samples each, or of all where few are refused."""
        data = other_data(self.f, reach, seed)
        fits = self._evaluates(next(_pieces(next(data))))
        small = chain.from_iterable(_pieces(batch) for batch in data) if fits else data
        return islice(small, count)

    def _evaluates(self, batch: Batch) -> bool:
        try:
            self._losses(self.x, [batch], slopes=False)
        except LoadingError:
            return False
        return True

    def _evaluated(self, theta: Tensor, *, slopes: bool) -> tuple[Tensor, Tensor]:
        """The losses (m,) at theta (n,), and where asked for their gradients (m, n)."""
        return self._losses(theta, self.batches, slopes=slopes)

    def _losses(
        self, theta: Tensor, batches: Sequence[Batch], *, slopes: bool
    ) -> tuple[Tensor, Tensor]:
        def compute() -> tuple[Tensor, Tensor]:
            values, rows = [], theta.new_zeros(len(batches) if slopes else 0, len(theta))
            with self.f.evaluation(), torch.set_grad_enabled(slopes):
                for i, batch in enumerate(batches):
                    at = theta.clone().requires_grad_(slopes)
                    found = []
                    for part in self.f.batch_parts(batch):
                        value = part(at)
                        found.append(value.detach())
                        if slopes:
                            rows[i] += torch.autograd.grad(value, at, materialize_grads=True)[0]
                    values.append(torch.stack(found).sum())
            return torch.stack(values), rows

        return eased(self.f, self.x, compute)


def _pieces(batch: Batch) -> Iterator[Batch]:
    """A batch in pieces of some samples; of tensors that have several rows for each (tokens) as
    many rows, whichever: targets need only fit.
    """
    number = min((len(t) for t in batching.tensors(batch) if t.ndim), default=1)
    size = min(SAMPLES, number)
    for start in range(0, number - size + 1, size):

        def cut(t: Tensor, start: int = start) -> Tensor:
            rows, left = divmod(len(t), number) if t.ndim else (1, 1)
            return t if left else t.narrow(0, rows * start, rows * size)

        yield batching.mapped(batch, cut)
