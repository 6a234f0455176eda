"""Networks on scikit-learn's digits: their Hessians, planes, training runs, and the valleys between
them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape import zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact, mean
from landscape.inventory.networks import critical_points
from landscape.inventory.training_paths import training_paths
from landscape.landscapes.model import ModelLandscape
from landscape.linalg.lanczos import eigsh
from landscape.linalg.quadrature import spectral_density
from landscape.operators.hessian import Hessian
from landscape.paths.connect import connect
from landscape.points.blocks import blocks
from landscape.rng import seeded
from landscape.surfaces.connection import connection_plane
from landscape.surfaces.grids import surface
from landscape.zoo import packaged

CLASSES = 10
BLOCKS = 9  # a stage: 56 layers
EPOCHS = 40


def index_loss(progress: Progress) -> Computed:
    """Index and loss of stationary points. The paper prints no number: the correlation found stands
    alone.
    """
    f = zoo.model("digits-tiny", hidden=2)
    paths = training_paths(f, runs=32, points=24, steps=400, seed=0)
    return {"census": critical_points(f, paths, iterations=40, seed=0, progress=progress)}, []


def outliers(progress: Progress) -> Computed:
    """How many eigenvalues stand apart from the bulk."""
    seeds, count = 5, 21
    x, y = _digits(None)
    tops = []
    for seed in range(seeds):
        progress("networks", seed, seeds)
        with seeded(seed):
            model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)).double()
            for _ in _train(model, x, y, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), 5):
                pass
        f = ModelLandscape(model, F.cross_entropy, [(x, y)], name="digits, 64-32-10")
        tops.append(
            eigsh(Hessian(f), largest=count, smallest=1, tol=1e-3, seed=seed)
            .values.cpu()
            .flip(0)[:count]
        )
        if seed == 0:
            density = spectral_density(Hessian(f), probes=4, steps=70, seed=0)
    T = torch.stack(tops)
    gaps = (T[:, :-1] / T[:, 1:])[:, :-1]
    found = mean((gaps.argmax(1) + 1).double().tolist())
    return {"eigenvalues": T, "gaps": gaps, "density": density}, [
        Match(
            "outliers, five networks",
            float(CLASSES - 1),
            "the rank of the softmax's Hessian, classes - 1",
            found,
            1.0,
            "Sagun et al. 2017 and Gur-Ari et al. 2018 count about one a class",
        ),
    ]


class Block(nn.Module):
    """Two convolutions with BatchNorm, and past both of them a skip or none: He et al. 2016, CVPR,
    with the parameter-free skips of its section 4.2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.more, self.stride, self.skip = outputs - inputs, stride, skip

    def forward(self, x: Tensor) -> Tensor:
        new: Tensor = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        if not self.skip:
            return F.relu(new)
        past = x[:, :, :: self.stride, :: self.stride]
        return F.relu(new + F.pad(past, (0, 0, 0, 0, 0, self.more)))


def residual(blocks: int, width: int, skip: bool) -> nn.Sequential:
    """The network of 6 blocks + 2 layers for images of 8 x 8 pixels, three stages of ``blocks``."""
    parts: list[nn.Module] = [
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for stage in range(3):
        inputs = width << max(stage - 1, 0)
        parts.append(Block(inputs, width << stage, 2 if stage else 1, skip))
        parts += [Block(width << stage, width << stage, 1, skip) for _ in range(blocks - 1)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def skip_connections(progress: Progress) -> Computed:
    """Planes about the ends of two trainings that differ by skips only. The paper prints no
    number.
    """
    x, y = packaged.digits()
    found = {}
    for name, skip in (("with skips", True), ("without", False)):
        with seeded(0):
            model = residual(BLOCKS, 8, skip)
            for conv in model.modules():
                if isinstance(conv, nn.Conv2d):
                    nn.init.kaiming_normal_(conv.weight)
            for epoch in _train(model, x, y, _decayed, EPOCHS, batch=128, peak=0.1):
                progress(f"training {name}", epoch, EPOCHS)
        f = ModelLandscape(model, F.cross_entropy, [(x[:200], y[:200])], name=f"ResNet-56 {name}")
        found[name] = surface(f, f.point(), span=1.0, resolution=31, seed=1, progress=progress)
    return {"surfaces": found}, []


def _decayed(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)


def block_structure(progress: Progress) -> Computed:
    """The Hessian's blocks at the start and at the end of training; and of softmax regression at
    zero, where blocks of two classes are (-1/C^2) S and those of one (1/C - 1/C^2) S.
    """
    x, y = _digits(None)
    with seeded(0):
        model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, CLASSES)).double()
        f = ModelLandscape(model, F.cross_entropy, [(x, y)], name="digits, 64-16-10")
        seen = {"at the start": blocks(f, progress=progress)}
        for _ in _train(model, x, y, lambda p: torch.optim.Adam(p, lr=5e-3), 60):
            pass
    seen["at the end"] = blocks(f, progress=progress)
    linear = nn.Linear(64, CLASSES, bias=False).double()
    nn.init.zeros_(linear.weight)
    H = Hessian(ModelLandscape(linear, F.cross_entropy, [(x, y)])).dense()
    norms = H.cpu().view(CLASSES, 64, CLASSES, 64).norm(dim=(1, 3))
    own, other = norms.diagonal().mean(), norms.fill_diagonal_(0).sum() / CLASSES / (CLASSES - 1)
    return {"blocks": seen}, [
        Match(
            "block of two classes over that of one, softmax regression at zero",
            1 / (CLASSES - 1),
            "p = 1/C in diag(p) - pp^T, C = 10: 1 / (C - 1)",
            exact(float(other / own)),
        )
    ]


