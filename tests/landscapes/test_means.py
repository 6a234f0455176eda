"""The same loss gives the same landscape by whatever road it comes, cut into batches of any sizes: what it divides by is measured."""

import functools
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes import batches as batching
from landscape.landscapes import means
from landscape.points.checks import Status

GENERATOR = torch.Generator().manual_seed(7)
X = torch.randn(40, 3, generator=GENERATOR, dtype=torch.float64)
RARE = (torch.rand(40, generator=GENERATOR) > 0.9).long()
CLASSES = torch.cat([RARE[:20], torch.randint(0, 4, (20,), generator=GENERATOR)])
WEIGHT = torch.tensor([0.1, 1, 5, 20]).double()
TOKENS = torch.randint(1, 7, (12, 10), generator=GENERATOR)
LENGTHS = [1, 2, 1, 2, 1, 2, 10, 9, 10, 9, 10, 9]
PADDED = torch.stack(
    [torch.where(torch.arange(10) < n, t, 0) for n, t in zip(LENGTHS, TOKENS, strict=True)]
)
IGNORED = torch.where(PADDED == 0, -100, PADDED)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(ids))).transpose(1, 2)


class Own(Tagger):
    """As a language model of transformers: it computes the mean over labelled tokens itself."""

    def forward(self, input_ids: Tensor, labels: Tensor) -> Any:  # type: ignore[override]
        logits = super().forward(input_ids)
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


def linear(outputs: int) -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(3, outputs).double()


def sigmoid_mean(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output[:, 0], target.double())


def per_token_sum(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """A sum over kept tokens over their number, by hand."""
    losses = F.cross_entropy(
        model(batch["input_ids"]), batch["labels"], reduction="none", ignore_index=0
    )
    return losses.sum() / (batch["labels"] != 0).sum()


def rows(x: Any, y: Any, sizes: list[int]) -> list[Any]:
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def dicts(labels: Tensor) -> list[dict[str, Tensor]]:
    return [{"input_ids": a, "labels": b} for a, b in rows(TOKENS, labels, [6, 6])]


def batch_of(batches: list[Any]) -> Any:
    if isinstance(batches[0], dict):
        return {k: torch.cat([b[k] for b in batches]) for k in batches[0]}
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


DRAWS = torch.Generator().manual_seed(3)
IMAGES = torch.randn(12, 1, 5, 5, generator=DRAWS, dtype=torch.float64)
MAPS = torch.randint(0, 4, (12, 5, 5), generator=DRAWS)
MAPS[:6] //= 2
SERIES = torch.randn(8, 7, 3, generator=DRAWS, dtype=torch.float64)
STEPS = torch.randint(0, 4, (8, 7), generator=DRAWS)
STEPS[:4] //= 2
STEPS[5:, 3:] = -100
MISSING = X[:, :2].cos()
MISSING[:25][torch.rand(25, 2, generator=DRAWS) > 0.4] = float("nan")
UNKNOWN = torch.randint(-1, 2, (40, 2), generator=DRAWS).double()
UNKNOWN[:25].abs_()
# What it is -> a model, a loss, batches of unlike sizes or contents.
MEANS: dict[str, tuple[Callable[[], nn.Module], Any, list[Any]]] = {
    "named": (lambda: linear(4), ls.losses.get("cross-entropy"), rows(X, CLASSES, [7, 25, 8])),
    "functional": (lambda: linear(4), F.cross_entropy, rows(X, CLASSES, [7, 25, 8])),
    "lambda": (lambda: linear(4), lambda o, t: F.cross_entropy(o, t), rows(X, CLASSES, [7, 25, 8])),
    "model, batch": (
        lambda: linear(4), lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), rows(X, CLASSES, [7, 25, 8])
    ),
    "class weights, module": (lambda: linear(4), nn.CrossEntropyLoss(weight=WEIGHT), rows(X, CLASSES, [20, 20])),
    "class weights, partial": (
        lambda: linear(4), functools.partial(F.cross_entropy, weight=WEIGHT), rows(X, CLASSES, [20, 20])
    ),
    "class weights, lambda": (
        lambda: linear(4), lambda o, t: F.cross_entropy(o, t, weight=WEIGHT.to(o.dtype)), rows(X, CLASSES, [20, 20])
    ),
    "class weights, model and batch": (
        lambda: linear(4),
        lambda net, b: F.cross_entropy(net(b[0]), b[1], weight=WEIGHT.to(b[0].dtype)),
        rows(X, CLASSES, [20, 20]),
    ),
    "class weights, images": (
        lambda: nn.Conv2d(1, 4, 3, padding=1),
        lambda o, t: F.cross_entropy(o, t, weight=WEIGHT.to(o.dtype)),
        rows(IMAGES, MAPS, [6, 6]),
    ),
    "class weights and ignored tokens": (
        lambda: nn.Linear(3, 4),
        lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten(), weight=WEIGHT.to(o.dtype)),
        rows(SERIES, STEPS, [4, 4]),
    ),
    "targets that are missing": (
        lambda: linear(2),
        lambda o, t: (o - t.nan_to_num()).square()[~t.isnan()].mean(),
        rows(X, MISSING, [25, 15]),
    ),
    "labels that are not known, as numbers": (
        lambda: linear(2),
        lambda o, t: F.binary_cross_entropy_with_logits(o[t >= 0], t[t >= 0]),
        rows(X, UNKNOWN, [25, 15]),
    ),
    "ignored, partial": (
        Tagger, functools.partial(F.cross_entropy, ignore_index=0), rows(TOKENS, PADDED, [6, 6])
    ),
    "ignored, lambda": (
        Tagger, lambda o, t: F.cross_entropy(o, t, ignore_index=0), rows(TOKENS, PADDED, [6, 6])
    ),
    "ignored by the model's own loss": (Own, None, dicts(IGNORED)),
    "ignored by hand": (Tagger, per_token_sum, dicts(PADDED)),
    "binary": (lambda: linear(1), sigmoid_mean, rows(X, RARE, [3, 30, 7])),
    "kl, batchmean": (
        lambda: nn.Sequential(linear(4), nn.LogSoftmax(1)),
        nn.KLDivLoss(reduction="batchmean"),
        rows(X, torch.softmax(X @ torch.ones(3, 4).double() + torch.arange(4), 1), [15, 25]),
    ),
    "mse, a lambda of rows": (lambda: linear(2), lambda o, t: F.mse_loss(o, t), rows(X, X[:, :2].sin(), [5, 35])),
    "huber, module": (lambda: linear(2), nn.HuberLoss(), rows(X, X[:, :2].sin(), [5, 35])),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANS)
