"""Layers whose fused kernels have no second derivative: against torch's own values and gradients, and differences of these."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes import kernels
from landscape.points import checks

TOKENS = torch.tensor([[0, 3, 3], [2, 1, 6], [5, 5, 5], [6, 0, 2], [1, 4, 1], [3, 2, 0], [2, 2, 4]])
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 1])


class Words(nn.Module):
    def __init__(self, rows: nn.Module) -> None:
        super().__init__()
        self.rows, self.head = rows, nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        found = torch.tanh(self.rows(tokens))
        return self.head(found if found.ndim == 2 else found.mean(1))


def words(rows: nn.Module) -> ls.ModelLandscape:
    torch.manual_seed(3)
    nn.init.normal_(rows.weight)  # type: ignore[arg-type]
    return ls.ModelLandscape(
        Words(rows).double(),
        F.cross_entropy,
        list(zip(TOKENS.split(3), LABELS.split(3), strict=True)),
    )


def torchs_gradient(f: ls.ModelLandscape, x: Tensor) -> Tensor:
    """By ``backward`` of the model itself, without the library."""
    here = f.point()
    f.load(x)
    f.model.zero_grad()
    F.cross_entropy(f.model(TOKENS), LABELS).backward()
    gradients = [p.grad.to_dense().flatten() for p in f.model.parameters() if p.grad is not None]
    f.load(here)
    f.model.zero_grad()
    return torch.cat(gradients)


def by_differences(f: ls.ModelLandscape) -> Tensor:
    """Columns of the Hessian, fourth-order differences of torch's own gradient."""
    x, h = f.point(), 1e-3
    slopes = [
        torchs_gradient(f, x + s * e)
        for e in h * torch.eye(f.dim, dtype=x.dtype)
        for s in (-2, -1, 1, 2)
    ]
    a, b, c, d = torch.stack(slopes).reshape(f.dim, 4, f.dim).unbind(1)
    return (a - 8 * b + 8 * c - d) / (12 * h)


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("padding", [None, 3, -1], ids=["all", "padding", "last"])
def test_bags_are_torchs_bags(mode: str, padding: int | None) -> None:
    weight = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    scales = torch.rand(21, dtype=torch.float64) if mode == "sum" else None
    flat, bags = TOKENS.flatten(), torch.tensor([0, 2, 2, 9, 21])  # one is empty
    shapes: list[tuple[Tensor, dict[str, Any]]] = [
        (TOKENS, {"per_sample_weights": None if scales is None else scales.view(7, 3)}),
        (flat, {"offsets": bags[:-1], "per_sample_weights": scales}),
        (flat, {"offsets": bags, "per_sample_weights": scales, "include_last_offset": True}),
    ]
    for tokens, options in shapes:
        fused = F.embedding_bag(tokens, weight, mode=mode, padding_idx=padding, **options)
        with kernels.Instead(kernels.ELEMENTARY):
            own = F.embedding_bag(tokens, weight, mode=mode, padding_idx=padding, **options)
        along = torch.randn_like(fused)
        torch.testing.assert_close(own, fused, rtol=1e-13, atol=1e-13)
        slopes = [torch.autograd.grad((out * along).sum(), weight)[0] for out in (own, fused)]
        torch.testing.assert_close(*slopes, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "rows",
    [
        nn.EmbeddingBag(7, 4),
        nn.EmbeddingBag(7, 4, mode="max"),
        nn.EmbeddingBag(7, 4, sparse=True, mode="sum", padding_idx=2),
        nn.Embedding(7, 4, sparse=True),
        nn.Embedding(7, 4, max_norm=100.0),
    ],
    ids=["bag", "max", "sparse bag", "sparse", "rescaled"],
)
def test_hessians_of_embeddings(rows: nn.Module) -> None:
    f = words(rows)
    x = f.point()
    torch.testing.assert_close(f.gradient(x), torchs_gradient(f, x), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ls.Hessian(f).dense(), by_differences(f), rtol=1e-7, atol=1e-9)


def test_points_passed_in_keep_their_numbers() -> None:
    """``max_norm`` rescales rows in place: those of a copy."""
    f = words(nn.Embedding(7, 4, max_norm=0.1))
    x = f.point()
    f.value(x)
    f.gradient(x)
    torch.testing.assert_close(x, f.point(), rtol=0, atol=0)
    assert float(f.model.rows.weight.detach().norm(dim=1).min()) > 0.1  # type: ignore[union-attr, operator]


