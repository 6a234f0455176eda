"""Means over what no known way counts: batches weigh as in one batch of all the data; what couples samples is not solved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls

DRAWS = torch.Generator().manual_seed(5)
COUNT, LONGEST = 24, 6
X = torch.randn(COUNT, LONGEST, 5, generator=DRAWS, dtype=torch.float64)
Y = torch.randint(0, 3, (COUNT, LONGEST), generator=DRAWS)
LENGTHS = torch.randint(2, LONGEST + 1, (COUNT,), generator=DRAWS)
KEPT = torch.arange(LONGEST) < LENGTHS[:, None]
SHARE = KEPT * torch.rand(COUNT, LONGEST, generator=DRAWS, dtype=torch.float64)
SIZES = [(7, 12, 5), (9, 15)]
Model = Callable[[Tensor], Tensor]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def each(model: Model, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x).transpose(1, 2), y, reduction="none")


def but_a_rows_last(model: Model, batch: Any) -> Tensor:
    x, y, kept = batch
    losses = each(model, x, y)[:, 1:]
    return (losses * kept[:, :-1]).sum() / kept[:, :-1].sum()


def one_less_than_lengths(model: Model, batch: Any) -> Tensor:
    x, y, lengths = batch
    kept = torch.arange(LONGEST - 1) < lengths[:, None] - 1
    return (each(model, x, y)[:, 1:] * kept).sum() / (lengths - 1).sum()


def by_share(model: Model, batch: Any) -> Tensor:
    x, y, share = batch
    return (each(model, x, y) * share).sum() / share.sum()


def boxes(model: Model, batch: Any) -> Tensor:
    """As detectors do: a list of dicts of targets, and the sum over all boxes by their number."""
    x, targets = batch
    outputs = model(x)
    losses = [
        F.cross_entropy(outputs[i, : len(t["labels"])], t["labels"], reduction="sum")
        for i, t in enumerate(targets)
    ]
    return torch.stack(losses).sum() / sum(len(t["labels"]) for t in targets)


def end_to_end(model: Model, batch: Any) -> Tensor:
    return F.cross_entropy(model(torch.cat(batch[0])), torch.cat(batch[1]))


def ragged(*samples: int) -> Any:
    rows = range(*samples)
    return [X[i, : LENGTHS[i]] for i in rows], [Y[i, : LENGTHS[i]] for i in rows]


def targets(*samples: int) -> Any:
    first, end = samples
    return X[first:end], [{"labels": Y[i, : LENGTHS[i]]} for i in range(first, end)]


def rows(*tensors: Tensor) -> Callable[..., Any]:
    return lambda first, end: tuple(t[first:end] for t in tensors)


def batches(cut: Callable[..., Any], sizes: tuple[int, ...]) -> list[Any]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [cut(end - size, end) for size, end in zip(sizes, ends, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    ("loss", "cut"),
    [
        (but_a_rows_last, rows(X, Y, KEPT)),
        (one_less_than_lengths, rows(X, Y, LENGTHS)),
        (by_share, rows(X, Y, SHARE)),
        (boxes, targets),
    ],
)
def test_batches_weigh_as_in_one(
    loss: Any, cut: Callable[..., Any], sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    model = net()
    f = ls.ModelLandscape(model, loss, batches(cut, sizes), dtype=dtype)
    assert f.mean.how == "solved"
    truth = loss(model, cut(0, COUNT))
    gradient = torch.autograd.grad(truth, list(model.parameters()))
    flat = torch.cat([g.reshape(-1) for g in gradient])
    near = 1e-13 if dtype == torch.float64 else 1e-5
    assert float(f.value(f.point())) == pytest.approx(float(truth.detach()), rel=near)
    assert float((f.gradient(f.point()).double() - flat).norm() / flat.norm()) < 10 * near
    check = next(c for c in ls.check(f) if c.name == "mean")
    assert check.status.name == "OK"


def test_lists_of_tensors_of_several_lengths() -> None:
    model = net()
    f = ls.ModelLandscape(model, end_to_end, batches(ragged, SIZES[0]))
    assert f.mean.how == "solved"
    truth = float(end_to_end(model, ragged(0, COUNT)).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-13)


def root(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target).sqrt()


def overlap(output: Tensor, target: Tensor) -> Tensor:
    p, t = output[:, 0].sigmoid(), (target > 0).double()
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def contrast(output: Tensor, target: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    return F.cross_entropy(z @ z.T / 0.5, torch.arange(len(z)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [*SIZES, (8, 8, 8), (6, 6, 6, 6)])
@pytest.mark.parametrize("loss", [root, overlap, contrast])
def test_what_couples_samples_is_not_solved(
    loss: Callable[..., Tensor], sizes: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    f = ls.ModelLandscape(model, loss, batches(rows(X[:, 0], Y[:, 0]), sizes))
    assert f.mean.how == "coupled"