def test_batches_of_any_sizes_give_the_mean_over_all_the_data(
    name: str, dtype: torch.dtype
) -> None:
    make, loss, batches = MEANS[name]
    if isinstance(loss, functools.partial) and "weight" in loss.keywords and dtype == torch.float32:
        pytest.skip("its weights are in double precision")
    model = make().double()
    whole = ls.ModelLandscape(model, loss, [batch_of(batches)])
    f = ls.ModelLandscape(model, loss, batches, dtype=dtype)
    x = f.point()
    tight = 1e-11 if dtype == torch.float64 else 2e-5
    assert float(f.value(x)) == pytest.approx(float(whole.value(whole.point())), rel=tight)
    H, truth = ls.Hessian(f).dense().double(), ls.Hessian(whole).dense()
    assert float((H - truth).norm()) <= max(tight, 1e-9) * 20 * float(truth.norm())
    assert float(f.weights.sum()) == pytest.approx(1, abs=1e-12)
    assert f.weights.dtype == torch.float64
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert found.status is Status.OK, found.message


def test_sequences_of_other_lengths() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gru, self.out = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.gru(x)[0])

    model = Net().double()
    draw = functools.partial(
        torch.randn, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    batches = [(draw(4, n, 2), n * draw(4, n, 1) / 10) for n in (3, 30)]
    right = torch.cat([(model(x) - y).flatten() for x, y in batches]).square().mean()
    for loss in (nn.MSELoss(), F.mse_loss, ls.losses.get("mse"), lambda o, t: F.mse_loss(o, t)):
        f = ls.ModelLandscape(model, loss, batches)
        assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)
    summed = ls.ModelLandscape(model, lambda o, t: (o - t).square().sum(1).mean(), batches)
    each = [float((model(x) - y).square().sum(1).mean()) for x, y in batches]
    assert float(summed.value(summed.point())) == pytest.approx(sum(each) / 2, rel=1e-12)


def stacked(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(
        model(torch.stack([x for x, _ in batch])), torch.stack([y for _, y in batch])
    )


def of_dicts(model: nn.Module, batch: Any) -> Tensor:
    return stacked(model, [(s["x"], s["y"]) for s in batch])


def of_arrays(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(torch.as_tensor(batch[0])), torch.as_tensor(batch[1]))


def named(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch.x), batch.y)


