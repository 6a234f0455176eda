"""Two small networks of which some stationary points are known for certain; how many there are in
all is not.

XOR network. Two inputs in {0, 1}, h hidden units, one output; x = hidden weights row by row, hidden
biases, output weights v, output bias b; n = 4 h + 1. e: the errors of the four patterns. Where all
outputs lie halfway between the targets, e is orthogonal to 1, x_1 and x_2, and with v = 0 the
Hessian is the sum over patterns of the output's gradient times itself, plus for each unit the
product of its v with (sum of e_m a'_m (1, x_1, x_2)_m) and its weights. Hence three points, each of
a family:

    all weights zero                    no coupling: one positive eigenvalue, index 0, nullity n -
                                        1; no minimum, as f falls to fourth order
    v = b = 0, one unit of weights 1    one coupled unit: a negative and a positive eigenvalue, and
                                        a positive one of the bias:
    and bias -1, the others zero        index 1, nullity n - 3
    error zero                          the Jacobian has rank 4: index 0, nullity n - 4

With two hidden units every finite stationary point of positive error is a saddle:
Sprinkhuizen-Kuyper & Boers 1998, Neural Networks 11:683. With three it is not so: the same 1999,
IEEE Trans. Neural Networks 10:968.

Student and teacher. F(W) = 1/2 E (sum_i relu(w_i.x) - sum_j relu(v_j.x))^2 over x ~ N(0, I), v_j
the k unit vectors of R^k, k students. E relu(w.x) relu(v.x) = |w| |v| (sin t + (pi - t) cos t) / (2
pi), t the angle (Cho & Saul 2009, NeurIPS 22). Near t = 0 this is w.v / 2 + |w| |v| t^3 / (6 pi),
near t = pi the last term with pi - t: twice differentiable, not three times, except where a student
is zero, where it is not even once; gradients there are NaN.

    the teacher, students in any order     the minima of value 0. The Hessian is E (sum_i [v_i.x >
                                           0] d_i.x)^2, positive definite: across v_i.x = 0 only
                                           d_i.x jumps, so d_i = c_i v_i, and sum c_i relu(v_i.x) =
                                           0 gives c = 0.
    every student on the ray of sum v_j,   by symmetry stationary where the sum of their lengths is
                                           right; (k - 1)^2 directions that fan
    their lengths of the right sum         them out lower F, k - 1 exchange their lengths, k are
                                           positive since pi - t > cot t for cos t = k^(-1/2)

F has local minima beside the teacher from k = 6 on (Safran & Shamir 2018, ICML); they are known as
numbers only and not given.
"""

import math

import torch
from torch import Tensor

from landscape import rng
from landscape.core import Symmetry
from landscape.landscapes.kinds import kind
from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, KnownPoint

# tangent of the angle to the other vector's line below which the arc-cosine kernel is summed as a
# series
SERIES = 0.1
TERMS = 9  # of it: 0.1^18 is below rounding


def xor_net(hidden: int = 2, activation: str = "sigmoid") -> KnownLandscape:
    """1/2 the summed squared error of a 2-h-1 network on XOR, the same activation in the hidden
    units and the output.

    Args:
        hidden: h, at least 2.
        activation: "sigmoid", with targets 0.1 and 0.9, or "tanh", with targets -0.8 and 0.8.

    Raises:
        ValueError: an unknown activation, or fewer than two units.
    """
    if activation not in ("sigmoid", "tanh"):
        raise ValueError(f"activation must be sigmoid or tanh, got {activation!r}.")
    if hidden < 2:
        raise ValueError(f"hidden must be at least 2, fewer units cannot learn XOR, got {hidden}.")
    act = torch.sigmoid if activation == "sigmoid" else torch.tanh
    low, high = (0.1, 0.9) if activation == "sigmoid" else (-0.8, 0.8)
    patterns = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64, device="cpu")
    targets = torch.tensor([low, high, high, low], dtype=torch.float64, device="cpu")
    dim = 4 * hidden + 1

    def function(x: Tensor) -> Tensor:
        W, biases, v, b = torch.split(x, [2 * hidden, hidden, hidden, 1], dim=-1)
        units = act(patterns.to(x) @ W.reshape(*x.shape[:-1], hidden, 2).mT + biases[..., None, :])
        output = act((units * v[..., None, :]).sum(-1) + b)
        error: Tensor = 0.5 * (output - targets.to(x)).square().sum(-1)
        return error

    def points() -> list[KnownPoint]:
        flat = torch.zeros(dim, dtype=torch.float64, device="cpu")
        tilted, solved = flat.clone(), flat.clone()
        tilted[:2], tilted[2 * hidden] = 1.0, -1.0
        solved[:4], solved[2 * hidden], solved[2 * hidden + 1] = 2.0, -1.0, -3.0
        unit = [float(act(flat[0] + number)) for number in (-3, -1, 1)]
        # what the output unit must be given
        step = {"sigmoid": math.log(9.0), "tanh": math.atanh(0.8)}[activation]
        v = 2 * step / (unit[2] - 2 * unit[1] + unit[0])
        solved[3 * hidden], solved[3 * hidden + 1], solved[-1] = (
            v,
            -v,
            -step - v * (unit[1] - unit[0]),
        )
        halfway = 0.5 * (high - low) ** 2
        return [
            KnownPoint(flat, halfway, 0, dim - 1, kind(0, dim - 1, 1)),
            KnownPoint(tilted, halfway, 1, dim - 3, kind(1, dim - 3, 2)),
            KnownPoint(solved, 0.0, 0, dim - 4, kind(0, dim - 4, 4)),
        ]

    return KnownLandscape(
        function,
        dim,
        name="xor-net",
        formula=(
            f"1/2 sum over XOR of (act(b + sum_k v_k act(c_k + w_k.x)) - y)^2, act = "
            f"{activation}, y in {{{low}, {high}}}"
        ),
        source=(
            "I. Sprinkhuizen-Kuyper, E. Boers, Neural Networks 11 (1998) 683; the points given "
            "are derived in landscape/zoo/nets.py"
        ),
        points=points,
        complete=False,
    )