def training_plane(progress: Progress) -> Computed:
    """Two runs on the plane of their principal axes, and how much of each two axes of its own
    hold.
    """
    x, y = _digits(600)
    paths: dict[str, Tensor] = {}
    for name, make in (
        ("SGD", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4)),
        ("Adam", lambda p: torch.optim.Adam(p, lr=3e-3, weight_decay=5e-4)),
    ):
        progress(name, len(paths), 2)
        with seeded(2):
            model = nn.Sequential(
                nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, CLASSES)
            ).double()
            f = ModelLandscape(
                model, F.cross_entropy, [(x, y)], l2={"*": 5e-4}, name="digits, 64-24-24-10"
            )
            points = [f.point(), *(f.point() for _ in _train(model, x, y, make, 40, batch=16))]
        paths[name] = torch.stack(points)
    end = paths["SGD"][-1]
    plane = surface(f, end, "pca", span=1.0, resolution=2, trajectory=paths)
    reach = 1.15 * max(float(walk.where.abs().max()) for walk in plane.walks.values())
    plane = surface(f, end, "pca", span=reach, resolution=41, trajectory=paths, progress=progress)
    shares = {}
    for name, path in paths.items():
        sizes = torch.linalg.svdvals(path[:-1] - path[-1]).square()
        shares[name] = float(sizes[:2].sum() / sizes.sum())
    return {"plane": plane, "shares": shares}, [
        Match(
            "share of SGD's path on its own two axes: 0.4 to 0.9, here its middle",
            0.65,
            "Li et al. 2018, section 7.2",
            exact(shares["SGD"]),
            0.25,
            "the middle of a range; another network and data",
        ),
    ]


def mode_connection(progress: Progress) -> Computed:
    """Two ends of training that a straight line crosses a hill between."""
    x, y = _digits(400)
    ends = []
    for seed in (0, 1):
        with seeded(seed):
            model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, CLASSES)).double()
            for _ in _train(
                model, x, y, lambda p: torch.optim.Adam(p, lr=5e-3, weight_decay=1e-4), 40
            ):
                pass
        f = ModelLandscape(
            model, F.cross_entropy, [(x, y)], l2={"*": 1e-4}, name="digits, 64-32-10"
        )
        ends.append(f.point())
    made = connect(f, *ends, steps=400, metrics=["accuracy"], seed=0, progress=progress)
    made = replace(made, plane=connection_plane(f, made, 41, progress=progress))
    return {"connection": made}, [
        Match(
            "barrier along the curve over that of the straight line",
            0.0,
            "Garipov et al. 2018 and Draxler et al. 2018: essentially none",
            exact(made.barrier / made.straight_barrier),
            0.1,
            "small networks keep a little of it",
        ),
    ]


def _digits(count: int | None) -> tuple[Tensor, Tensor]:
    x, y = packaged.digits()
    return x[:count].double(), y[:count]


def _train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    make: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
    epochs: int,
    *,
    batch: int = 64,
    peak: float | None = None,
) -> Iterator[int]:
    """Train on minibatches, the rate going up to ``peak`` and down to nothing where one is given;
    stops after every epoch. Draws from torch's global generator.
    """
    optimizer = make(model.parameters())
    updates = epochs * -(-len(x) // batch)
    rates = peak and torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=updates)
    for epoch in range(epochs):
        with torch.enable_grad():
            for i in torch.split(torch.randperm(len(x), device="cpu"), batch):
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(model(x[i]), y[i]))
                optimizer.step()
                if rates:
                    rates.step()
        model.zero_grad(set_to_none=True)
        yield epoch
