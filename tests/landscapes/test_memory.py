"""Where memory runs out less is kept and less computed at a time, and the numbers are those of the dense Hessian.

A module raises what an allocator raises for batches above a size; the allocator's own limits are in the last test (a CPU's)
and in tests/gpu.
"""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import KINDS, plain_loss, problem
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import landscape as ls
from landscape.landscapes.memory import fitting
from landscape.landscapes.metrics import evaluator
from landscape.linalg import krylov, reductions
from landscape.paths.families import families
from landscape.points.analyze import spectrum
from landscape.points.fibres import Fibre
from landscape.points.find import FoundPoint
from landscape.points.look import Look
from landscape.points.room import room as of_room
from landscape.points.survive import by_batch

CPU = torch.device("cpu")
SAID = "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": lambda: RuntimeError(SAID),
    "python": MemoryError,
}


SEEN: list[int] = []  # sizes of batches of which a graph was made


class Small(nn.Module):
    """A module for which memory runs out where a graph is made of more than ``most`` samples, or
    ``always`` where it sees more.
    """

    def __init__(
        self,
        inner: nn.Module,
        most: int,
        error: Callable[[], Exception],
        always: bool = False,
    ) -> None:
        super().__init__()
        self.inner, self.most, self.error, self.always = inner, most, error, always

    def forward(self, x: Tensor) -> Tensor:
        if self.always or torch.is_grad_enabled():
            if len(x) > self.most:
                raise self.error()
            SEEN.append(len(x))
        return self.inner(x)


def small(kind: str, most: int, how: str = "cuda", size: int = 23) -> ls.ModelLandscape:
    net = problem(kind)
    l2 = {f"inner.{name}": c for name, c in net.l2.items()} or None
    return ls.ModelLandscape(
        Small(net.model, most, ERRORS[how]), net.loss, net.batches(size), l2=l2
    )


@pytest.mark.parametrize("kind", ["regression", "batch-norm"])
def test_pieces_give_the_dense_hessian(kind: str) -> None:
    objective, point = plain_loss(problem(kind))
    point.requires_grad_()
    A = torch.autograd.functional.hessian(objective, point.detach(), vectorize=True)
    f = small(kind, most=4)
    SEEN.clear()
    x = f.point()
    H = ls.Hessian(f)
    assert (H.dense() - A).norm() <= 1e-12 * A.norm()
    torch.testing.assert_close(f.value(x), objective(point).detach(), rtol=1e-12, atol=0)
    (g,) = torch.autograd.grad(objective(point), point)
    torch.testing.assert_close(f.gradient(x), g, rtol=1e-10, atol=1e-13)
    assert f.pieces == 8
    assert max(SEEN) <= 4
    assert "evaluated in 8 pieces" in H.notes[-1]
    assert not H.why
    assert H.method == "auto"