def student_teacher(width: int = 6) -> KnownLandscape:
    """The population loss of a ReLU student of an orthonormal ReLU teacher; x = the students'
    weights one after the other.

    Args:
        width: k, the students, the teacher's units and the inputs, at least 2. The students' order
            is a declared symmetry.

    Raises:
        ValueError: the width is below 2.
    """
    whole(2, width=width)
    k = width
    teacher = torch.eye(k, dtype=torch.float64, device="cpu")
    constant = k / 4 + k * (k - 1) / (4 * math.pi)  # half the teacher's mean square
    first, second = (torch.tensor(x, device="cpu") for x in zip(*_pairs(k), strict=True))
    generic = torch.randn(
        k,
        2 * k + 1,
        generator=rng.generator(0),
        dtype=torch.float64,
        device="cpu",
    )

    def function(x: Tensor) -> Tensor:
        W = x.reshape(*x.shape[:-1], k, k)
        own = W.square().sum((-2, -1)) / 4
        among = relu_kernel(W[..., first.to(x.device), :], W[..., second.to(x.device), :]).sum(-1)
        across = relu_kernel(W[..., :, None, :], teacher.to(x)).sum((-2, -1))
        return own + among - across + constant

    def points() -> list[KnownPoint]:
        angle = math.acos(k**-0.5)
        c = math.sqrt(k) / (2 * math.pi) * (math.sin(angle) + (math.pi - angle) * math.cos(angle))
        ray = torch.full((k * k,), 2 * c / k, dtype=torch.float64, device="cpu")
        index, nullity = (k - 1) ** 2, k - 1
        return [
            KnownPoint(teacher.flatten(), 0.0, 0, 0, "minimum"),
            KnownPoint(ray, constant - k * c * c, index, nullity, "saddle"),
        ]

    def invariants(x: Tensor) -> Tensor:
        """Each projection's values over the students in ascending order."""
        ordered: Tensor = (
            (x.reshape(*x.shape[:-1], k, k) @ generic.to(x)).sort(dim=-2).values.flatten(-2)
        )
        return ordered

    return KnownLandscape(
        function,
        k * k,
        name="student-teacher",
        formula=f"1/2 E (sum_i relu(w_i.x) - sum_j relu(x_j))^2 over normal x, i, j = 1 ... {k}",
        source=(
            "I. Safran, O. Shamir, ICML 2018; the points given are derived in landscape/zoo/nets.py"
        ),
        points=points,
        symmetry=Symmetry(invariants),
        complete=False,
    )


def relu_kernel(w: Tensor, v: Tensor) -> Tensor:
    """E relu(w.x) relu(v.x) over x ~ N(0, I) for vectors (..., d), broadcast: (...), with exact
    first and second derivatives.

    With p and rho the parts of w along v and across it, it is |v| (rho + (pi - t) p) / (2 pi), t =
    atan2(rho, p). On the line of v, where rho has no derivative and the rest cancels, rho - t p is
    summed as a series in (rho / p)^2.
    """
    size = v.square().sum(-1, keepdim=True)
    unit = v / torch.where(size > 0, size, 1.0).sqrt()
    p = (w * unit).sum(-1)
    square = (w - p[..., None] * unit).square().sum(-1)
    near = SERIES**2 * p.square() > square
    rho = torch.where(near, 1.0, square).sqrt()
    across = torch.where(near, 0.0, p)
    far = rho + (math.pi - torch.atan2(rho, across)) * across
    along = torch.where(near, p, 1.0)
    t = square / along.square()
    # at t = 0 the function, its gradient and its Hessian vanish, where t^(3/2) would give 0 times
    # infinity
    curved = near & (t > 0)
    t = torch.where(curved, t, 1.0)
    series = torch.zeros_like(t)
    for term in reversed(range(TERMS)):
        series = (-1) ** term / (2 * term + 3) + t * series
    bend = torch.where(curved, along.abs() * t * t.sqrt() * series, 0.0)
    close = math.pi * torch.relu(along) + bend
    kernel: Tensor = (v * unit).sum(-1) * torch.where(near, close, far) / (2 * math.pi)
    return kernel


def _pairs(k: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(k) for j in range(i)]
