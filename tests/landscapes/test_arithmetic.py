"""No global setting of torch changes a number of a landscape, and bounds hold in arithmetic coarser than float32.

Truth is float64: the dense Hessian of the same function at the same point, in full.
"""

import copy
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from coarse import Coarse, always, as_flagged
from torch import nn
from torch.overrides import BaseTorchFunctionMode

import landscape as ls
from landscape.landscapes.arithmetic import owned, settings
from landscape.loading.problems import device as loading_device
from landscape.operators import hessian
from landscape.points.look import Look

F = nn.functional
CUDNN: Any = torch.backends.cudnn
MKLDNN: Any = torch.backends.mkldnn
# Random cases under coarse arithmetic; LANDSCAPE_COARSE_CASES=1000 for the long run.
CASES = int(os.environ.get("LANDSCAPE_COARSE_CASES", "6"))


# ---- global settings --------------------------------------------------------------------------------


@contextmanager
def setting(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> Iterator[None]:
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


def attribute(owner: object, name: str, value: object) -> AbstractContextManager[None]:
    return setting(lambda: getattr(owner, name), lambda v: setattr(owner, name, v), value)


def device(name: str) -> AbstractContextManager[None]:
    return setting(lambda: None, torch.set_default_device, name)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "autocast bf16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast f16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "matmul high": lambda: setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "high"
    ),
    "matmul medium": lambda: setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "cuda tf32, newer": lambda: attribute(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "cudnn tf32, newer": lambda: attribute(CUDNN.conv, "fp32_precision", "tf32"),
    "cudnn ieee, newer": lambda: attribute(CUDNN.conv, "fp32_precision", "ieee"),
    "all tf32, newer": lambda: attribute(torch.backends, "fp32_precision", "tf32"),
    "mkldnn bf16": lambda: attribute(MKLDNN.matmul, "fp32_precision", "bf16"),
    "benchmark": lambda: attribute(torch.backends.cudnn, "benchmark", True),
    "deterministic": lambda: setting(
        torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 2
    ),
    "default dtype f64": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "default dtype f16": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float16
    ),
    "default dtype bf16": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16
    ),
    "all bf16, newer": lambda: attribute(torch.backends, "fp32_precision", "bf16"),
    "default device meta": lambda: device("meta"),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "anomaly mode": (
        lambda: torch.autograd.set_detect_anomaly(True)
    ),
    "saved on the host": torch.autograd.graph.save_on_cpu,
    "saved in half precision": lambda: torch.autograd.graph.saved_tensors_hooks(halved, restored),
    "saved without hooks": lambda: torch.autograd.graph.disable_saved_tensors_hooks("no hooks"),
    "backward in one thread": lambda: torch.autograd.set_multithreading_enabled(False),
    "compiler off": lambda: torch.compiler.set_stance("force_eager"),
    "function mode": BaseTorchFunctionMode,
}  # fmt: skip


def halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def restored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def net() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draws) / 2)
    return made


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(24, 4, generator=draws)
    y = torch.randint(3, (24,), generator=draws)
    return [(x[:16], y[:16]), (x[16:], y[16:])]


def conv_net() -> nn.Module:
    made = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 3)
    )
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draws) / 2)
    return made


def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 1, 6, 6, generator=draws), torch.randint(3, (16,), generator=draws)
    return [(x, y)]


