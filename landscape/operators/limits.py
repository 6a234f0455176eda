"""The limits that searches and verdicts share: sizes up to which a Hessian is formed, and what
rounding alone can make.

x: (n,) a point, f: its value, g: (n,) the gradient, H: (n, n) the Hessian.
"""

from torch import Tensor

# Up to this n a verdict computes the whole spectrum: n products once, and a sure answer.
DENSE_VERDICT = 3_000
# Up to this n a search forms the Hessian at every step.
DENSE_STEP = 300
# Up to this n the stiff end of a gradient flow forms the Hessian at every step, since nothing else
# follows it.
DENSE_FLOW = 500
# Up to this n a few eigenpairs are taken from the matrix, for Lanczos would take as many products.
DENSE_EIGENPAIRS = 64

# The rounding of f, in units of eps |f|.
LOSS_ULPS = 10.0
# The rounding of g, in units of eps |H| |x|: eps |f| would be too small where f is nearly 0.
GRADIENT_ULPS = 8.0
# Up to so many eps |H| an eigenvalue may be rounding to a step of a search.
EIGENVALUE_ULPS = 20.0


def loss_noise(value: float, eps: float) -> float:
    """How far rounding alone may move f = ``value``; eps is f's rounding unit."""
    return LOSS_ULPS * eps * abs(value)


def gradient_noise(x: Tensor, scale: float, eps: float) -> float:
    """The gradient norm that rounding alone can make at x (n,) where |H| is ``scale``."""
    return GRADIENT_ULPS * eps * scale * float(x.double().norm())