def test_a_padding_row_is_no_kink() -> None:
    """Torch holds it where it is: it has no gradient, though the loss depends on it."""
    f = words(nn.Embedding(7, 4, padding_idx=2))
    assert checks.kinks(f, f.point()).status is checks.Status.OK


@pytest.mark.parametrize("tied", [False, True])
def test_a_padding_row_stays_where_the_model_has_it(tied: bool) -> None:
    """As torch trains: the row is a constant of the embedding, and a variable of what else uses the
    weight. Truth: autograd of the same loss with the row cut out by hand."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rows, self.out = nn.Embedding(6, 3, padding_idx=0), nn.Linear(3, 6, bias=False)
            if tied:
                self.out.weight = self.rows.weight
            with torch.no_grad():
                self.rows.weight[0] = 0.7

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(torch.tanh(self.rows(ids).mean(1)))

    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 6, (12, 4), generator=draws)
    y = torch.randint(0, 6, (12,), generator=draws)
    model = Words().double()
    f = ls.ModelLandscape(model, F.cross_entropy, [(ids, y)])
    own = model.rows.weight.detach()[:1].clone()

    def by_hand(x: Tensor) -> Tensor:
        weight = x[:18].view(6, 3)
        rows = torch.cat([own, weight[1:]])
        out = weight if tied else x[18:].view(6, 3)
        return F.cross_entropy(torch.tanh(rows[ids].mean(1)) @ out.T, y)

    for x in (f.point(), f.point() + 0.3):
        torch.testing.assert_close(f.value(x), by_hand(x))
        torch.testing.assert_close(f.gradient(x), torch.func.grad(by_hand)(x))
        truth = torch.autograd.functional.hessian(by_hand, x)
        torch.testing.assert_close(ls.Hessian(f, x).dense(), truth)
    by_name = {check.name: check for check in ls.check(f)}
    assert by_name["chain"].status is checks.Status.NOTE
    assert "rows pads with (padding_idx)" in by_name["chain"].message


def test_compiled_models_are_run_uncompiled() -> None:
    plain = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    batches = [(torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64))]
    expected = ls.Hessian(ls.ModelLandscape(plain, F.mse_loss, batches)).dense()
    whole: Any = torch.compile(plain, backend="aot_eager")
    compiled = ls.ModelLandscape(whole, F.mse_loss, batches)
    torch.testing.assert_close(ls.Hessian(compiled).dense(), expected, rtol=1e-14, atol=0)


def test_activation_checkpointing_is_exact_and_no_matter() -> None:
    class Saving(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            from torch.utils.checkpoint import checkpoint

            found: Tensor = checkpoint(
                lambda x: torch.tanh(super(Saving, self).forward(x)), x, use_reentrant=False
            )
            return found

    model = nn.Sequential(Saving(2, 3), nn.Linear(3, 1)).double()
    f = ls.ModelLandscape(
        model, F.mse_loss, [(torch.randn(5, 2).double(), torch.randn(5, 1).double())]
    )
    found = {c.name: c for c in ls.check(f, f.point())}["kernels"]
    assert found.status is checks.Status.OK
    plain = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    for there, here in zip(plain.parameters(), model.parameters(), strict=True):
        there.data.copy_(here)
    g = ls.ModelLandscape(plain, F.mse_loss, f.batches)
    torch.testing.assert_close(ls.Hessian(f).dense(), ls.Hessian(g).dense(), rtol=1e-13, atol=1e-13)


def test_what_is_only_stored_elsewhere_is_no_checkpointing() -> None:
    class Offloading(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autograd.graph.save_on_cpu():
                return torch.tanh(super().forward(x))

    model = nn.Sequential(Offloading(2, 3), nn.Linear(3, 1)).double()
    f = ls.ModelLandscape(
        model, F.mse_loss, [(torch.randn(5, 2).double(), torch.randn(5, 1).double())]
    )
    assert {c.name: c for c in ls.check(f, f.point())}["kernels"].status is checks.Status.OK


def test_rows_that_are_rescaled_and_parametrised() -> None:
    torch.manual_seed(0)
    rows = nn.utils.parametrizations.weight_norm(nn.Embedding(7, 3, max_norm=0.5))
    f = ls.ModelLandscape(
        nn.Sequential(rows, nn.Flatten(), nn.Linear(9, 3)), F.cross_entropy, [(TOKENS, LABELS)]
    )
    torch.testing.assert_close(
        f.value(f.point()), F.cross_entropy(f.model(TOKENS), LABELS).detach()
    )


@pytest.mark.parametrize("include", ["*", "bias"])
def test_rows_that_are_rescaled_and_tied(include: str) -> None:
    """The other user of the matrix sees the rescaled rows too, as in torch; nobody else's numbers are written to."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.head = nn.Embedding(7, 4, max_norm=0.5), nn.Linear(4, 7, bias=False)
            self.head.weight, self.bias = self.rows.weight, nn.Parameter(torch.zeros(7))

        def forward(self, tokens: Tensor) -> Tensor:
            found: Tensor = self.head(self.rows(tokens)) + self.bias
            return found

    torch.manual_seed(0)
    model = Tied()
    f = ls.ModelLandscape(model, F.cross_entropy, [(TOKENS[:, 0], LABELS)], include=include)
    before, x = model.rows.weight.detach().clone(), f.point()
    found = f.value(x)
    assert torch.equal(model.rows.weight, before)
    assert torch.equal(x, f.point())
    torch.testing.assert_close(found, F.cross_entropy(model(TOKENS[:, 0]), LABELS).detach())