def wells(x: torch.Tensor) -> torch.Tensor:
    return (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2


def others(
    model: nn.Module,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    of: Callable[..., ls.ModelLandscape],
    g: ls.FunctionLandscape,
    minima: torch.Tensor,
) -> dict[str, Callable[[], object]]:
    """As ``jobs``: what came later."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    other = net()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1 * p.sign())

    def blocks() -> object:
        found = ls.points.blocks(of())
        return found.layers, found.norms.tolist(), found.picture.tolist()

    def compared() -> object:
        fs = [ls.ModelLandscape(m, F.cross_entropy, batches) for m in (model, other)]
        found = ls.compare(fs, resolution=3, method="dense")
        return found.barriers.tolist(), found.aligned.tolist(), found.signs

    def survived(change: str) -> object:
        found = ls.points.survive(of(), change)
        return found.whole.measured.value, found.whole.third, found.keep

    def roomy() -> object:
        found = ls.points.room(Look(of(), None, "room"), optimizer)
        return found.low, found.high, found.gain

    def spectrum() -> object:
        found = ls.points.spectrum(of(), largest=2, smallest=2, steps=8)
        return found.pairs.values.tolist(), found.sampling_errors.tolist()

    def traced_loop() -> object:
        """The loop itself is the user's: in float64, where no setting reaches it."""
        with torch.inference_mode(False), torch.enable_grad(), owned():
            loop = copy.deepcopy(model).double()
            f = ls.ModelLandscape(loop, F.cross_entropy, batches)
            sgd = torch.optim.SGD(loop.parameters(), lr=0.1)
        with ls.Tracer(sgd, f, every=2) as tracer:
            for _ in range(4):
                with torch.inference_mode(False), torch.enable_grad(), owned():
                    sgd.zero_grad()
                    F.cross_entropy(loop(batches[0][0].double()), batches[0][1]).backward()
                    sgd.step()
        trace = tracer.result
        return trace.loss.tolist(), [cause.name for cause in ls.diagnose(trace).causes]

    def connected() -> object:
        f = of(torch.float64)
        found = ls.paths.connect(f, f.point(), 0.5 * f.point(), steps=20, resolution=5)
        return found.barrier

    def edge() -> object:
        f = of(torch.float64)
        found = ls.optimizers.edge_of_stability(f, f.point(), ["sgd:lr=0.1"], steps=20, every=10)
        return [(run.losses.tolist(), run.sharpness.tolist()) for run in found.runs.values()]

    return {
        "blocks": blocks,
        "compare": compared,
        "families": lambda: [
            (f.size, len(f.junctions)) for f in ls.paths.families.families(of(torch.float64))
        ],
        "survive int8": lambda: survived("int8"),
        "survive prune": lambda: survived("prune:0.5"),
        "survive noise": lambda: survived("noise:0.1"),
        "room": roomy,
        "spectrum": spectrum,
        "connect": connected,
        "profile": lambda: ls.paths.profile(g, minima, resolution=3).values.tolist(),
        "tree": lambda: len(ls.paths.disconnectivity(g, ls.census(g, starts=20)).minima),
        "count saddles": lambda: str(
            ls.inventory.count_saddles("trigonometric", 2, realisations=2).dimensions[0].counts
        ),
        "trace of a loop": traced_loop,
        "edge of stability": edge,
        "check": lambda: [(c.name, c.status.name) for c in ls.check(of())],
        "forecast": lambda: ls.points.forecast(of()).products,
    }


def jobs(*, newer: bool = True) -> dict[str, Callable[[], object]]:
    """Public functions -> what each says, as plain numbers and words; models and data are made
    outside.
    """
    model, batches = net(), data()
    picture, shown = conv_net(), images()
    g = ls.FunctionLandscape(wells, dim=2, domain=ls.Box(-2, 2))
    start = torch.tensor([0.1, 0.2], dtype=torch.float64, device="cpu")
    saddle = torch.zeros(2, dtype=torch.float64, device="cpu")
    minima = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64, device="cpu")

    def of(dtype: torch.dtype = torch.float32) -> ls.ModelLandscape:
        return ls.ModelLandscape(model, F.cross_entropy, batches, dtype=dtype, l2={"*": 1e-2})

    def verdict(f: ls.ModelLandscape, method: str) -> object:
        point = ls.classify(f, method=method)
        return point.kind, point.index_bounds, point.gradient_norm, point.eigenvalues.tolist()

    def search() -> object:
        point = ls.find_stationary(of(torch.float64))
        return point.kind, point.value, point.index

    def study() -> object:
        found = ls.escape(g, saddle, ["sgd:lr=0.05", "adam:lr=0.01"], runs=6, steps=200, start=1e-1)
        return [found[k].steps.tolist() for k in ("sgd:lr=0.05", "adam:lr=0.01")]

    def images_of(f: ls.ModelLandscape) -> object:
        return f.value(f.point()).item(), f.gradient(f.point()).tolist()

    def report() -> object:
        found = ls.analyze(of())
        assert found.trace is not None
        return found.point.kind, found.trace.value, [(c.name, c.status.name) for c in found.checks]

    def traced() -> object:
        f = ls.FunctionLandscape(wells, dim=2)
        found = ls.minimum_energy_path(f, minima[0], minima[1], images=5)
        return found.barrier

    late = others(model, batches, of, g, minima) if newer else {}
    return late | {
        "value and gradient": lambda: images_of(of()),
        "value and gradient, conv": lambda: images_of(
            ls.ModelLandscape(picture, F.cross_entropy, shown)
        ),
        "classify, dense": lambda: verdict(of(), "dense"),
        "classify, Lanczos": lambda: verdict(of(), "lanczos"),
        "classify, formula": lambda: ls.classify(g, saddle).eigenvalues.tolist(),
        "Gauss-Newton": lambda: ls.eigsh(ls.GaussNewton(of()), 2).values.tolist(),
        "eigsh": lambda: ls.eigsh(ls.Hessian(of()), 2, 2, exact=8).values.tolist(),
        "density": lambda: ls.spectral_density(ls.Hessian(of()), 2, 8).nodes.tolist(),
        "trace": lambda: ls.trace(ls.Hessian(of()), probes=6).value,
        "find": search,
        "find, formula": lambda: ls.find_stationary(g, start).kind,
        "census": lambda: ls.census(g, starts=20).counts,
        "escape": study,
        "surface": lambda: ls.surface(of(), of().point(), resolution=3).values.tolist(),
        "surface, eigen": lambda: ls.surface(g, saddle, "eigen", resolution=3).values.tolist(),
        "path": traced,
        "analyze": report,
        "zoo": lambda: ls.classify(ls.zoo.load("styblinski-tang", dim=2), saddle).value,
    }  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> dict[str, object]:
    return {name: job() for name, job in jobs().items()}