@pytest.mark.slow
@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_uneven_batches(kind: str, how: str) -> None:
    """Gradient, a block of products, forms by batch; the last batch has 3 samples, the others 10."""
    objective, point = plain_loss(problem(kind))
    point.requires_grad_()
    A = torch.autograd.functional.hessian(objective, point.detach(), vectorize=kind != "group-norm")
    f, plain = small(kind, 3, how, size=10), small(kind, 99, size=10)
    (g,) = torch.autograd.grad(objective(point), point)
    torch.testing.assert_close(f.gradient(f.point()), g, rtol=1e-10, atol=1e-12)
    V = torch.randn(f.dim, 3, dtype=torch.float64)
    H, K = ls.Hessian(f), ls.Hessian(plain)
    assert (H @ V - A @ V).norm() <= 1e-11 * A.norm() * V.norm()
    for ours, theirs in zip(H.quadratic_forms(V), K.quadratic_forms(V), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert f.pieces == 4
    assert plain.pieces == 1
    assert not K.notes


@pytest.mark.parametrize("method", ["retained", "rebuilt", "forward-over-reverse"])
def test_every_exact_method_gives_way(method: str) -> None:
    f = small("tanh-mlp", most=6)
    v = torch.ones_like(f.point())
    product = ls.Hessian(f, method=method) @ v
    torch.testing.assert_close(product, ls.Hessian(small("tanh-mlp", 99)) @ v)
    assert f.pieces == 4


def test_the_gauss_newton_matrix_and_rows_give_way() -> None:
    f, plain = small("tanh-mlp", most=6), small("tanh-mlp", most=99)
    x = f.point()
    torch.testing.assert_close(ls.GaussNewton(f).dense(), ls.GaussNewton(plain).dense())
    f = small("tanh-mlp", most=6)
    X = torch.stack([x, 0.5 * x, 0 * x])
    torch.testing.assert_close(f.many().gradients(X), plain.many().gradients(X))
    torch.testing.assert_close(f.many().values(X), plain.many().values(X))
    assert f.pieces == 4


def smaller(most: int, size: int, loss: Callable[..., Tensor] | None = None) -> ls.ModelLandscape:
    """A network that no more samples fit through, with a graph or without."""
    net = problem("tanh-mlp")
    model = Small(net.model, most, ERRORS["cuda"], always=True)
    l2 = {"inner.*.weight": 0.01}
    return ls.ModelLandscape(model, loss or net.loss, net.batches(size), l2=l2)


def squares(output: Tensor, target: Tensor) -> Tensor:
    """A loss of which it must be tried how it is called, and what it divides by."""
    return F.one_hot(target, 3).sub(output).square().sum(1).mean()


def cubes(output: Tensor, target: Tensor) -> Tensor:
    """A sum over samples."""
    return F.one_hot(target, 3).sub(output).abs().pow(3).sum()


def entries(found: object) -> Tensor:
    """The numbers of a result, one after the other."""
    if isinstance(found, Tensor):
        return found.double().reshape(-1)
    return torch.cat([torch.as_tensor(part).double().reshape(-1) for part in found])  # type: ignore[attr-defined]


def rooms(f: ls.ModelLandscape) -> Tensor:
    room = of_room(Look(f, None, "room"), torch.optim.SGD(f.model.parameters(), lr=0.1), steps=5)
    scales = room.noise_scale, room.preconditioned_noise_scale
    numbers = [room.value, room.critical.value, room.gain, room.sharpness.value]
    return entries([*numbers, *(scale.value for scale in scales)])


def steps_of_adam(f: ls.ModelLandscape) -> Tensor:
    optimizer = torch.optim.Adam(f.model.parameters(), lr=1e-3)
    return torch.tensor(of_room(Look(f, None, "room"), optimizer, steps=5).gain)


def fibres(f: ls.ModelLandscape) -> Tensor:
    assert f.mean.total is (f.reduction == "sum")  # it is measured first, with few samples
    fibre = Fibre(f, f.point(), f.dim - 5, reach=1.0)
    return entries([fibre.here, fibre.units])


def measured(f: ls.ModelLandscape) -> Tensor:
    x, (cells, _) = f.point(), evaluator(f, {"accuracy": "accuracy"})
    return entries(cells(torch.stack([x, 0.5 * x])).values())


FIRST: dict[str, Callable[[ls.ModelLandscape], Tensor]] = {
    "rounding": lambda f: torch.tensor(f.rounding(f.point())),
    "rounding of products": lambda f: torch.tensor(ls.Hessian(f).eps),
    "Gauss-Newton": lambda f: ls.GaussNewton(f) @ torch.ones_like(f.point()),
    "differences": lambda f: ls.Hessian(f, method="finite-difference") @ torch.ones_like(f.point()),
    "shares": lambda f: entries(ls.Hessian(f).batches.values()),
    "first output": lambda f: f.first_output(f.point())[0][:2],
    "losses by batch": lambda f: by_batch(f, f.point()),
    "metrics": measured,
    "room": rooms,
    "steps of Adam": steps_of_adam,
    "fibre": fibres,
    "families": lambda f: entries([family.size for family in families(f)]),
}


@pytest.mark.parametrize("size", [23, 10], ids=["one batch", "uneven batches"])
@pytest.mark.parametrize("loss", [None, squares, cubes], ids=["known", "measured", "sum"])
@pytest.mark.parametrize("first", FIRST)
def test_whatever_is_computed_first_gives_way(
    first: str, loss: Callable[..., Tensor] | None, size: int
) -> None:
    f, plain = smaller(6, size, loss), smaller(99, size, loss)
    found, wanted = FIRST[first](f), FIRST[first](plain)
    assert bool(wanted.isfinite().any())
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9, equal_nan=True)
    untried = first == "shares" and loss is None  # it is known how the loss is called
    assert (f.pieces > 1) is not untried
    assert untried or f"evaluated in {f.pieces} pieces" in f.notes[-1]
    assert plain.pieces == 1