def test_bags_without_offsets_are_named() -> None:
    bag: Any = nn.EmbeddingBag(7, 3)
    bag.forward = lambda tokens: F.embedding_bag(tokens[:, 0], bag.weight)
    f = ls.ModelLandscape(bag, F.cross_entropy, [(TOKENS, LABELS)])
    with pytest.raises(ls.LoadingError, match="needs offsets"):
        f.value(f.point())


class Experts(nn.Module):
    """Rows in groups, each group by a matrix of its own, as the mixtures of transformers do it."""

    def __init__(self, fused: bool, ends: list[int]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.matrices = nn.Parameter(torch.randn(len(ends), 3, 2, dtype=torch.float64))
        self.config = SimpleNamespace(_experts_implementation="grouped_mm")
        self.fused, self.ends = fused, ends

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            offsets = torch.tensor(self.ends, dtype=torch.int32)
            return F.grouped_mm(x, self.matrices, offs=offsets).tanh()
        starts = [0, *self.ends[:-1]]
        parts = [x[a:b] @ m for a, b, m in zip(starts, self.ends, self.matrices, strict=True)]
        return torch.cat([*parts, x.new_zeros(len(x) - self.ends[-1], 2)]).tanh()


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped_mm")
@pytest.mark.parametrize("ends", [[3, 6], [2, 2, 6], [0, 4, 5], [1, 4], [6]])
def test_experts_in_double_precision(ends: list[int]) -> None:
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    fused, plain = (
        ls.ModelLandscape(Experts(kind, ends), F.mse_loss, [(x, y)]) for kind in (True, False)
    )
    point = plain.point()
    assert torch.equal(fused.value(point), plain.value(point))
    assert torch.allclose(fused.gradient(point), plain.gradient(point), rtol=1e-13)
    truth = ls.Hessian(plain).dense()
    assert torch.allclose(ls.Hessian(fused).dense(), truth, rtol=1e-12, atol=1e-14)


def test_hard_sigmoids_have_a_second_derivative() -> None:
    """Against the dense Hessian by torch of the same net with relu6(x + 3) / 6."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid(), nn.Linear(4, 2)).double()
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)
    f = ls.ModelLandscape(model, nn.MSELoss(), [(x, y)])

    def loss(point: Tensor) -> Tensor:
        a, b, c, d = (
            p.view_as(q)
            for p, q in zip(point.split([12, 4, 8, 2]), model.parameters(), strict=True)
        )
        return F.mse_loss(F.linear(F.relu6(F.linear(x, a, b) + 3) / 6, c, d), y)

    H = ls.Hessian(f)
    truth = torch.autograd.functional.hessian(loss, f.point())
    torch.testing.assert_close(H.dense(), truth, rtol=1e-12, atol=1e-14)
    assert H.method != "finite-difference"
    assert not [c for c in ls.check(f) if c.status in (c.status.WARNING, c.status.BROKEN)]