# Before torch 2.12 Adam counts its steps on the default device, of which nothing can be read.
ADAM = {"escape", "connect"} if torch.__version__ < "2.12" else set()
# Settings that are felt outside of passes too; the others change only how kernels compute.
FELT = {
    "autocast bf16",
    "default dtype f64",
    "default dtype f16",
    "default device meta",
    "inference mode",
    "no grad",
    "saved in half precision",
    "saved without hooks",
}  # fmt: skip


def changed(plain: dict[str, object], label: str) -> list[str]:
    """The functions that say something else inside a setting, which must be as it was afterwards."""
    ready = jobs(newer=label in FELT)
    if label == "default device meta":
        ready = {name: job for name, job in ready.items() if name not in ADAM}
    with SETTINGS[label]():
        before = settings()
        found = {name: job() for name, job in ready.items()}
        assert settings() == before
    return [name for name in found if found[name] != plain[name]]


@pytest.mark.slow
@pytest.mark.parametrize("label", SETTINGS)
def test_no_setting_changes_a_number(label: str, plain: dict[str, object]) -> None:
    assert not changed(plain, label)


def zoo(name: str, **options: object) -> object:
    """What is built, and trained, when it is asked for."""
    f = ls.zoo.load(name, **options)
    if isinstance(f, ls.ModelLandscape):
        x = f.point()
        return f.dtype, x.tolist(), f.value(x).item()
    return [(point.x.tolist(), point.index) for point in f.stationary_points()], f.counts