def test_cutting_is_no_rounding() -> None:
    """Batches in float32 are cut before they are moved to float64."""
    net = problem("tanh-mlp")
    x, y = net.batch
    model = Small(net.model.float(), 6, ERRORS["cuda"], always=True)
    f = ls.ModelLandscape(model, net.loss, [(x.float(), y)], dtype=torch.float64)
    assert f.rounding(f.point()) == torch.finfo(torch.float64).eps
    assert f.pieces == 4


@pytest.mark.slow
def test_a_search_gives_way() -> None:
    """To a minimum that is one modulo a shift of all outputs: data that are made for the search are
    cut too.
    """
    net = problem("tanh-mlp")

    def searched(most: int) -> FoundPoint:
        inner = nn.Linear(4, 3).double()
        for p in inner.parameters():
            nn.init.zeros_(p)
        model = Small(inner, most, ERRORS["cuda"], always=True)
        return ls.find_stationary(ls.ModelLandscape(model, net.loss, [net.batch]))

    found, wanted = searched(6), searched(99)
    assert found.kind == wanted.kind
    torch.testing.assert_close(found.eigenvalues, wanted.eigenvalues, rtol=1e-6, atol=1e-8)
    assert any("evaluated in 4 pieces" in reason for reason in found.reasons)


@pytest.mark.parametrize("first", FIRST)
def test_what_cannot_be_cut_ends_as_the_allocator_says(first: str) -> None:
    f = smaller(6, 23, contrastive)
    with pytest.raises(torch.OutOfMemoryError):
        FIRST[first](f)
    assert f.pieces == 1


@pytest.mark.slow
def test_analysis_says_so() -> None:
    report = ls.analyze(small("tanh-mlp", most=6))
    plain = ls.analyze(small("tanh-mlp", most=99))
    assert any("evaluated in 4 pieces" in reason for reason in report.point.reasons)
    assert not any("pieces" in reason for reason in plain.point.reasons)
    assert report.point.kind == plain.point.kind
    torch.testing.assert_close(report.point.eigenvalues, plain.point.eigenvalues)


@pytest.mark.slow
def test_a_spectrum_says_so() -> None:
    f = small("tanh-mlp", most=6)
    found = spectrum(f, largest=2, smallest=2, probes=2, steps=8)
    assert f.pieces > 1
    assert any("pieces" in note for note in found.notes)
    assert "pieces" in str(found)


