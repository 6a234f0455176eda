"""A product as one compiled program says what the graphs kept say, or is dropped; what a GPU makes of it is not seen here.

CUDA graphs are in tests/gpu/test_graphs.py.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import plain_loss, problem
from torch import Tensor, nn

import landscape as ls
from landscape.operators.programs import CHECKED, Program, compiled

Map = Callable[[Tensor], Tensor]


def landscape(kind: str, **options: Any) -> ls.ModelLandscape:
    net = problem(kind)
    return ls.ModelLandscape(net.model, net.loss, net.batches(7), l2=net.l2 or None, **options)


def compiling(monkeypatch: pytest.MonkeyPatch, make: Callable[[Map], Map]) -> None:
    """In the place of torch's compiler, which takes some ten seconds: what is traced is the truth."""
    monkeypatch.setattr(torch, "compile", lambda traced, mode: make(traced))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tanh-mlp", "conv", "batch-norm", "weight-norm", "encoder"])
def test_what_is_traced_is_the_dense_hessian(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, point = plain_loss(problem(kind))
    A = torch.autograd.functional.hessian(objective, point, vectorize=kind != "group-norm")
    compiling(monkeypatch, lambda traced: traced)
    H = ls.Hessian(landscape(kind), method="compiled")
    V = torch.randn(len(A), CHECKED + 3, dtype=torch.float64)
    for v in V.T:
        assert (H @ v - A @ v).norm() <= 1e-11 * A.norm() * v.norm()
    assert (H @ V - A @ V).norm() <= 1e-11 * A.norm() * V.norm()
    assert not H.notes


@pytest.mark.slow
@pytest.mark.skipif("LANDSCAPE_COMPILER" not in os.environ, reason="it takes some ten seconds")
def test_torchs_compiler() -> None:
    """On this machine's CPU, in float32, dropout masks among the constants."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
    data = [(torch.randn(20, 6), torch.randint(3, (20,)))]
    f = ls.ModelLandscape(model, F.cross_entropy, data, mode="train")
    H, K = ls.Hessian(f, method="compiled"), ls.Hessian(f)
    V = torch.randn(f.dim, CHECKED + 2)
    for v in V.T:
        torch.testing.assert_close(H @ v, K @ v, rtol=1e-4, atol=1e-6)
    assert not H.notes
    exact = ls.eigsh(K, 2, exact=8)
    pairs = ls.eigsh(H, 2, exact=8)
    assert ((pairs.values - exact.values).abs() <= pairs.bounds + exact.bounds).all()


def wrong_later(traced: Map) -> Map:
    """A replay that gives what it was recorded with, as a CUDA graph of memory that has moved would."""
    results: list[Tensor] = []

    def run(v: Tensor) -> Tensor:
        results.append(traced(v))
        return results[min(1, len(results) - 1)]

    return run


def broken(traced: Map) -> Map:
    raise RuntimeError("no C++ compiler")


WRONG: dict[str, tuple[Callable[[Map], Map], str]] = {
    "off": (lambda traced: lambda v: 1.001 * traced(v), "off by"),
    "not finite": (lambda traced: lambda v: traced(v) * float("nan"), "off by"),
    "stale": (wrong_later, "off by"),
    "broken": (broken, "RuntimeError: no C++ compiler"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_differs_is_dropped_and_never_seen(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, words = WRONG[case]
    compiling(monkeypatch, make)
    H, K = (ls.Hessian(landscape("regression"), method=m) for m in ("compiled", "retained"))
    for v in torch.randn(CHECKED + 2, H.shape[0], dtype=torch.float64):
        assert torch.equal(H @ v, K @ v)
    assert "compiled product was dropped" in H.notes[0]
    assert words in H.notes[0]


def test_memory_that_runs_out_is_not_the_compilers_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(traced: Map) -> Map:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    compiling(monkeypatch, full)
    H = ls.Hessian(landscape("regression"), method="compiled")
    v = torch.ones(H.shape[0], dtype=torch.float64)
    torch.testing.assert_close(H @ v, ls.Hessian(landscape("regression")) @ v)
    assert [note.split()[0] for note in H.notes] == ["graphs"]
    with pytest.raises(torch.OutOfMemoryError):
        Program(lambda v: 2 * v, partial(compiled, lambda v: 2 * v), 1e-16)(v)


def test_a_released_program_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Map] = []

    def make(traced: Map) -> Map:
        made.append(traced)
        return traced

    compiling(monkeypatch, make)
    H = ls.Hessian(landscape("regression"), method="compiled")
    v = torch.ones(H.shape[0], dtype=torch.float64)
    first = H @ v
    H.release()
    assert torch.equal(H @ v, first)
    assert len(made) == 2


def test_it_is_for_whole_points() -> None:
    f = landscape("regression")
    assert ls.Hessian(f).method == "auto"
    with pytest.raises(ValueError, match="method must be one of"):
        ls.Hessian(f, method="engine")
    with pytest.raises(ValueError, match="is for points on a CUDA device, and this one is on cpu"):
        ls.Hessian(f, method="cuda-graph")