ZOO: dict[str, Callable[[], object]] = {
    "trained in float64": lambda: zoo("digits-tiny", steps=20),
    "trained in float32": lambda: zoo("digits-cnn", epochs=1),
    "read from a file": lambda: zoo("pnet"),
    "points by searches": lambda: zoo("himmelblau"),
    "points of clusters": lambda: zoo("lennard-jones"),
}


@pytest.mark.slow
def test_no_setting_changes_a_landscape_of_the_zoo() -> None:
    expected = {name: job() for name, job in ZOO.items()}
    for label in (*sorted(FELT), "matmul medium", "all bf16, newer", "anomaly mode"):
        with SETTINGS[label]():
            before, dtype = settings(), torch.get_default_dtype()
            found = {name: job() for name, job in ZOO.items()}
            assert (settings(), torch.get_default_dtype()) == (before, dtype)
        assert not [name for name in ZOO if found[name] != expected[name]], label


@pytest.mark.gpu
def test_no_default_device_changes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models and data on the host, with a GPU there."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    plain = {name: job() for name, job in jobs().items()}
    monkeypatch.setitem(SETTINGS, "default device meta", lambda: device("cuda"))
    assert not changed(plain, "default device meta")


# A user's own loop goes on in these, in the user's own arithmetic.
LOOPS = {"continuation", "probe", "huggingface_callback", "lightning_callback"}


def test_every_public_function_of_a_landscape_owns_the_arithmetic() -> None:
    rooms = (ls, ls.points, ls.paths, ls.inventory, ls.surfaces, ls.training, ls.optimizers)
    named = {name: getattr(room, name) for room in rooms for name in dir(room) if name[0] != "_"}
    functions = {
        name: f
        for name, f in named.items()
        if inspect.isfunction(f)
        and any("Landscape" in str(p.annotation) for p in inspect.signature(f).parameters.values())
    }
    assert len(functions) > 25
    without = [name for name, f in functions.items() if "owned()" not in inspect.getsource(f)]
    assert set(without) == LOOPS & set(functions)


@pytest.mark.parametrize("label", SETTINGS)
def test_settings_are_put_back_even_after_an_error(label: str) -> None:
    with SETTINGS[label]():
        before = settings()
        with pytest.raises(KeyError), owned(), owned("tf32"), owned():
            raise KeyError
        assert settings() == before


def test_what_follows_a_setting_above_it_goes_on_to_follow_it() -> None:
    parts = [
        torch.backends.cuda.matmul,
        CUDNN.conv,
        CUDNN.rnn,
        MKLDNN.matmul,
        MKLDNN.conv,
        MKLDNN.rnn,
    ]
    for part in parts:
        part.fp32_precision = "none"
    with attribute(torch.backends, "fp32_precision", "tf32"):
        with owned():
            assert {part.fp32_precision for part in parts} == {"ieee"}
        assert {part.fp32_precision for part in parts} == {"tf32"}
        torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
        assert {part.fp32_precision for part in parts} == {"ieee"}
    MKLDNN.matmul.fp32_precision = "bf16"  # of its own
    with owned():
        pass
    assert MKLDNN.matmul.fp32_precision == "bf16"
    MKLDNN.matmul.fp32_precision = "none"


def test_threads_that_compute_at_the_same_time() -> None:
    """The first to leave changes nothing for the other; the last one puts back what was before the first."""
    with SETTINGS["matmul high"]():
        before, turn = settings(), [threading.Event() for _ in range(3)]
        inside: list[dict[str, str]] = []

        def first() -> None:
            with owned():
                inside.append(settings())
                turn[0].set()
                turn[1].wait(60)
            turn[2].set()

        thread = threading.Thread(target=first)
        thread.start()
        turn[0].wait(60)
        with owned("tf32"):
            inside.append(settings())
            turn[1].set()
            turn[2].wait(60)
            assert torch.get_float32_matmul_precision() == "high"
            with owned():
                inside.append(settings())
        thread.join()
        assert inside[0]["float32_matmul_precision"] == "highest"
        assert inside[0] == inside[1] == inside[2]
        assert settings() == before


