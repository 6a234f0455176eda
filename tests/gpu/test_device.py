"""What a GPU must not be made to do: wait, copy, start kernels for nothing; and what is done when its memory runs out.

Counts are those of the simulated device, ``pytest --simulated-cuda``; on a card the tests that count are skipped.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import simcuda
import torch
from torch import nn

import landscape as ls
from landscape.landscapes import data as data_of_landscapes
from landscape.linalg import reductions
from landscape.linalg.krylov import Basis

F = nn.functional
pytestmark = pytest.mark.gpu


@pytest.fixture
def counts() -> simcuda.Counts:
    if not simcuda.installed():
        pytest.skip("waits and copies are counted on the simulated device")
    return simcuda.counts


def net(width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(width, 3)).to("cuda")


def data(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """On the host, where loaders leave them."""
    draws = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 6, generator=draws), torch.randint(3, (16,), generator=draws))
        for _ in range(count)
    ]


def landscape(**options: Any) -> ls.ModelLandscape:
    return ls.ModelLandscape(net(), F.cross_entropy, data(), **options)


METHODS = ("retained", "rebuilt")


@pytest.mark.parametrize("method", METHODS)
def test_a_second_product_neither_waits_nor_copies(method: str, counts: simcuda.Counts) -> None:
    f = landscape()
    H, v = ls.Hessian(f, method=method), f.point()
    H @ v
    counts.clear()
    H @ v
    assert not counts.waits
    assert not counts.copies


def test_what_a_caller_saves_on_the_host_is_not_copied_back(counts: simcuda.Counts) -> None:
    f = landscape()
    H, v = ls.Hessian(f, method="retained"), f.point()
    with torch.autograd.graph.save_on_cpu():
        H @ v
        counts.clear()
        H @ v
    assert not counts.waits
    assert not counts.copies


def test_kernels_of_a_product(counts: simcuda.Counts) -> None:
    """About what two gradients start, with graphs kept, and three and a half without."""
    f = landscape()
    v = f.point()
    f.gradient(v)
    counts.clear()
    f.gradient(v)
    gradient = counts.kernels.total()
    started = {}
    for method in METHODS:
        H = ls.Hessian(f, method=method)
        H @ v
        counts.clear()
        H @ v
        started[method] = counts.kernels.total()
    assert started["retained"] <= 2.05 * gradient
    assert started["rebuilt"] <= 3.5 * gradient


def test_lanczos_waits_only_when_the_host_looks(counts: simcuda.Counts) -> None:
    basis = Basis(ls.Hessian(landscape()), 30, np.random.SeedSequence(0))
    basis.start()
    basis.grow(2)
    basis.ritz()
    counts.clear()
    basis.grow(10)
    assert not counts.waits
    assert not counts.copies
    basis.ritz()
    assert counts.waits.total() <= 2


def test_waits_of_a_search_for_eigenpairs(counts: simcuda.Counts) -> None:
    """At most one wait a product, the checks at the end included."""
    H = ls.Hessian(landscape())
    pairs = ls.eigsh(H, 3, 2)
    assert pairs.converged
    assert counts.waits.total() <= pairs.products


@pytest.mark.parametrize(("method", "most"), [("dense", 180), ("lanczos", 155)])
def test_waits_of_an_analysis(method: str, most: int, counts: simcuda.Counts) -> None:
    """All stages together; counted 161 and 135 for some 455 and 293 products."""
    f = landscape()
    counts.clear()
    ls.analyze(f, method=method)
    assert counts.waits.total() <= most


@pytest.mark.parametrize("rows", [1, 7])
def test_an_ensemble_never_waits(rows: int, counts: simcuda.Counts) -> None:
    f = ls.FunctionLandscape(lambda x: (x**2).sum(-1), dim=3)
    X = torch.ones(rows, 3, dtype=torch.float64, device="cuda")
    counts.clear()
    f.gradients(X)
    assert not counts.waits


@pytest.mark.parametrize("read", [list, lambda batches: Anew(batches)], ids=["list", "read anew"])
def test_batches_that_do_not_fit_are_copied_ahead(
    read: Callable[[list[Any]], Any], counts: simcuda.Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From pinned memory, the next one's copy before a batch is used; values are the same."""
    plain = ls.ModelLandscape(net(), F.cross_entropy, data(4))
    truth = ls.Hessian(plain) @ plain.point()
    monkeypatch.setattr(data_of_landscapes, "BATCHES", 0.0)
    f = ls.ModelLandscape(net(), F.cross_entropy, read(data(4)))
    if read is not list:
        f.batches.kept = None  # as beyond 1 GiB
    H, v = ls.Hessian(f, method="rebuilt"), f.point()
    assert torch.allclose(H @ v, truth, atol=1e-6)
    copied = []
    f.model.register_forward_pre_hook(lambda *_: copied.append(counts.copies.total()))
    counts.clear()
    H @ v
    assert copied == [4, 6, 8, 8]  # inputs and targets of two batches before the first is used
    assert {what for what, _ in counts.copies} == {"host to cuda:0, ahead"}
    assert not counts.waits


