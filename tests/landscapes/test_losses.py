"""Truths: each loss written out by hand in float64, and torch's own functional where it has one."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape import LoadingError
from landscape.landscapes import losses


def labelled(seed=0, n=7, classes=4):
    g = torch.Generator().manual_seed(seed)
    output = torch.randn(n, classes, generator=g, dtype=torch.float64)
    return output, torch.randint(classes, (n,), generator=g)


def pairs(seed=0):
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(6, 2, generator=g, dtype=torch.float64), torch.randn(
        6, 2, generator=g, dtype=torch.float64
    )


def test_every_name_of_the_command_line_is_known():
    wanted = {
        "cross-entropy",
        "mse",
        "l1",
        "smooth-l1",
        "huber",
        "bce",
        "bce-with-logits",
        "nll",
        "asymmetric",
    }
    assert wanted == set(losses.names())


def test_cross_entropy_by_hand():
    output, y = labelled()
    rows = [
        math.log(sum(math.exp(v) for v in row)) - row[k]
        for row, k in zip(output.tolist(), y.tolist(), strict=True)
    ]
    assert losses.get("cross-entropy")(output, y).item() == pytest.approx(
        sum(rows) / len(rows), rel=1e-14
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_ignores_and_smooths_as_torch_does(smoothing):
    output, y = labelled()
    y[2] = y[5] = -100
    loss = losses.get(f"cross-entropy:label_smoothing={smoothing}")
    truth = F.cross_entropy(output, y, label_smoothing=smoothing)
    assert loss(output, y).item() == pytest.approx(truth.item(), rel=1e-14)
    assert loss.weight(y) == 5


def test_a_batch_of_ignored_labels_counts_nothing_and_is_zero():
    output, y = labelled()
    loss = losses.get("cross-entropy")
    assert loss(output, torch.full_like(y, -100)).item() == 0
    assert loss.weight(torch.full_like(y, -100)) == 0


def test_cross_entropy_of_sequences_and_of_probabilities():
    g = torch.Generator().manual_seed(1)
    output, y = torch.randn(3, 5, 4, generator=g), torch.randint(5, (3, 4), generator=g)
    loss = losses.get("cross-entropy")
    torch.testing.assert_close(loss(output, y), F.cross_entropy(output, y))
    assert loss.weight(y) == 12
    soft = torch.softmax(torch.randn(3, 5, 4, generator=g), 1)
    torch.testing.assert_close(loss(output, soft), F.cross_entropy(output, soft))
    assert loss.weight(soft) == 12


def test_nll_takes_log_probabilities():
    output, y = labelled()
    y[0] = -100
    truth = F.cross_entropy(output, y)
    assert losses.get("nll")(torch.log_softmax(output, 1), y).item() == pytest.approx(
        truth.item(), rel=1e-13
    )


def scalar_formulas():
    def huber(d, delta=0.5):
        return d * d / 2 if abs(d) < delta else delta * (abs(d) - delta / 2)

    def smooth(d, beta=1.0):
        return d * d / (2 * beta) if abs(d) < beta else abs(d) - beta / 2

    return {
        "mse": lambda d: d * d,
        "l1": abs,
        "huber:delta=0.5": huber,
        "smooth-l1": smooth,
        "smooth-l1:beta=2": lambda d: smooth(d, 2.0),
        "asymmetric:over=1,under=10": lambda d: d if d > 0 else -10 * d,
        "asymmetric:over=3,under=0": lambda d: 3 * d if d > 0 else 0.0,
    }


@pytest.mark.parametrize("spec", scalar_formulas())
def test_regression_by_hand(spec):
    output, target = pairs()
    formula = scalar_formulas()[spec]
    rows = [formula(d) for d in (output - target).flatten().tolist()]
    assert losses.get(spec)(output, target).item() == pytest.approx(
        sum(rows) / len(rows), rel=1e-14
    )
    assert losses.get(spec).weight(target) == 12


def test_asymmetric_is_least_at_the_quantile():
    target = torch.arange(100, dtype=torch.float64)  # under / (over + under) = 0.9
    loss = losses.get("asymmetric:over=1,under=9")
    values = [loss(torch.full_like(target, c), target).item() for c in range(100)]
    assert values.index(min(values)) in (89, 90)


@pytest.mark.parametrize("spec", ["bce", "bce-with-logits"])
def test_binary_cross_entropy_by_hand(spec):
    logits, target = pairs()
    target = target.sigmoid()
    rows = [
        -t * math.log(1 / (1 + math.exp(-z))) - (1 - t) * math.log(1 / (1 + math.exp(z)))
        for z, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True)
    ]
    output = logits.sigmoid() if spec == "bce" else logits
    assert losses.get(spec)(output, target).item() == pytest.approx(
        sum(rows) / len(rows), rel=1e-12
    )


SECOND = {  # d²/dz² of the loss of one output
    "mse": lambda z, t: 2.0,
    "huber:delta=0.5": lambda z, t: float(abs(z - t) < 0.5),
    "smooth-l1:beta=2": lambda z, t: 0.5 * (abs(z - t) < 2),
    "l1": lambda z, t: 0.0,
    "asymmetric:over=1,under=10": lambda z, t: 0.0,
    "bce-with-logits": lambda z, t: math.exp(-z) / (1 + math.exp(-z)) ** 2,
    "bce": lambda z, t: t / z**2 + (1 - t) / (1 - z) ** 2,
}


def hessian(f, x):
    return torch.func.jacrev(torch.func.grad(f))(x)


@pytest.mark.parametrize("spec", SECOND)
def test_second_derivatives_by_vmap_and_double_backward(spec):
    z, t = (
        torch.tensor([[0.3], [0.85]], dtype=torch.float64),
        torch.tensor([[0.1], [0.6]], dtype=torch.float64),
    )
    loss = losses.get(spec)
    H = hessian(lambda v: loss(v.view(2, 1), t), z.flatten())
    second = [
        SECOND[spec](a, b) / 2
        for a, b in zip(z.flatten().tolist(), t.flatten().tolist(), strict=True)
    ]
    truth = torch.diag(torch.tensor(second, dtype=torch.float64))
    torch.testing.assert_close(
        H, truth, rtol=1e-10, atol=1e-14
    )  # torch's bce divides by p (1 - p) + 1e-12
    z = z.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(loss(z, t), z, create_graph=True)
    if g.requires_grad:
        rows = torch.autograd.grad(
            g.flatten(), z, torch.eye(2, dtype=torch.float64), is_grads_batched=True
        )
        torch.testing.assert_close(rows[0].view(2, 2), truth, rtol=1e-10, atol=1e-14)


def test_cross_entropy_hessian_is_diag_p_minus_pp():
    output, y = labelled(n=1)
    H = hessian(lambda z: losses.get("cross-entropy")(z[None], y), output[0])
    p = torch.softmax(output[0], 0)
    torch.testing.assert_close(H, torch.diag(p) - torch.outer(p, p), rtol=1e-12, atol=1e-14)


def test_losses_map_over_targets_too():
    output, y = labelled()
    rows = torch.func.vmap(lambda o, t: losses.get("cross-entropy")(o[None], t[None]))(output, y)
    torch.testing.assert_close(rows.mean(), F.cross_entropy(output, y))


@pytest.mark.parametrize("spec", losses.names())
def test_uneven_batches_weighted_give_the_mean_over_all(spec):
    loss = losses.get(spec)
    if spec in ("cross-entropy", "nll"):
        output, target = labelled(n=10)
        target[3] = -100
    else:
        g = torch.Generator().manual_seed(3)
        output, target = (
            torch.rand(10, 3, generator=g).double(),
            torch.rand(10, 3, generator=g).double(),
        )
    parts = [slice(0, 9), slice(9, 10)]
    total = sum(loss.weight(target[p]) * loss(output[p], target[p]) for p in parts)
    whole = sum(loss.weight(target[p]) for p in parts)
    assert float(total / whole) == pytest.approx(loss(output, target).item(), rel=1e-13)


def test_whole_number_targets_are_regressed_in_the_dtype_of_the_output():
    output = torch.tensor([0.5, 2.0])
    value = losses.get("mse")(output, torch.tensor([1, 2]))
    assert value.dtype == torch.float32
    assert value.item() == 0.125


@pytest.mark.parametrize(
    ("spec", "output", "target", "words"),
    [
        ("mse", torch.zeros(4, 1), torch.zeros(4), "shaped as the output"),
        ("huber", torch.zeros(4), torch.zeros(4, 1), "broadcast"),
        ("cross-entropy", torch.zeros(3, 4), torch.tensor([0, 1, 4]), "label 4 is out of range"),
        ("cross-entropy", torch.zeros(3, 4), torch.tensor([0, 1, -1]), "label -1 is out of range"),
        ("nll", torch.zeros(3, 4), torch.tensor([0, 9, 1]), "4 classes"),
        ("cross-entropy", torch.zeros(3, 4), torch.tensor([0, 1]), "(3, 4) and (2,)"),
        ("cross-entropy", torch.zeros(3, 4), torch.tensor([0.0, 1.0, 2.0]), "integer labels"),
        ("bce", torch.full((2,), 0.5), torch.tensor([0.0, 2.0]), "targets in [0, 1], got 2"),
        ("bce-with-logits", torch.zeros(2), torch.tensor([0.0, -0.5]), "targets in [0, 1]"),
    ],
)
def test_targets_that_do_not_fit_are_refused(spec, output, target, words):
    with pytest.raises(LoadingError) as error:
        losses.get(spec)(output, target)
    assert words in str(error.value)


def test_the_same_labels_are_checked_again_for_fewer_classes():
    loss, y = losses.get("cross-entropy"), torch.tensor([0, 3])
    loss(torch.zeros(2, 4), y)
    with pytest.raises(LoadingError, match="out of range"):
        loss(torch.zeros(2, 3), y)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("crossentropy", "Did you mean 'cross-entropy'"),
        ("hinge", "Known: cross-entropy, mse"),
        ("", "unknown loss"),
        ("huber:beta=1", "Its options: delta"),
        ("mse:delta=1", "Its options: none"),
        ("huber:delta=0", "must be a number > 0"),
        ("huber:delta=-1", "got -1"),
        ("huber:delta=nan", "got"),
        ("huber:delta=big", "got 'big'"),
        ("huber:delta=true", "got True"),
        ("huber:delta", "is not an option"),
        ("huber:delta=1,delta=2", "twice"),
        ("cross-entropy:label_smoothing=1", "< 1"),
        ("asymmetric:over=-1", "over of asymmetric"),
        ("asymmetric:above=1", "Its options: over, under"),
    ],
)
def test_bad_specs_say_what_is_known(spec, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        losses.get(spec)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("loss", "floor"),
    [
        (F.cross_entropy, 0.0),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])), 0.0),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, -2.0])), -math.inf),
        (functools.partial(F.cross_entropy, weight=torch.tensor([-1.0, 2.0])), -math.inf),
        (functools.partial(F.huber_loss, delta=0.5), 0.0),
        (losses.get("cross-entropy"), 0.0),
        (losses.get("asymmetric:over=1,under=3"), 0.0),
        (losses.get("nll"), -math.inf),
        (nn.GaussianNLLLoss(), -math.inf),
        (lambda o, t: F.mse_loss(o, t), -math.inf),
        (None, -math.inf),
    ],
)
def test_the_floor_is_told_where_it_is_known(loss: object, floor: float) -> None:
    assert losses.floor(loss) == floor