def test_hooks_of_the_caller_are_put_back_in_their_order() -> None:
    """A model's own, which it sets in its forward pass, are its own."""
    seen: list[str] = []

    def hooks(name: str) -> Any:
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen.append(name)
            return tensor

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    x = torch.ones(2, requires_grad=True)
    with hooks("outer"), hooks("inner"):
        with owned():
            x.exp()
            assert not seen
            with hooks("own"):
                x.exp()
        x.exp()
    assert seen == ["own", "inner"]
    with hooks("outer"):
        with hooks("inner"), owned():
            pass
        x.exp()
    assert seen == ["own", "inner", "outer"]


def test_arithmetic_inside() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode(), owned():
        inside = settings()
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.is_inference_mode_enabled()
        assert not torch.backends.cudnn.allow_tf32
        assert inside["deterministic_debug_mode"] == "1"
        with owned("tf32"):
            assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert settings() == inside


def test_autocast_of_the_models_own_stays() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x).float()

    own = Own()
    f = ls.ModelLandscape(own, F.cross_entropy, data())
    x = f.point()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        told = sum(len(y) * float(F.cross_entropy(own.inner(z).float(), y)) for z, y in data())
    assert float(f.value(x)) == pytest.approx(told / 24, rel=1e-6)
    in_full = ls.ModelLandscape(net(), F.cross_entropy, data())
    assert float(f.value(x)) != float(in_full.value(x))
    assert f.rounding(x) == torch.finfo(torch.bfloat16).eps


def test_made_in_inference_mode() -> None:
    """Parameters, data and points that autograd may not touch are copied where they are used."""
    plain = ls.classify(ls.ModelLandscape(net(), F.cross_entropy, data()))
    with torch.inference_mode():
        made = ls.ModelLandscape(net(), F.cross_entropy, data())
        x = made.point()
    assert torch.equal(ls.classify(made, x).eigenvalues, plain.eigenvalues)
    with torch.inference_mode():
        assert torch.equal(ls.classify(made, x).eigenvalues, plain.eigenvalues)


def test_devices_that_are_not_supported() -> None:
    """Split models are refused in tests/gpu, where there are two devices."""
    for name in ("meta", "mps", "xpu"):
        with pytest.raises(
            ValueError, match=f"asks for {name}, and landscapes are computed on cpu"
        ):
            ls.ModelLandscape(net(), F.cross_entropy, data(), device=name)
        with pytest.raises(ValueError, match=f"asks for {name}, and"):
            loading_device(name)


def test_provenance_tells_the_arithmetic() -> None:
    f = ls.ModelLandscape(net(), F.cross_entropy, data(), precision="tf32")
    report = ls.points.spectrum(f, largest=2, smallest=0)
    assert report.provenance.arithmetic == {"precision": "tf32"}


# ---- coarse arithmetic ------------------------------------------------------------------------------


def case(seed: int) -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]], dict[str, float]]:
    """A random network, its data and a regulariser, made of the seed alone; 70 to 400 parameters."""
    draws = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draws))

    classes, samples = draw(2, 5), draw(8, 40)
    act = [nn.Tanh, nn.GELU, nn.Softplus, nn.Sigmoid][draw(0, 4)]
    if draw(0, 2):
        side, channels = draw(5, 8), draw(2, 5)
        size = channels * (side - 3) ** 2
        norm = nn.GroupNorm(1, channels) if seed % 4 == 2 else nn.Identity()
        parts = [nn.Conv2d(1, channels, 2), norm, act(), nn.Conv2d(channels, channels, 3), act()]
        model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(size, classes))
        x = torch.randn(samples, 1, side, side, generator=draws)
    else:
        inputs, width = draw(4, 9), draw(7, 13)
        parts = [nn.Linear(inputs, width), act(), nn.Linear(width, width), act()]
        model = nn.Sequential(*parts, nn.Linear(width, classes))
        x = torch.randn(samples, inputs, generator=draws)
    gain = 0.3 + 1.2 * float(torch.rand((), generator=draws))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(gain * torch.randn(p.shape, generator=draws) / max(1, p[0].numel()) ** 0.5)
    y = torch.randint(classes, (samples,), generator=draws)
    half = samples // 2
    return model, [(x[:half], y[:half]), (x[half:], y[half:])], {"*": [0.0, 1e-3][draw(0, 2)]}