@dataclass(frozen=True, slots=True)
class Slots:
    x: Tensor
    y: Tensor


Pair = namedtuple("Pair", ["x", "y"])
# a batch of many samples and one of two -> what is made of them
KINDS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[..., Tensor]]] = {
    "a list of pairs": (lambda x, y: list(zip(x, y, strict=True)), stacked),
    "a list of dicts": (
        lambda x, y: [{"x": a, "y": b} for a, b in zip(x, y, strict=True)],
        of_dicts,
    ),
    "arrays": (lambda x, y: (x.numpy(), y.numpy()), of_arrays),
    "words first": (
        lambda x, y: ([f"sample {i}" for i in range(len(x))], x, y),
        lambda model, batch: F.cross_entropy(model(batch[1]), batch[2]),
    ),
    "something constant first": (
        lambda x, y: {"grid": torch.linspace(0, 1, 5).double(), "x": x, "t": y},
        lambda model, batch: F.cross_entropy(model(batch["x"]), batch["t"]),
    ),
    "a namedtuple": (Pair, named),
    "a namespace": (lambda x, y: SimpleNamespace(x=x, y=y), named),
    "slots": (Slots, named),
    "lists of images and targets": (
        lambda x, y: (list(x), [{"label": t} for t in y]),
        lambda model, batch: F.cross_entropy(
            model(torch.stack(batch[0])), torch.stack([t["label"] for t in batch[1]])
        ),
    ),
}


@pytest.mark.parametrize("sizes", [[38, 2], [4, 36]])
@pytest.mark.parametrize("name", KINDS)
def test_samples_are_counted_in_every_kind_of_batch(name: str, sizes: list[int]) -> None:
    make, loss = KINDS[name]
    model = linear(4)
    f = ls.ModelLandscape(model, loss, [make(x, y) for x, y in rows(X, CLASSES, sizes)])
    assert f.samples == 40
    right = F.cross_entropy(model(X), CLASSES)
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)
    assert {c.name: c for c in ls.check(f)}["mean"].status is Status.OK


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ((torch.zeros(6), torch.tensor(1)), 1),
        ((torch.zeros(6), torch.tensor(0.5)), 1),
        ((np.zeros(6), np.array(1)), 1),
        ((torch.zeros(3, 8, 8), torch.tensor(1)), 1),
        ((torch.zeros(6, 2), torch.tensor(0.5)), 6),  # points, and a number for all of them
        ((torch.zeros(6, 3, 8, 8), torch.tensor(1)), 6),  # images, and a step for all of them
        ((torch.zeros(6), torch.zeros(6)), 6),
        ((torch.zeros(1, 6), torch.zeros(1)), 1),
    ],
)
def test_a_target_of_one_number_is_of_one_sample(batch: Any, count: int) -> None:
    assert batching.samples(batch) == count


def test_a_list_of_single_samples_has_as_many() -> None:
    model, singles = linear(4), list(zip(X, CLASSES, strict=True))
    f = ls.ModelLandscape(model, F.cross_entropy, singles)
    assert f.samples == len(X)
    right = F.cross_entropy(model(X), CLASSES)
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)


KEPT = (torch.rand(40, 3, generator=GENERATOR) < 0.4).double()
SCALES = torch.rand(40, generator=GENERATOR, dtype=torch.float64)


def over_a_mask(model: nn.Module, batch: Any) -> Tensor:
    return ((model(batch[0]) - batch[0]).square() * batch[1]).sum() / batch[1].sum()


def at_a_mask(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[0])[batch[1] > 0].abs().mean()


def by_weights(model: nn.Module, batch: Any) -> Tensor:
    each = (model(batch[0]) - batch[0]).square().sum(1)
    return (each * batch[1]).sum() / batch[1].sum()


def next_tokens(model: nn.Module, batch: Any) -> Tensor:
    ids, mask = batch["input_ids"], batch["attention_mask"][:, 1:]
    each = F.cross_entropy(model(ids)[:, :, :-1], ids[:, 1:], reduction="none")
    return (each * mask).sum() / mask.sum()


