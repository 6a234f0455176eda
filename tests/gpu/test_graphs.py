"""Products as CUDA graphs: what a replay gives is what the graphs kept give, or it is dropped and said.

On the simulated device bits are equal, kernels are counted, and a capture refuses what CUDA refuses.
"""

from collections.abc import Callable
from typing import Any

import pytest
import simcuda
import torch
from nets import Encoder
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import landscape as ls
from landscape.operators import programs
from landscape.operators.programs import CHECKED, Program, aside, recorded

F = nn.functional
pytestmark = pytest.mark.gpu


@pytest.fixture
def simulated() -> None:
    if not simcuda.installed():
        pytest.skip("it is the simulated device that is looked at")


def conv() -> nn.Module:
    parts = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(nn.Unflatten(1, (1, 6)), *parts, nn.Linear(16, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)),
    "conv": conv,
    "encoder": Encoder,
}


def landscape(model: nn.Module, **options: Any) -> ls.ModelLandscape:
    draws = torch.Generator().manual_seed(1)
    first = next(iter(model.children()))
    shape = (36,) if isinstance(first, nn.Linear | Again) else (6, 6)
    data = [
        (torch.randn(7, *shape, generator=draws), torch.randint(3, (7,), generator=draws))
        for _ in range(2)
    ]
    return ls.ModelLandscape(model.to("cuda"), F.cross_entropy, data, l2={"*": 1e-3}, **options)


def vectors(f: ls.ModelLandscape, count: int = CHECKED + 3) -> Tensor:
    draws = torch.Generator().manual_seed(2)
    return torch.randn(count, f.dim, dtype=f.dtype, generator=draws).to("cuda")


def assert_same(found: Tensor, truth: Tensor) -> None:
    """Bit for bit where kernels are the CPU's; on a card libraries may choose others."""
    if simcuda.installed():
        assert torch.equal(found, truth)
    else:
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6 * float(truth.norm()))