def outside(
    seed: int,
    around: Callable[[], AbstractContextManager[object]],
    precision: str,
    useful: float,
) -> str:
    """What of a case lies outside of its bounds, in words; "" where nothing does, and no bound is
    beyond ``useful`` |H|.
    """
    model, batches, l2 = case(seed)
    exact = ls.ModelLandscape(model, F.cross_entropy, batches, dtype=torch.float64, l2=l2)
    truth = torch.linalg.eigvalsh(ls.Hessian(exact).dense())
    slope = float(exact.gradient(exact.point()).norm())
    f = ls.ModelLandscape(model, F.cross_entropy, batches, l2=l2, precision=precision)
    # as for large networks, whose kernels for products are others
    small = hessian.SMALL if seed % 2 else -1
    with around(), mock.patch.object(hessian, "SMALL", small):
        H = ls.Hessian(f)
        pairs = ls.eigsh(H, 3, 3, exact=8)
        dense = ls.classify(f, method="dense")
        told = ls.classify(f, method="lanczos", largest=2, smallest=2)
    k = len(pairs.values) - 3
    ends = torch.cat([truth[:3], truth[-k:]])
    bad = []
    if bool(((pairs.values - ends).abs() > pairs.bounds).any()):
        bad.append(f"eigsh {((pairs.values - ends).abs() / pairs.bounds).max():.2f}")
    near = (pairs.values[:, None] - truth).abs().min(1).values
    if bool((near > pairs.residuals).any()):
        bad.append("residuals")
    if bool(((dense.eigenvalues - truth).abs() > dense.uncertainty).any()):
        bad.append("dense")
    negative = int((truth < 0).sum())
    clear = int((truth < -1e-5 * truth.abs().max()).sum())
    low, high = told.index_bounds
    if not (low <= negative and clear <= high):
        bad.append(f"index {told.index_bounds} of {clear} to {negative}")
    for point in (dense, told):
        if abs(point.gradient_norm - slope) > point.gradient_noise:
            bad.append("gradient")
    if bool((pairs.bounds > useful * truth.abs().max()).any()):
        bad.append(f"bounds of no use, {float(pairs.bounds.max()):.2g}")
    return ", ".join(bad)


def flagged() -> AbstractContextManager[object]:
    """Left on by the caller, on a device that does as the flags say."""
    stack = ExitStack()
    stack.enter_context(SETTINGS["matmul high"]())
    stack.enter_context(Coarse("tf32", as_flagged))
    return stack