MASKED: dict[str, tuple[Callable[[], nn.Module], Any, list[Any]]] = {
    "a mask": (lambda: linear(3), over_a_mask, rows(X, KEPT, [25, 15])),
    "a mask of truth values": (lambda: linear(3), at_a_mask, rows(X, KEPT, [25, 15])),
    "weights of samples": (lambda: linear(3), by_weights, rows(X, SCALES, [25, 15])),
    "a mask of tokens": (
        Tagger,
        next_tokens,
        [
            {"input_ids": a, "attention_mask": (b != 0).double()}
            for a, b in rows(TOKENS, PADDED, [6, 6])
        ],
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_weights_are_what_a_mean_is_over(name: str) -> None:
    make, loss, batches = MASKED[name]
    model = make().double()
    f = ls.ModelLandscape(model, loss, batches)
    right = float(loss(model, batch_of(batches)))
    assert float(f.value(f.point())) == pytest.approx(right, rel=1e-12)
    assert {c.name: c for c in ls.check(f)}["mean"].status is Status.OK


def test_sequences_with_time_first() -> None:
    """Of outputs and targets (time, samples): every entry counts."""
    x, y = X[:30].reshape(5, 6, 3), CLASSES[:30].reshape(5, 6)
    parts = list(zip(x.split([4, 2], 1), y.split([4, 2], 1), strict=True))
    model = linear(4)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), target.flatten())

    f = ls.ModelLandscape(model, loss, parts)
    right = F.cross_entropy(model(X[:30]), CLASSES[:30])
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)


def test_a_cut_after_which_the_loss_is_the_same_tells_nothing() -> None:
    """Of a head at zero every sample's loss is the same, and elsewhere it is not."""
    model = linear(4)
    for p in model.parameters():
        nn.init.zeros_(p)
    parts = rows(X, CLASSES, [25, 15])
    f = ls.ModelLandscape(model, lambda o, t: F.cross_entropy(o, t), parts)
    with f.evaluation(), torch.no_grad():
        assert means.measured(f._judge(f.point()), parts, 2.2e-16).how == "assumed"
    assert f.mean.how == "measured"
    assert f.weights.tolist() == [25 / 40, 15 / 40]


def test_what_tells_nothing_anywhere_is_assumed_and_said() -> None:
    parts = rows(X, CLASSES, [25, 15])
    f = ls.ModelLandscape(linear(4), lambda o, t: 0 * F.cross_entropy(o, t), parts)
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert found.status is Status.WARNING
    assert f.weights.tolist() == [25 / 40, 15 / 40]