class Anew:
    """Batches that are made anew whenever they are read."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (tuple(t.clone() for t in batch) for batch in self.batches)


def test_what_a_model_on_the_host_holds_is_placed_once(counts: simcuda.Counts) -> None:
    """Parameters that are not analysed, buffers, plain tensors: none is copied at a second product."""

    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm = net().cpu(), nn.BatchNorm1d(6)
            self.scale = torch.full((6,), 1.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.norm(x * self.scale))

    model = Held()
    model.norm.weight.requires_grad_(False)
    f = ls.ModelLandscape(model, F.cross_entropy, data(), device="cuda", exclude="inner.0.*")
    here = ls.ModelLandscape(model, F.cross_entropy, data(), exclude="inner.0.*")
    for method in METHODS:
        H, v = ls.Hessian(f, method=method), f.point()
        torch.testing.assert_close((H @ v).cpu(), ls.Hessian(here) @ v.cpu())
        counts.clear()
        H @ v
        assert not counts.waits
        assert not counts.copies


def test_values_are_those_of_the_cpu() -> None:
    there = landscape(dtype=torch.float64)
    here = ls.ModelLandscape(net().cpu(), F.cross_entropy, data(), dtype=torch.float64)
    at, mine = ls.classify(there, method="lanczos"), ls.classify(here, method="lanczos")
    assert at.kind == mine.kind
    gap = (at.eigenvalues - mine.eigenvalues).abs()
    assert (gap <= at.uncertainty + mine.uncertainty).all()


def test_data_written_into_are_copied_again() -> None:
    batches = data(2)
    f = ls.ModelLandscape(net(), F.cross_entropy, batches)
    before = f.value(f.point())
    batches[0][0].mul_(2.0)
    fresh = ls.ModelLandscape(net(), F.cross_entropy, batches)
    assert f.value(f.point()) != before
    assert f.value(f.point()) == fresh.value(fresh.point())


def test_a_model_split_over_devices_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 4).to("cuda"), nn.Linear(4, 3))
    with pytest.raises(
        ValueError, match="split over cpu, cuda:0, and a landscape is computed on one"
    ):
        ls.ModelLandscape(model, F.cross_entropy, data())


def test_provenance_names_the_card() -> None:
    told = ls.points.spectrum(landscape(), largest=2, smallest=0).provenance.arithmetic
    assert told["card"] == torch.cuda.get_device_name()
    assert set(told) == {"precision", "card", "cuda", "cudnn"}


# ---- memory -----------------------------------------------------------------------------------------


@pytest.fixture
def small(counts: simcuda.Counts) -> ls.ModelLandscape:
    """Whose graphs take far more than its parameters."""
    draws = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(256, 6, generator=draws), torch.randint(3, (256,), generator=draws))
        for _ in range(8)
    ]
    return ls.ModelLandscape(net(), F.cross_entropy, batches)


def test_out_of_memory_falls_back_to_graphs_rebuilt_and_says_so(small: ls.ModelLandscape) -> None:
    v = small.point()
    truth = ls.Hessian(small, method="rebuilt") @ v
    H = ls.Hessian(small, memory=2**30)
    with simcuda.limited(600_000):
        product = H @ v
    assert torch.allclose(product, truth, atol=1e-6)
    assert not H.retained
    assert "rebuilt at every product" in H.notes[0]
    assert not H.why  # which is of kernels without a second derivative
    plenty = ls.Hessian(small, memory=2**30)
    plenty @ v
    assert plenty.retained
    assert not plenty.notes


def test_out_of_memory_is_never_a_missing_derivative(small: ls.ModelLandscape) -> None:
    v = small.point()
    for method in ("auto", "rebuilt"):
        H = ls.Hessian(small, method=method)
        with simcuda.limited(1000), pytest.raises(torch.OutOfMemoryError):
            H @ v
        assert H.method == method


def peak(f: ls.ModelLandscape, v: torch.Tensor) -> int:
    """Bytes that a product takes at most, graphs rebuilt."""
    with simcuda.limited(2**40) as memory:
        ls.Hessian(f, method="rebuilt") @ v
    return memory.peak


def test_what_not_even_one_graph_fits_is_cut_into_pieces(small: ls.ModelLandscape) -> None:
    v = small.point()
    H, truth = ls.Hessian(small, memory=2**30), ls.Hessian(small) @ v
    with simcuda.limited(peak(small, v) // 3):
        product = H @ v
        gradient = small.gradient(v)
    assert torch.allclose(product, truth, atol=1e-6)
    assert torch.allclose(gradient, small.copy().gradient(v), atol=1e-6)
    assert small.pieces >= 4
    assert [note.split()[0] for note in H.notes] == ["graphs", "every"]
    assert not H.why
    assert H.method == "auto"


def test_a_basis_that_the_device_does_not_hold_lies_on_the_host(counts: simcuda.Counts) -> None:
    """From the start, or as soon as a product has no room beside it; the answer is that of the dense matrix."""
    f = landscape(dtype=torch.float64)
    truth = torch.linalg.eigvalsh(ls.Hessian(f).dense())
    v, n = f.point(), f.dim
    basis = 8 * n * (2 * 3 + 20 + 1)
    for limit in (peak(f, v) + basis // 2, basis + peak(f, v) // 3):
        fresh = landscape(dtype=torch.float64)
        H = ls.Hessian(fresh)
        with simcuda.limited(limit):
            pairs = ls.eigsh(H, 3, exact=8, max_basis=26)
        assert pairs.converged
        assert pairs.vectors.is_cuda
        assert ((pairs.values - truth[-3:].cpu()).abs() <= pairs.bounds).all()
        assert "Krylov basis lay in the host's memory" in H.notes[-1]
    plenty = ls.Hessian(f)
    ls.eigsh(plenty, 3, exact=8, max_basis=26)
    assert not plenty.notes


class Diagonal:
    """diag(d) as an operator on the device."""

    def __init__(self, d: torch.Tensor) -> None:
        self.d, self.shape, self.dtype, self.device = d, (len(d), len(d)), d.dtype, d.device
        self.notes: list[str] = []

    def __matmul__(self, V: torch.Tensor) -> torch.Tensor:
        return self.d * V if V.ndim == 1 else self.d[:, None] * V

    def remember(self, note: str) -> None:
        self.notes.append(note)


def test_a_basis_that_the_device_does_not_hold_is_narrow_before_it_leaves(
    counts: simcuda.Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tol allows float16, and only there."""
    monkeypatch.setattr(reductions, "RESIDENT", 2**15)
    values = torch.cat([torch.linspace(0, 1, 20_000), torch.linspace(1.3, 2, 4)])
    whole = 4 * len(values) * (26 + 1 + 8)
    for tol, told in ((1e-3, "basis were held in float16, since"), (1e-4, "lay in the host's")):
        H = Diagonal(values.to("cuda"))
        with simcuda.limited(int(0.85 * whole)):
            pairs = ls.eigsh(H, 3, tol=tol, max_basis=26)
        assert pairs.converged
        assert ((pairs.values - values[-3:]).abs() <= pairs.bounds).all()
        assert len(H.notes) == 1
        assert told in H.notes[0]


def test_budgets_are_shares_of_free_memory(counts: simcuda.Counts) -> None:
    f = landscape()
    assert ls.Hessian(f).memory == int(0.4 * simcuda.memory.total)
    with simcuda.limited(10**6):
        assert ls.Hessian(f).memory <= 0.4 * 10**6


# ---- errors that come late --------------------------------------------------------------------------


def test_an_assert_on_the_device_is_one_line() -> None:
    """As CUDA tells it: from any later operation, with no name of the kernel."""

    def late(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with ...")

    f = ls.ModelLandscape(net(), late, data())
    with pytest.raises(ls.LoadingError, match=r"refused its input on the GPU: a label may be out"):
        f.gradient(f.point())