# name -> what is around, the precision asked for, what bounds may be in units of |H|
COARSE: dict[str, tuple[Callable[[], AbstractContextManager[object]], str, float]] = {
    "asked, tf32": (lambda: Coarse("tf32", as_flagged), "tf32", 0.02),
    "asked, bf16": (SETTINGS["no grad"], "bf16", 0.2),
    "left on, tf32": (flagged, "full", 3e-4),
    "left on, bf16": (SETTINGS["matmul medium"], "full", 3e-4),
    "left on, autocast": (SETTINGS["autocast bf16"], "full", 3e-4),
    "tf32 whatever the flags": (lambda: Coarse("tf32", always), "full", 0.02),
    "bf16 whatever the flags": (lambda: Coarse("bf16", always), "full", 0.2),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("label", COARSE)
def test_bounds_hold_in_coarse_arithmetic(label: str) -> None:
    around, precision, useful = COARSE[label]
    found = {seed: outside(seed, around, precision, useful) for seed in range(CASES)}
    assert not {seed: words for seed, words in found.items() if words}


def test_the_emulation_bites() -> None:
    """A product in emulated TF32 is off by more than the rounding that bounds allow for float32."""
    model, batches, _ = case(1)
    f = ls.ModelLandscape(model, F.cross_entropy, batches)
    v = f.gradient(f.point())
    plain = ls.Hessian(f) @ v
    with Coarse("tf32", always) as seen:
        off = ((ls.Hessian(f) @ v) - plain).norm() / plain.norm()
    assert seen.rounded
    assert 1e-5 < float(off) < 1e-2


def test_what_is_asked_for_is_done_and_measured() -> None:
    model, batches, _ = case(1)
    f = ls.ModelLandscape(model, F.cross_entropy, batches, precision="tf32")
    with Coarse("tf32", as_flagged) as seen:
        H = ls.Hessian(f)
        v = f.gradient(f.point())
        assert not seen.rounded
        off = float((H @ v - ls.Hessian(f, precision="full") @ v).norm() / v.norm())
        assert seen.rounded
        assert 0 < off <= H.error
    with pytest.raises(ValueError, match="precision must be one of full, tf32, bf16"):
        ls.ModelLandscape(model, F.cross_entropy, batches, precision="fp8")


@cache
def trained(seed: int) -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    """A network at the minimum of its regularised loss."""
    model, batches, _ = case(seed)
    parameters = list(model.double().parameters())
    optimizer = torch.optim.LBFGS(parameters, max_iter=2000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        weights = torch.cat([p.flatten() for p in parameters])
        value = F.cross_entropy(model(x.double()), y) + 0.1 / 2 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return model.float(), batches


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_verdicts_are_those_of_full_precision(method: str, precision: str) -> None:
    model, batches = trained(3)

    def verdict(asked: str) -> Any:
        f = ls.ModelLandscape(model, F.cross_entropy, batches, l2={"*": 0.1}, precision=asked)
        return ls.classify(f, method=method), [c for c in ls.check(f) if c.status.name == "BROKEN"]

    with Coarse("tf32", as_flagged):
        point, broken = verdict(precision)
    assert (point.kind, broken) == ("minimum", []) == (verdict("full")[0].kind, [])


class Single(nn.Module):
    """A network that float64 does not suit: there is a constant in it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 3)
        self.turn = [torch.randn(6, 6)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.tanh(self.a(x @ self.turn[0])))


@pytest.mark.parametrize("kind", [ls.Hessian, ls.GaussNewton])
def test_where_float64_fails_what_is_lost_is_measured_in_full_precision(kind: type) -> None:
    for seed in range(12):
        torch.manual_seed(seed)
        batches, model = [(torch.randn(64, 6), torch.randint(0, 3, (64,)))], Single()
        full = ls.ModelLandscape(model, F.cross_entropy, batches)
        f = ls.ModelLandscape(model, F.cross_entropy, batches, precision="bf16")
        matrix = kind(full).dense()
        truth = torch.linalg.eigvalsh(matrix.double())
        pairs = ls.eigsh(kind(f), 3, 3)
        assert bool(((pairs.values - truth[[0, 1, 2, -3, -2, -1]]).abs() <= pairs.bounds).all())
        rough = kind(f)
        assert torch.linalg.matrix_norm(rough.dense() - matrix, 2) <= 20 * rough.eps * truth.max()
        assert rough.coarse
        assert not kind(full).error  # there is no finer product, and solvers do without
        found = ls.trace(kind(full))
        assert found.low <= float(matrix.trace()) <= found.high