def assert_right(H: ls.Hessian, f: ls.ModelLandscape) -> None:
    kept = ls.Hessian(f, method="retained")
    for row in vectors(f):
        v = row.clone()  # which begins where every tensor does: kernels of the CPU tell by bits
        assert_same(H @ v, kept @ v)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_a_replay_is_the_product(kind: str, dtype: torch.dtype) -> None:
    f = landscape(NETS[kind](), dtype=dtype)
    H = ls.Hessian(f, method="cuda-graph")
    assert_right(H, f)
    assert not H.notes
    V = vectors(f).T
    torch.testing.assert_close(H @ V, ls.Hessian(f, method="rebuilt") @ V, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
def test_a_product_is_one_replay(kind: str, simulated: None) -> None:
    """And the copies of the vector into its place and of the product out of it; it waits for nothing."""
    f = landscape(NETS[kind]())
    H = ls.Hessian(f, method="cuda-graph")
    V = vectors(f)
    for v in V[:CHECKED]:
        H @ v
    simcuda.counts.clear()
    H @ V[-1]
    assert simcuda.counts.kernels["replay of a graph"] == 1
    assert simcuda.counts.kernels.total() <= 4
    assert not simcuda.counts.waits
    assert not simcuda.counts.copies


def test_pairs_by_replays() -> None:
    f = landscape(NETS["mlp"]())
    exact = ls.eigsh(ls.Hessian(f, method="retained"), 2, exact=8)
    H = ls.Hessian(f, method="cuda-graph")
    pairs = ls.eigsh(H, 2, exact=8)
    assert pairs.converged
    assert not H.notes
    assert ((pairs.values - exact.values).abs() <= pairs.bounds + exact.bounds).all()


@pytest.mark.parametrize("first", ["forms", "observed"])
def test_whatever_made_the_graphs_first(first: str) -> None:
    """They must be made on the stream that they are recorded on."""
    f = landscape(NETS["mlp"]())
    H = ls.Hessian(f, method="cuda-graph")
    Q = vectors(f, 2)
    if first == "forms":
        H.quadratic_forms(Q.T)
    else:
        H.observed(Q[0], Q, lambda a, b: a.double() @ b.double().T)
    assert_right(H, f)
    assert not H.notes


# ---- what cannot be recorded, or differs --------------------------------------------------------------


class Slope(torch.autograd.Function):
    """x |-> x^2 / 2, whose second derivative is computed by ``how``."""

    how: Callable[[Tensor], Tensor]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x / 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return Linear.apply(g, x)


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return g * x

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        g, x = ctx.saved_tensors
        return Slope.how(u) * x, Slope.how(u) * g


def branching(u: Tensor) -> Tensor:
    return u if bool(u.sum() > 0) else 1 * u


def constant(u: Tensor) -> Tensor:
    return u * torch.tensor([1.0] * u.shape[-1]).to(u.device)


def growing(u: Tensor) -> Tensor:
    """A count of its calls, which the host keeps: the device is told of one of them, ever again."""
    counted.append(1 + len(counted))
    return u * counted[-1]


counted: list[int] = []


OTHERS = {
    "a branch on values": (branching, "stream is capturing"),
    "a constant of the host": (constant, "stream is capturing"),
    "something else each time": (growing, "off by"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_differs_is_dropped_and_said(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how, words = OTHERS[case]
    monkeypatch.setattr(Slope, "how", staticmethod(how), raising=False)

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Slope.apply(x)

    f = landscape(nn.Sequential(nn.Linear(36, 4), Square(), nn.Linear(4, 3)))
    H = ls.Hessian(f, method="cuda-graph")
    for v in vectors(f):
        H @ v
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    (note,) = H.notes
    assert note.startswith("the CUDA graph was dropped (")
    if simcuda.installed():
        assert words in note


class Again(nn.Module):
    """Its activations are computed anew in every backward pass, from the buffers that stand in it then."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        parts = [nn.Linear(36, 6), nn.BatchNorm1d(6), nn.Tanh()]
        self.inner, self.options = nn.Sequential(*parts), options

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x.requires_grad_(), use_reentrant=False, **self.options)


def test_what_a_recording_reads_stays() -> None:
    """Copies of buffers are in a model only while it is evaluated; their addresses are in the graph for good."""
    f = landscape(nn.Sequential(Again(preserve_rng_state=False), nn.Linear(6, 3)))
    H = ls.Hessian(f, method="cuda-graph")
    assert_right(H, f)
    assert not H.notes


def test_what_is_freed_under_a_recording_is_found(
    simulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_storages", lambda values: iter(()))
    f = landscape(nn.Sequential(Again(preserve_rng_state=False), nn.Linear(6, 3)))
    H = ls.Hessian(f, method="cuda-graph")
    assert_right(H, f)
    assert "off by nan" in H.notes[0]


def test_the_state_of_random_numbers_is_not_recorded() -> None:
    f = landscape(nn.Sequential(Again(), nn.Linear(6, 3)))
    H = ls.Hessian(f, method="cuda-graph")
    assert_right(H, f)
    assert "the CUDA graph was dropped" in H.notes[0]


def test_memory_that_a_recording_lacks(simulated: None) -> None:
    """The graphs kept fit, one more pass beside them does not; and what a graph holds goes with it."""
    f = landscape(NETS["conv"]())
    v = vectors(f)[0]
    truth = ls.Hessian(f, method="retained") @ v
    used, peak = {}, {}
    for method in ("retained", "cuda-graph"):
        with simcuda.limited(2**40) as memory:
            H = ls.Hessian(f, method=method)
            H @ v
            used[method], peak[method] = memory.used, memory.peak
            H.release()
            assert memory.used < used["retained"] / 2
    assert used["cuda-graph"] > 1.2 * used["retained"]
    with simcuda.limited((peak["retained"] + peak["cuda-graph"]) // 2):
        H = ls.Hessian(f, method="cuda-graph")
        assert torch.equal(H @ v, truth)
    assert "the CUDA graph was dropped (CUDA out of memory" in H.notes[0]
    assert H.retained


# ---- the simulated capture --------------------------------------------------------------------------


def captured(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    # torch leaves the stream of a capture that has failed the current one
    with aside(torch.cuda.Stream()), torch.cuda.graph(graph):
        work()
    return graph


def ones() -> Tensor:
    return torch.ones(4, device="cuda")


REFUSED: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: x.copy_(torch.zeros(4)),
    "index of the host": lambda x: x[torch.tensor([0, 1])],
    "seed": lambda x: torch.cuda.manual_seed(0),
    "random state": lambda x: torch.cuda.get_rng_state(),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_capture_refuses(case: str, simulated: None) -> None:
    x = ones()
    with pytest.raises(RuntimeError, match="operation failed due to a previous error") as told:
        captured(lambda: REFUSED[case](x))
    assert "not permitted when stream is capturing" in str(told.value.__context__)
    assert not torch.cuda.is_current_stream_capturing()


def test_nothing_is_run_before_a_replay(simulated: None) -> None:
    x, total = ones(), torch.zeros(4, device="cuda")
    found: list[Tensor] = []
    graph = captured(lambda: found.append(2 * total.add_(x)[:2]))
    assert total.cpu().tolist() == [0.0] * 4
    assert found[0].isnan().all()
    for i in range(1, 4):
        graph.replay()
        assert total.cpu().tolist() == [float(i)] * 4
        assert found[0].cpu().tolist() == [2.0 * i] * 2
    x.fill_(10.0)
    graph.replay()
    assert total.cpu().tolist() == [13.0] * 4


def test_a_pass_through_nodes_of_another_stream_is_refused(simulated: None) -> None:
    x = ones().requires_grad_()
    stream = torch.cuda.Stream()
    y = x.exp().sum() * 2
    with (
        pytest.raises(RuntimeError, match="previous error") as told,
        aside(torch.cuda.Stream()),
        torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream),
    ):
        torch.autograd.grad(y, x, retain_graph=True)
    assert "depend on a capturing blocking stream" in str(told.value.__context__)
    assert torch.cuda.current_stream() is not stream
    with pytest.raises(RuntimeError, match="non-default stream"):
        torch.cuda.CUDAGraph().capture_begin()


def test_a_program_of_any_map() -> None:
    A = torch.randn(5, 5, device="cuda")
    stream = torch.cuda.Stream()
    program = Program(lambda v: A @ v, lambda v: recorded(lambda u: A @ u, v), 1e-7)
    for v in torch.randn(CHECKED + 3, 5, device="cuda"):
        with aside(stream):
            found = program(v)
        torch.testing.assert_close(found, A @ v)
    assert not program.dropped
