"""R A R + diag(d): a symmetric matrix as an optimiser sees it whose steps are R^2 times a gradient.

A: (n, n), r: (n,) the diagonal of R, d: (n,).
"""

from torch import Tensor

from landscape.operators.base import SymmetricOperator


class Preconditioned(SymmetricOperator):
    """R A R + diag(d), known by its products; one of A's each."""

    def __init__(self, whole: SymmetricOperator, r: Tensor, d: Tensor) -> None:
        super().__init__(whole.shape[0], whole.dtype, whole.device)
        self.whole = whole
        self.r, self.d = (t.to(whole.device, whole.dtype)[:, None] for t in (r, d))

    @property
    def eps(self) -> float:
        return self.whole.eps

    @property
    def error(self) -> float:
        return self.whole.error * float(self.r.abs().max()) ** 2

    def _multiply(self, V: Tensor) -> Tensor:
        return self.r * (self.whole @ (self.r * V)) + self.d * V