def info_nce(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    a, b = (F.normalize(model(v), dim=1) for v in batch)
    return F.cross_entropy(a @ b.T / 0.5, torch.arange(len(a)))


def decorrelated(output: Tensor, target: Tensor) -> Tensor:
    """Of the covariance of a batch's outputs."""
    o = output - output.mean(0)
    return (o.T @ o / len(o) - torch.eye(o.shape[1])).square().sum()


def ranked(output: Tensor, target: Tensor) -> Tensor:
    """Over pairs of samples."""
    gaps = output[:, 0] - output[:, :1]
    return F.softplus(gaps * (target[:, None] - target)).mean()


def root(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output[:, 0], target.double()).sqrt()


COUPLED: dict[str, tuple[Any, list[Any]]] = {
    "contrastive": (info_nce, [(a, 1.1 * a + 0.1) for a in X.split(10)]),
    "decorrelation": (decorrelated, rows(X, X, [10, 30])),
    "ranking": (ranked, rows(X, X[:, 0], [10, 30])),
    "root mean square": (root, rows(X, RARE, [10, 30])),
    "a batch's own maximum": (lambda o, t: o.square().sum(1).amax(), rows(X, RARE, [10, 30])),
}


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_samples_are_told(name: str) -> None:
    loss, batches = COUPLED[name]
    f = ls.ModelLandscape(linear(4), loss, batches)
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert found.status is Status.WARNING
    assert "weight=" in found.message
    assert "couples the samples" in found.message


def test_a_sum_over_time_is_a_mean_over_sequences() -> None:
    """(time, batch): the samples lie along the second dimension."""
    x, y = SERIES.transpose(0, 1), STEPS.transpose(0, 1).clamp(min=0)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        each = F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
        return each.sum() / target.shape[1]

    model = nn.Linear(3, 4).double()
    f = ls.ModelLandscape(model, loss, [(x[:, :6], y[:, :6]), (x[:, 6:], y[:, 6:])])
    assert float(f.value(f.point())) == pytest.approx(float(loss(model(x), y).detach()), rel=1e-12)
    assert f.weights.tolist() == [0.75, 0.25]


def test_targets_of_another_shape_than_outputs_are_told() -> None:
    batches = rows(X, X[:, 0], [10, 30])
    f = ls.ModelLandscape(linear(1), nn.MSELoss(), batches)
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert found.status is Status.WARNING
    assert "(10, 1) is compared with a target of shape (10,)" in found.message
    right = ls.ModelLandscape(linear(1), nn.MSELoss(), [(x, y[:, None]) for x, y in batches])
    assert {c.name: c for c in ls.check(right)}["mean"].status is Status.OK


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("sizes", [[3, 5], [2, 6], [1, 7]])
def test_an_entry_of_a_list_may_be_a_sample(sizes: list[int], total: bool) -> None:
    """Tensors of three rows in lists of three, say: cut lists tell that rows are none."""
    parts = list(torch.randn(8, 3, 3, generator=DRAWS, dtype=torch.float64))

    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        each = torch.stack([model(part).square().mean() for part in batch])
        return each.sum() if total else each.mean()

    f = ls.ModelLandscape(linear(1), loss, [parts[: sizes[0]], parts[sizes[0] :]])
    assert float(f.value(f.point())) == pytest.approx(
        float(loss(f.model, parts).detach()), rel=1e-12
    )
    assert (f.mean.counts, f.mean.total, f.samples) == (sizes, total, 8)
    assert {c.name: c for c in ls.check(f)}["mean"].status is (Status.NOTE if total else Status.OK)


def test_inputs_side_by_side_in_a_list_are_no_samples() -> None:
    x, y, w = X[:, :1], X[:, 1:2], X[:, 2:].abs()

    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        a, b, weight = batch
        return ((model(torch.cat([a, b, a], 1)) - b).square() * weight).mean()

    parts = [list(rows) for rows in zip(*(t.split([13, 27]) for t in (x, y, w)), strict=True)]
    f = ls.ModelLandscape(linear(1), loss, parts)
    assert f.mean.counts == [13, 27]
    assert float(f.value(f.point())) == pytest.approx(float(loss(f.model, [x, y, w]).detach()))


def test_lists_of_several_lengths_are_told() -> None:
    """Of a loss that divides by something else it is not known what an entry is."""
    parts = list(torch.randn(8, 3, 3, generator=DRAWS, dtype=torch.float64))

    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return torch.stack([model(part).square().mean() for part in batch]).mean().sqrt()

    f = ls.ModelLandscape(linear(1), loss, [parts[:3], parts[3:]], weight=len)
    assert {c.name: c for c in ls.check(f)}["mean"].status is Status.OK
    f = ls.ModelLandscape(linear(1), loss, [parts[:3], parts[3:]])
    assert {c.name: c for c in ls.check(f)}["mean"].status is Status.WARNING


def test_the_reduction_of_a_partial_is_seen() -> None:
    loss = functools.partial(F.cross_entropy, reduction="sum")
    batches = rows(X, CLASSES, [15, 25])
    with pytest.raises(ValueError, match="reduction='sum' but the landscape reduction='mean'"):
        ls.ModelLandscape(linear(4), loss, batches)
    f = ls.ModelLandscape(linear(4), loss, batches, reduction="sum")
    whole = F.cross_entropy(f.model(X), CLASSES, reduction="sum")
    assert float(f.value(f.point())) == pytest.approx(float(whole.detach()), rel=1e-12)


def test_a_sum_is_found_and_said() -> None:
    model = linear(4)
    f = ls.ModelLandscape(
        model, lambda o, t: F.cross_entropy(o, t, reduction="sum"), rows(X, CLASSES, [7, 25, 8])
    )
    right = F.cross_entropy(model(X), CLASSES, reduction="sum")
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert found.status is Status.NOTE
    assert "sum over samples" in found.message


def test_what_cannot_be_measured_is_assumed_and_said() -> None:
    def whole_only(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if len(batch[0]) not in (10, 30):
            raise RuntimeError("a batch of another size")
        return F.cross_entropy(model(batch[0]), batch[1])

    f = ls.ModelLandscape(linear(4), whole_only, rows(X, CLASSES, [10, 30]))
    found = {c.name: c for c in ls.check(f)}["mean"]
    assert (found.status, f.weights.tolist()) == (Status.WARNING, [0.25, 0.75])
    assert "could not be measured" in found.message
    told = ls.ModelLandscape(
        linear(4), whole_only, rows(X, CLASSES, [10, 30]), weight=lambda batch: 1.0
    )
    assert told.weights.tolist() == [0.5, 0.5]
    assert {c.name: c for c in ls.check(told)}["mean"].status is Status.OK


def test_a_loss_that_fails_says_so_and_is_not_measured() -> None:
    f = ls.ModelLandscape(linear(4), lambda o, t: 1 / 0, rows(X, CLASSES, [10, 30]))
    with pytest.raises(ls.LoadingError, match="ZeroDivisionError"):
        f.value(f.point())


class Next(nn.Module):
    """A language model whose own loss compares each token with what is said of it before."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Embedding(7, 7).double()

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        scores = self.table(input_ids)[:, :-1].flatten(0, 1)
        return F.cross_entropy(scores, labels[:, 1:].flatten())


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("lengths", [[6] * 9, [6] * 8 + [1], [6] * 8 + [3], list(range(1, 7))])
def test_tokens_that_follow_others(lengths: list[int], size: int) -> None:
    """Each row's first token is compared with nothing, so that rows of other lengths count one fewer."""
    ids = torch.randint(0, 7, (len(lengths), 6), generator=torch.Generator().manual_seed(5))
    keep = torch.arange(6) < torch.tensor(lengths)[:, None]
    labels, model = ids.where(keep, torch.tensor(-100)), Next()
    rows = zip(ids.split(size), labels.split(size), strict=True)
    batches = [{"input_ids": i, "labels": t} for i, t in rows]
    f = ls.ModelLandscape(model, None, batches)
    truth = float(model(ids, labels).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("what", ["mean", "ignored", "sum"])
def test_a_mean_is_measured_through_coarse_arithmetic(what: str, dtype: torch.dtype) -> None:
    """A norm in bfloat16 rounds each part of a batch in its own way."""

    class Coarse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.c = nn.Linear(3, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.a(x))
            size = h.bfloat16().square().mean(-1, keepdim=True) + 1e-6
            return self.c(h * size.rsqrt().to(h.dtype))

    options = {"sum": {"reduction": "sum"}, "ignored": {"ignore_index": 0}}.get(what, {})

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], **options)  # type: ignore[arg-type]

    f = ls.ModelLandscape(Coarse().to(dtype), loss, rows(X.to(dtype), CLASSES, [15, 25]))
    assert (f.mean.how, f.mean.total) == ("measured", what == "sum")
    truth = [float((y != 0).sum()) for y in CLASSES.split([15, 25])]
    assert f.mean.counts == (truth if what == "ignored" else [15.0, 25.0])


def test_a_mean_is_measured_where_all_samples_lose_nearly_the_same() -> None:
    """As before training, in single precision: what tokens lose differs by rounding only."""
    model = Own()
    with torch.no_grad():
        model.head.weight.mul_(1e-5)
        model.head.bias.zero_()
    f = ls.ModelLandscape(model, None, dicts(IGNORED))
    assert f.mean.how == "measured"
    assert f.mean.counts == [float((part != -100).sum()) for part in IGNORED.split(6)]


def test_a_sum_over_the_number_of_positives_or_1() -> None:
    """As detectors divide: a part without any positive loses the sum itself."""
    hits = (X[:, :2] > 0.5).double()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        return each.sum() / target.sum().clamp(min=1)

    model = linear(2)
    f = ls.ModelLandscape(model, loss, rows(X, hits, [9, 31]))
    assert f.mean.counts == [float(part.sum()) for part in hits.split([9, 31])]
    truth = float(loss(model(X), hits).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("form", [lambda t: t, lambda t: {"tokens": t}, lambda t: (t,)])
def test_batches_of_words_alone(form: Callable[[Tensor], Any]) -> None:
    """Each word predicts the next; what is padded by 0 is left out of the mean."""
    model = Tagger().double()

    def next_words(model: nn.Module, t: Tensor) -> Tensor:
        return F.cross_entropy(model(t)[..., :-1], t[:, 1:], ignore_index=0)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        t = batch["tokens"] if isinstance(batch, dict) else batch
        return next_words(model, t if isinstance(t, Tensor) else t[0])

    f = ls.ModelLandscape(model, loss, [form(t) for t in PADDED.split([3, 5, 4])])
    assert f.mean.how == "measured"
    truth = float(next_words(model, PADDED).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_number_that_keeps_a_divisor_from_0(dtype: torch.dtype) -> None:
    hits = (X[:, 0] > 0).to(dtype)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")
        return (each * target).sum() / (target.sum() + 1e-8)

    model = linear(1).to(dtype)
    f = ls.ModelLandscape(model, loss, rows(X.to(dtype), hits, [9, 31]))
    assert f.mean.how == "measured"
    assert f.mean.counts == [float(part.sum()) for part in hits.split([9, 31])]
    truth = float(loss(model(X.to(dtype)), hits).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-6)


class Coder(nn.Module):
    """A variational autoencoder that returns its divergence, summed or averaged over the batch."""

    def __init__(self, divergence: str, *, noise: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.dec = nn.Linear(3, 4), nn.Linear(2, 3)
        self.divergence, self.noise = divergence, noise

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = self.enc(x).chunk(2, -1)
        each = 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
        z = mu + torch.randn_like(mu) * (log_var / 2).exp() if self.noise else mu
        return self.dec(z), each.sum() if self.divergence == "sum" else each.mean()


def elbo(reduction: str, output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return F.mse_loss(output[0], target, reduction=reduction) + output[1]


@pytest.mark.parametrize("form", ["output and target", "model and batch"])
@pytest.mark.parametrize("divergence", ["mean", "sum"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("sizes", [[20, 20], [7, 25, 8]])
def test_a_term_that_the_model_has_reduced_over_the_batch(
    sizes: list[int], reduction: str, divergence: str, form: str
) -> None:
    """Two means make a mean and two sums a sum; a mean and a sum grow apart with the batch."""
    model = Coder(divergence).double()
    of_output = functools.partial(elbo, reduction)

    def of_model(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return of_output(model(batch[0]), batch[1])

    loss = of_output if form == "output and target" else of_model
    f = ls.ModelLandscape(model, lambda a, b: loss(a, b), rows(X, X, sizes))
    mean = {c.name: c for c in ls.check(f)}["mean"]
    if reduction != divergence:
        assert mean.status is Status.WARNING
        assert "couples the samples" in mean.message
        return
    assert (f.mean.how, f.mean.total) == ("measured", reduction == "sum")
    assert mean.status is (Status.NOTE if reduction == "sum" else Status.OK)
    truth = float(of_output(model(X), X).detach())
    assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


def test_noise_in_an_output_does_not_hide_a_term_of_the_model() -> None:
    """The reconstruction keeps the noise of the whole batch, which a part would draw anew."""
    f = ls.ModelLandscape(
        Coder("mean", noise=True).double(), lambda o, t: elbo("mean", o, t), rows(X, X, [10, 30])
    )
    assert (f.mean.how, f.mean.counts) == ("measured", [10, 30])


class Experts(nn.Module):
    """A mixture whose balance, a square of means over the batch, is returned beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.experts = nn.Linear(3, 2), nn.ModuleList(nn.Linear(3, 4) for _ in range(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        shares = self.gate(x).softmax(1)
        made = torch.stack([expert(x) for expert in self.experts], 1)
        return {"logits": (shares[..., None] * made).sum(1), "aux": shares.mean(0).square().sum()}


def balanced(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return F.cross_entropy(output["logits"], target) + output["aux"]


def features_first() -> nn.Module:
    """Of inputs (features, samples), which have no samples along their first dimension."""
    model = Experts()
    model.register_forward_pre_hook(lambda module, inputs: (inputs[0].T,))
    return model.double()


def test_a_balance_of_experts_couples_samples() -> None:
    batches = rows(X, CLASSES, [10, 30])
    for loss in (balanced, lambda net, b: balanced(net(b[0]), b[1])):
        f = ls.ModelLandscape(Experts().double(), loss, batches)
        found = {c.name: c for c in ls.check(f)}["mean"]
        assert found.status is Status.WARNING
        assert "couples the samples" in found.message


class Keeping(nn.Module):
    """As layers of experts often do: an auxiliary loss is left in the module."""

    def __init__(self, term: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.head, self.term = nn.Linear(3, 2), nn.Linear(2, 4), term
        self.register_buffer("buffer", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(1)
        self.aux = self.buffer = self.term(shares)
        return self.head(shares)


@pytest.mark.parametrize(
    ("term", "how"),
    [
        (lambda shares: shares.square().mean(), "measured"),
        (lambda shares: shares.square().sum(), "coupled"),
        (lambda shares: shares.mean(0).square().sum(), "coupled"),
        (lambda shares: shares.new_ones(()), "measured"),
    ],
    ids=["mean", "sum", "balance", "constant"],
)
@pytest.mark.parametrize("sizes", [[10, 30], [1, 39]])
@pytest.mark.parametrize("name", ["aux", "buffer"])
def test_a_term_that_a_pass_leaves_in_the_model(
    name: str, sizes: list[int], term: Callable[[Tensor], Tensor], how: str
) -> None:
    model = Keeping(term).double()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        total: Tensor = F.cross_entropy(output, target) + getattr(model, name)
        return total

    f = ls.ModelLandscape(model, loss, rows(X, CLASSES, sizes))
    assert f.mean.how == how
    if how == "measured":
        truth = float(loss(model(X), CLASSES).detach())
        assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


def test_a_term_of_the_model_is_not_measured_where_the_input_cannot_be_cut() -> None:
    batches = [(x.T, y) for x, y in rows(X, CLASSES, [10, 30])]
    f = ls.ModelLandscape(features_first(), balanced, batches)
    assert f.mean.how == "assumed"
    f = ls.ModelLandscape(features_first(), lambda o, t: F.cross_entropy(o["logits"], t), batches)
    assert (f.mean.how, f.mean.counts) == ("measured", [10, 30])


class Extras(nn.Module):
    """Logits beside what has no samples along its first dimension."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.norm = nn.Linear(3, 5), nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.register_forward_hook(lambda *_: PASSES.append(1))

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = torch.tanh(self.a(x))
        return {
            "logits": self.norm(self.b(h)),
            "states": torch.stack([h, h.cos()]),
            "scale": self.scale.exp(),
            "grid": torch.linspace(0, 1, 10, dtype=x.dtype),
            "shape": torch.tensor([4, 5]),
            "number": len(x),
        }


PASSES: list[int] = []
# what a loss reads besides the logits -> the loss
READ: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a scale": lambda o, t: F.cross_entropy(o["scale"] * o["logits"], t),
    "hidden states": lambda o, t: F.cross_entropy(o["logits"], t) + o["states"].square().mean(),
    "a grid and a scale": lambda o, t: (
        F.cross_entropy(o["logits"], t) * o["grid"].sum() + o["scale"]
    ),
    "a shape": lambda o, t: F.cross_entropy(o["logits"], t) / o["shape"][0],
    "the number of samples": lambda o, t: (
        F.cross_entropy(o["logits"], t, reduction="sum") / o["number"]
    ),
}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", READ)
def test_what_else_an_output_holds_does_not_hide_a_mean(name: str, mode: str) -> None:
    """Batch norms stay as in the whole batch, where the rest does not depend on them."""
    model = Extras().double().train(mode == "train")
    f = ls.ModelLandscape(model, READ[name], rows(X, CLASSES, [10, 30]), mode=mode)
    assert {c.name: c for c in ls.check(f)}["mean"].status is Status.OK
    assert (f.mean.how, f.mean.total, f.mean.counts) == ("measured", False, [10, 30])
    if mode == "eval":
        truth = float(READ[name](model(X), CLASSES).detach())
        assert float(f.value(f.point())) == pytest.approx(truth, rel=1e-12)


def test_hidden_states_that_are_summed_are_told() -> None:
    f = ls.ModelLandscape(
        Extras().double().eval(),
        lambda o, t: F.cross_entropy(o["logits"], t) + o["states"].square().sum(),
        rows(X, CLASSES, [10, 30]),
    )
    assert f.mean.how == "coupled"


def test_a_model_is_run_on_parts_only_for_what_its_loss_reads() -> None:
    def passes(loss: Callable[[Any, Tensor], Tensor]) -> int:
        f = ls.ModelLandscape(Extras().double().eval(), loss, rows(X, CLASSES, [10, 30]))
        PASSES.clear()
        assert f.mean.how == "measured"
        return len(PASSES)

    once = passes(lambda o, t: F.cross_entropy(o["logits"], t))
    assert once < 8 < passes(READ["a scale"])


class Given(OrderedDict[str, Tensor]):
    """As the outputs of transformers: entries are attributes, and update() is refused."""

    def update(self, *_: Any, **__: Any) -> None:
        raise TypeError("cannot be updated")

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


def test_an_output_that_refuses_updates_is_cut() -> None:
    class Net(Tagger):
        def forward(self, ids: Tensor) -> Any:
            return Given(logits=super().forward(ids))

    f = ls.ModelLandscape(
        Net(), lambda o, t: F.cross_entropy(o.logits, t), rows(TOKENS, PADDED, [6, 6])
    )
    assert f.mean.how == "measured"