class Crowded:
    """A diagonal operator for which memory runs out where it sees more than ``most`` vectors."""

    def __init__(self, values: Tensor, most: int) -> None:
        self.values, self.shape, self.most = values, (len(values), len(values)), most
        self.dtype, self.device = values.dtype, values.device

    def __matmul__(self, V: Tensor) -> Tensor:
        if V.ndim == 2 and V.shape[1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.values[:, None] * V if V.ndim == 2 else self.values * V


def test_probes_of_a_density_give_way() -> None:
    values = torch.linspace(-1, 3, 400, dtype=torch.float64)
    found, roomy = (
        ls.spectral_density(Crowded(values, most), probes=8, steps=30) for most in (2, 99)
    )
    torch.testing.assert_close(found.nodes, roomy.nodes, rtol=1e-9, atol=1e-9)  # the same probes
    count = found.count(-2, 0)
    assert count.low <= int((values < 0).sum()) <= count.high
    assert float((found.nodes * found.weights).sum()) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("fails", [1, 2, 5])
def test_a_basis_that_is_turned_goes_on_in_the_hosts_memory(
    fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart that runs out of memory between two slices of the basis."""
    values = torch.linspace(-1, 3, 6_000, dtype=torch.float64) ** 3
    calls = [0]

    def combine(S: Tensor, Q: Tensor, out: Tensor | None = None) -> Tensor:
        calls[0] += 1
        if calls[0] == fails:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return reductions.combine(S, Q, out)

    monkeypatch.setattr(krylov, "combine", combine)
    monkeypatch.setattr(krylov, "may_leave", lambda H: True)
    monkeypatch.setattr(reductions, "CACHED", 2**16)
    pairs = ls.eigsh(Crowded(values, 99), largest=3, smallest=3, tol=1e-4, max_basis=24)
    assert calls[0] > fails
    truth = torch.cat([values[:3], values[-3:]])
    assert bool(((pairs.values - truth).abs() <= pairs.bounds).all())


def test_a_mean_that_is_measured_is_cut_right() -> None:
    """A hand-made mean over kept tokens: its pieces count kept tokens, not samples."""
    draws = torch.Generator().manual_seed(3)
    x = torch.randn(12, 5, 4, generator=draws, dtype=torch.float64)
    y = torch.randint(3, (12, 5), generator=draws)
    y[torch.rand(12, 5, generator=draws) < 0.5] = -1
    y[:3] = -1  # the first pieces count nothing

    def kept_mean(output: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(output.transpose(1, 2), target, ignore_index=-1, reduction="sum")
        return losses / (target != -1).sum()

    def build(most: int) -> ls.ModelLandscape:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        return ls.ModelLandscape(Small(model, most, ERRORS["cuda"]), kept_mean, [(x, y)])

    f, plain = build(2), build(99)
    torch.testing.assert_close(ls.Hessian(f).dense(), ls.Hessian(plain).dense())
    torch.testing.assert_close(f.gradient(f.point()), plain.gradient(plain.point()))
    assert f.pieces == 8


def test_a_sum_is_cut_into_sums() -> None:
    net = problem("regression")

    def total(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().sum()

    def build(most: int, **options: Any) -> ls.ModelLandscape:
        model = Small(net.model, most, ERRORS["cuda"])
        return ls.ModelLandscape(model, total, net.batches(23), **options)

    for options in ({"reduction": "sum"}, {}):
        f, plain = build(6, **options), build(99, **options)
        torch.testing.assert_close(ls.Hessian(f).dense(), ls.Hessian(plain).dense())
        assert f.pieces == 4


def contrastive(output: Tensor, target: Tensor) -> Tensor:
    """Every sample is compared with all others."""
    z = F.normalize(output, dim=1)
    return F.cross_entropy(z @ z.T, torch.arange(len(z)))


def halves(output: Tensor, target: Tensor) -> Tensor:
    """The first half of a batch is compared with the second."""
    half = len(output) // 2
    return (output[:half] - output[half : 2 * half]).square().mean()


class Noisy(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(F.dropout(x, 1e-6, training=True))


def train(kind: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), kind, nn.Tanh(), nn.Linear(6, 3)).double()


REFUSED: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor], str, str]] = {
    "contrastive": (lambda: train(nn.Identity()), contrastive, "eval", "not known"),
    "halves": (lambda: train(nn.Identity()), halves, "eval", "not known"),
    "batch statistics": (lambda: train(nn.BatchNorm1d(6)), F.cross_entropy, "train", "each other"),
    "dropout": (lambda: train(nn.Dropout(0.5)), F.cross_entropy, "train", "random numbers"),
    "rare noise": (lambda: Noisy(train(nn.Identity())), F.cross_entropy, "eval", "random numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_where_samples_see_each_other_nothing_is_cut(case: str) -> None:
    """At a point, too, where values and gradients show nothing: all weights are zero."""
    make, loss, mode, words = REFUSED[case]
    x, y = problem("tanh-mlp").batch
    for scale in (1.0, 0.0):
        f = ls.ModelLandscape(Small(make(), 6, ERRORS["cuda"]), loss, [(x, y)], mode=mode)
        at = scale * f.point()
        H = ls.Hessian(f, at)
        with pytest.raises(torch.OutOfMemoryError):
            H @ f.point()
        with pytest.raises(torch.OutOfMemoryError):
            f.gradient(at)
        assert f.pieces == 1
        assert words in H.notes[-1]
        assert H.method == "auto"
        assert not H.why


def test_too_large_for_a_single_sample() -> None:
    f = small("tanh-mlp", most=0)
    with pytest.raises(torch.OutOfMemoryError):
        f.gradient(f.point())
    assert f.pieces == 1
    assert not f.notes  # memory may be there another time


def test_a_shortage_that_is_over_is_not_remembered_as_a_coupling() -> None:
    f = small("tanh-mlp", most=0)
    with pytest.raises(torch.OutOfMemoryError):
        f.gradient(f.point())
    assert isinstance(f.model, Small)
    f.model.most = 6
    torch.testing.assert_close(f.gradient(f.point()), small("tanh-mlp", 99).gradient(f.point()))


def test_what_a_try_held_is_let_go_before_the_next() -> None:
    """Or memory that ran out would stay full."""
    tries: list[weakref.ref[Tensor]] = []

    def compute() -> int:
        assert all(held() is None for held in tries)
        held = torch.ones(3)
        tries.append(weakref.ref(held))
        if len(tries) < 3:
            raise torch.OutOfMemoryError("full")
        return len(tries)

    def give_way() -> bool:
        assert tries[-1]() is None
        return len(tries) < 5

    assert fitting(compute, give_way, CPU) == 3
    tries.clear()
    with pytest.raises(torch.OutOfMemoryError):
        fitting(compute, lambda: False, CPU)


class Full(TorchDispatchMode):
    """Memory runs out at one operation."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("full")
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
def test_a_pass_that_fails_leaves_no_graph_behind() -> None:
    """Wherever it fails: autograd's engine keeps what was left to do, and so the graph, until it has other things to do."""
    torch.manual_seed(0)
    x = torch.randn(1000, 3, requires_grad=True)

    def large() -> int:
        tensors = (o for o in gc.get_objects() if type(o) is Tensor)
        return sum(len(t) == 1000 for t in tensors if t.ndim == 2)

    def product() -> None:
        (g,) = torch.autograd.grad(x.tanh().square().exp().mean(), x, create_graph=True)
        torch.autograd.grad(g, x, torch.ones_like(x))

    product()
    gc.collect()
    before, places = large(), 0
    for at in range(1, 60, 3):
        full = Full(at)

        def compute(full: Full = full) -> None:
            with full:
                product()

        def give_way() -> bool:
            gc.collect()
            assert large() == before
            return True

        fitting(compute, give_way, CPU)
        places += full.left <= 0
    assert 5 < places < 20  # from the first operation to the last


def test_other_errors_are_no_shortage_of_memory() -> None:
    def compute() -> int:
        raise RuntimeError("derivative for aten::op is not implemented")

    with pytest.raises(RuntimeError, match="not implemented"):
        fitting(compute, lambda: True, CPU)


LIMITED = """
import resource
import torch
import landscape as ls
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
parts = [part for _ in range(4) for part in (nn.Linear(128, 128), nn.Tanh())]
model = nn.Sequential(*parts, nn.Linear(128, 3)).double()
x, y = torch.randn(8000, 128, dtype=torch.float64), torch.randint(3, (8000,))
f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)])
at, v = f.point(), torch.randn(f.dim, dtype=torch.float64)

def plain(flat):
    pieces = flat.split([p.numel() for p in model.parameters()])
    given = {k: t.view_as(p) for (k, p), t in zip(model.named_parameters(), pieces)}
    return nn.functional.cross_entropy(torch.func.functional_call(model, given, (x,)), y)

def product():
    point = at.clone().requires_grad_()
    (g,) = torch.autograd.grad(plain(point), point, create_graph=True)
    (hv,) = torch.autograd.grad(g, point, v)
    return g.detach(), hv

g, hv = product()
few = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x[:4], y[:4])])
ls.Hessian(few) @ v, few.gradient(at)  # what is imported late is there
taken = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (taken + 100 * 2**20, resource.RLIM_INFINITY))
try:
    product()
except RuntimeError as error:
    assert "DefaultCPUAllocator" in str(error), error
else:
    raise SystemExit("the limit does not bite")
H = ls.Hessian(f)
torch.testing.assert_close(H @ v, hv, rtol=1e-9, atol=1e-12)
torch.testing.assert_close(f.gradient(at), g, rtol=1e-9, atol=1e-12)
assert H.method == "auto" and not H.why
print(f.pieces, *H.notes, sep="; ")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_cpus_allocator_that_refuses() -> None:
    freed = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back to the system
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        env=os.environ | freed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split(";")[0]) > 1
    assert "since the memory of cpu does not hold" in done.stdout
