"""Networks trained on the spot on scikit-learn's 1,797 handwritten digits (8 x 8 grey values,
divided by 16).

``mlp`` is trained until its gradient is rounding noise, in float64: Adam, full-batch LBFGS, then
Newton steps on the dense Hessian. It ends at a minimum whose whole spectrum can be computed.
``cnn`` is trained as people train: ten epochs of Adam on minibatches in float32, which end near no
stationary point. ``tiny`` is ``mlp`` on the first 100 digits, averaged to 4 x 4, small enough for
hundreds of searches for its stationary points. All are the same for the same seed and number of
threads to rounding, and none reads or moves the global random state.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev

from landscape.landscapes import batches as batching
from landscape.landscapes import losses
from landscape.landscapes.model import ModelLandscape
from landscape.rng import seeded
from landscape.specs import number, whole
from landscape.zoo import packaged

NEWTON_LIMIT = 3_000  # parameters up to which the dense Hessian is cheap


def mlp(hidden: int = 16, decay: float = 1e-3, steps: int = 1_000, seed: int = 0) -> ModelLandscape:
    """A tanh network 64 - hidden - 10 at a minimum of its regularised loss, float64.

    The output layer has no bias: softmax does not see a shift common to all outputs, and an
    undecayed bias would make that an exactly flat direction. Parameters: 75 hidden, 1,200 by
    default.

    Args:
        hidden: width of the hidden layer.
        decay: of the weights, not of the biases: adds decay/2 |w|^2.
        steps: most evaluations by LBFGS, after 200 steps of Adam; 0 leaves the network untrained.
        seed: of the initial weights and the order of the data.

    Raises:
        ValueError: an option out of range.
        LoadingError: scikit-learn is not installed.

    Cost: about 6 seconds on two cores.
    """
    whole(1, hidden=hidden)
    whole(0, steps=steps, seed=seed)
    number(0, decay=decay)
    x, y = packaged.digits()
    with seeded(seed):
        model = nn.Sequential(
            nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10, bias=False)
        ).double()
    if steps > 0:
        with torch.enable_grad():
            _train_to_minimum(model, x.double(), y, decay, steps)
    batches = batching.cut(x.double(), y, None, seed)
    loss = losses.get("cross-entropy")
    return ModelLandscape(
        model.eval(), loss, batches, l2={"*.weight": decay}, name="digits-mlp", seed=seed
    )


def tiny(hidden: int = 4, decay: float = 1e-2, steps: int = 1_000, seed: int = 0) -> ModelLandscape:
    """A tanh network 64 - hidden - 10 on the first 100 digits, at a minimum of its regularised
    loss, float64.

    Parameters: 75 hidden + 10, 310 by default. Every parameter decays, biases too: without that the
    loss would not see a shift of all output biases, and no stationary point would be isolated.

    Args:
        hidden, steps, seed: as for ``mlp``.
        decay: of all parameters: the loss has decay/2 |w|^2 besides the cross-entropy.

    Raises:
        ValueError: an option out of range.
        LoadingError: scikit-learn is not installed.

    Cost: about a second.
    """
    whole(1, hidden=hidden)
    whole(0, steps=steps, seed=seed)
    number(0, decay=decay)
    x, y = packaged.digits()
    x, y = x[:100].double(), y[:100]
    with seeded(seed):
        model = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10)).double()
    if steps > 0:
        with torch.enable_grad():
            _train_to_minimum(model, x, y, decay, steps, decays="")
    loss = losses.get("cross-entropy")
    return ModelLandscape(
        model.eval(),
        loss,
        batching.cut(x, y, 25, seed),
        l2={"*": decay},
        name="digits-tiny",
        seed=seed,
    )


def cnn(channels: int = 12, decay: float = 1e-4, epochs: int = 10, seed: int = 0) -> ModelLandscape:
    """Two convolutions with BatchNorm and ReLU, average pooling and a linear layer; float32,
    BatchNorm in eval mode.

    Parameters: 18 channels^2 + 95 channels + 10, 3,742 by default.

    Args:
        channels: of the first convolution; the second has twice as many.
        decay: of all weights, BatchNorm's too, as torch's Adam would: adds decay/2 |w|^2.
        epochs: passes over the data by Adam with minibatches of 64; 0 leaves the network untrained.
        seed: of the initial weights and of every order of the data.

    Raises:
        ValueError: an option out of range.
        LoadingError: scikit-learn is not installed.

    Cost: about 2 seconds on two cores.
    """
    whole(1, channels=channels)
    whole(0, epochs=epochs, seed=seed)
    number(0, decay=decay)
    x, y = packaged.digits()
    x = x.view(-1, 1, 8, 8)
    with seeded(seed), torch.enable_grad():
        model = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(8 * channels, 10),
        )
        _train_as_usual(model, x, y, decay, epochs)
    batches = batching.cut(x, y, None, seed)
    loss = losses.get("cross-entropy")
    return ModelLandscape(
        model.eval(), loss, batches, l2={"*.weight": decay}, name="digits-cnn", seed=seed
    )


def _train_as_usual(model: nn.Module, x: Tensor, y: Tensor, decay: float, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1))
    for _ in range(epochs):
        for i in torch.split(torch.randperm(len(x), device="cpu"), 64):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x[i]), y[i]))
            optimizer.step()
        schedule.step()
    model.zero_grad(set_to_none=True)


def _train_to_minimum(
    model: nn.Module, x: Tensor, y: Tensor, decay: float, steps: int, decays: str = "weight"
) -> None:
    """Train in place; the parameters whose names end with ``decays`` decay."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    sizes = [p.numel() for p in model.parameters()]

    def objective(w: Tensor) -> Tensor:
        parts = dict(
            zip(
                names,
                (v.view(s) for v, s in zip(torch.split(w, sizes), shapes, strict=True)),
                strict=True,
            )
        )
        decayed = sum(
            (v.square().sum() for name, v in parts.items() if name.endswith(decays)),
            w.new_zeros(()),
        )
        return F.cross_entropy(functional_call(model, parts, (x,)), y) + 0.5 * decay * decayed

    w = nn.utils.parameters_to_vector(model.parameters()).detach()
    w = _first_order(objective, w, steps)
    if len(w) <= NEWTON_LIMIT:
        w = _newton(objective, w)
    nn.utils.vector_to_parameters(w, model.parameters())


def _first_order(objective: Callable[[Tensor], Tensor], w: Tensor, steps: int) -> Tensor:
    """Adam for a rough place, then LBFGS with a strong Wolfe line search."""
    w = w.clone().requires_grad_(True)
    adam = torch.optim.Adam([w], lr=2e-2)
    lbfgs: torch.optim.Optimizer = torch.optim.LBFGS(
        [w],
        max_iter=steps,
        max_eval=steps,
        tolerance_grad=1e-10,
        tolerance_change=0.0,
        history_size=100,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        value = objective(w)
        (w.grad,) = torch.autograd.grad(value, w)
        return float(value.detach())

    for _ in range(200):
        closure()
        adam.step()
    lbfgs.step(closure)
    return w.detach()


def _newton(objective: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """Newton steps while the Hessian is positive definite and the gradient shrinks: from near a
    minimum to rounding.
    """
    slope = grad(objective)
    g = slope(w)
    for _ in range(5):
        factor, failed = torch.linalg.cholesky_ex(jacrev(slope, chunk_size=64)(w))
        if failed:
            break
        step = w - torch.cholesky_solve(g[:, None], factor)[:, 0]
        lower = slope(step)
        if not lower.norm() < g.norm():
            break
        w, g = step, lower
        if g.norm() < 1e-13:
            break
    return w
