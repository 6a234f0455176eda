"""The arithmetic in which landscapes are evaluated: torch's global settings, as they must be.

A landscape is one function, and its bounds are those of float32 or float64 arithmetic. So inside
``owned()`` autocast is off, matrix products and convolutions keep all bits of their operands (no
TF32 and no bfloat16, which are torch's own default for convolutions on CUDA and are chosen by
``set_float32_matmul_precision``), kernels are deterministic where such kernels exist, cuDNN does
not choose among kernels by a race, inference mode and anomaly detection are off, and what autograd
saves goes through no hooks of the caller, who may round it. Afterwards every setting is as it was,
whatever happens. What a model sets inside its own forward pass, an autocast region say, is part of
the model and stays.

Entering costs some 80 microseconds, inside another ``owned()`` one.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from landscape.errors import LoadingError

# What Hessian-vector products may be computed in.
PRECISIONS = ("full", "tf32", "bf16")
DEVICES = ("cpu", "cuda")
# A kernel's own check has failed, and CUDA names neither the kernel nor the line.
REFUSED_LATE = (
    "a kernel refused its input on the GPU: a label may be out of range (0 to classes - 1), or a "
    "token or an index beyond its table. Run once with device='cpu' (--device cpu), which names "
    "it; this process must be started anew, since CUDA computes nothing more in it."
)
# What a setting is when torch cannot tell it, since the older and the newer of two ways to set it
# contradict each other.
UNKNOWN = None
# What kernels without a deterministic twin say of themselves in every call.
NO_TWIN = (
    ".*(does not have a deterministic implementation|not deterministic because it uses CuBLAS)"
)


class Setting(NamedTuple):
    """One of torch's global settings."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    wanted: Any

    def now(self) -> Any:
        try:
            return self.read()
        except RuntimeError:
            return UNKNOWN

    def put(self, value: Any) -> None:
        if value is not UNKNOWN and self.now() != value:
            self.write(value)


class Bits(Setting):
    """One of the newer settings of operands, which follows the one above it until it has its own
    value.
    """

    def put(self, value: Any) -> None:
        if value is UNKNOWN:
            return
        top: Any = torch.backends
        above = getattr(getattr(top, self.name.split(".")[0]), "fp32_precision", top.fp32_precision)
        # what is as above is told to follow it, as it did unless both were set alike
        self.write("none" if value == above else value)


def _attribute(owner: object, name: str, wanted: object, label: str) -> Setting:
    return Setting(
        f"{label}.{name}",
        lambda: getattr(owner, name),
        lambda value: setattr(owner, name, value),
        wanted,
    )


def _autocast(device: str) -> Setting:
    return Setting(
        f"autocast({device})",
        lambda: torch.is_autocast_enabled(device),
        lambda value: torch.set_autocast_enabled(device, value),
        False,
    )


def _cudnn_allows() -> bool | None:
    """The older flag of cuDNN. Where torch refuses to tell it, and the two newer ones agree, it is
    what they are not.
    """
    cudnn: Any = torch.backends.cudnn
    try:
        return bool(cudnn.allow_tf32)
    except RuntimeError:
        conv, rnn = (op.fp32_precision == "tf32" for op in (cudnn.conv, cudnn.rnn))
        return not conv if conv == rnn else UNKNOWN


def _operand_bits(wanted: str) -> list[Setting]:
    """The older flags, which write some of the newer ones too, before the newer ones."""
    backends = torch.backends
    owners: list[tuple[str, object]] = [("cuda.matmul", backends.cuda.matmul)]
    owners += [(f"cudnn.{op}", getattr(backends.cudnn, op)) for op in ("conv", "rnn")]
    owners += [(f"mkldnn.{op}", getattr(backends.mkldnn, op)) for op in ("matmul", "conv", "rnn")]
    older = "high" if wanted == "tf32" else "highest"
    return [
        Setting(
            "float32_matmul_precision",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            older,
        ),
        Setting(
            "cudnn.allow_tf32",
            _cudnn_allows,
            lambda value: setattr(backends.cudnn, "allow_tf32", value),
            wanted == "tf32",
        ),
        *(Bits(*_attribute(owner, "fp32_precision", wanted, label)) for label, owner in owners),
    ]


Hooks = tuple[tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]], ...]


def _saving() -> tuple[Hooks, str | None]:
    """The hooks that saved tensors go through, and why hooks are disabled, None where they are not;
    torch shows the last one only.
    """
    found, why = [], _SAVED._saved_tensors_hooks_get_disabled_error_message()
    _SAVED._saved_tensors_hooks_enable()
    while (top := _SAVED._top_saved_tensors_default_hooks(False)) is not None:
        found.append(top)
        _SAVED._pop_saved_tensors_default_hooks()
    hooks = tuple(reversed(found))
    _save_by((hooks, why))
    return hooks, why


def _save_by(state: tuple[Hooks, str | None]) -> None:
    hooks, why = state
    _SAVED._saved_tensors_hooks_enable()
    while _SAVED._top_saved_tensors_default_hooks(False) is not None:
        _SAVED._pop_saved_tensors_default_hooks()
    for pack, unpack in hooks:
        _SAVED._push_saved_tensors_default_hooks(pack, unpack)
    if why is not None:
        _SAVED._saved_tensors_hooks_disable(why)


_SAVED: Any = torch._C._autograd
# Settings that each thread has for itself, and those of the process.
_OF_THREADS = [
    Setting("saved_tensors_hooks", _saving, _save_by, ((), None)),
    *map(_autocast, DEVICES),
]
_OTHERS = [
    _attribute(torch.backends.cudnn, "benchmark", False, "cudnn"),
    _attribute(torch.backends.cudnn, "deterministic", True, "cudnn"),
    # 1: deterministic kernels, and no error where there are none
    Setting(
        "deterministic_debug_mode",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
        1,
    ),
    _attribute(torch.utils.deterministic, "fill_uninitialized_memory", False, "deterministic"),
    Setting(
        "anomaly_detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
        (False, True),
    ),
]
_OF_PROCESS = {bits: [*_operand_bits(bits), *_OTHERS] for bits in ("ieee", "tf32")}
# What the threads that are inside ``owned()`` ask for, each by its innermost, and how the process's
# settings were before the first of them came.
_ASKED: dict[int, str] = {}
_BEFORE: list[Any] = []
_LOCK = threading.RLock()


def _ask(thread: int, bits: str) -> None:
    """Have the process compute as all threads inside ask, with all bits where they differ; "": the
    thread leaves, and the last one puts everything back.
    """
    with _LOCK:
        if not _ASKED:
            _BEFORE[:] = [setting.now() for setting in _OF_PROCESS["ieee"]]
        _ASKED[thread] = bits
        if not bits:
            del _ASKED[thread]
        if _ASKED:
            for setting in _OF_PROCESS[max(_ASKED.values(), key="ieee".__eq__)]:
                setting.put(setting.wanted)
        else:
            _put_back(_OF_PROCESS["ieee"], _BEFORE)


@contextmanager
def owned(precision: str = "full") -> Iterator[None]:
    """Inside, torch computes as this module's head says; a decorator too.

    precision: "tf32" lets matrix products and convolutions of float32 numbers round their operands
        to 10 bits where the device can; everything else keeps all bits.
    """
    thread = threading.get_ident()
    bits, outer = "tf32" if precision == "tf32" else "ieee", _ASKED.get(thread, "")
    if bits == outer:
        yield
        return
    before = [setting.now() for setting in _OF_THREADS]
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.cuda.is_available():
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", NO_TWIN)
        stack.callback(_put_back, _OF_THREADS, before)
        for setting in _OF_THREADS:
            setting.put(setting.wanted)
        stack.callback(_ask, thread, outer)
        _ask(thread, bits)
        try:
            yield
        except RuntimeError as error:
            if too_late(error):
                raise LoadingError(REFUSED_LATE) from error
            raise


@contextmanager
def unset() -> Iterator[None]:
    """Inside, torch computes, and makes tensors and modules, as where nobody has set anything: as
    in ``owned()``, recording gradients, in float32 and on the host; a decorator too.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(owned())
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float32)
        yield


def _put_back(settings: list[Setting], before: list[Any]) -> None:
    """Every setting as it was, in the order of the table: what an older flag has written into a
    newer one is mended by that one's turn.
    """
    for setting, value in zip(settings, before, strict=True):
        with contextlib.suppress(RuntimeError):
            setting.put(value)


def too_late(error: BaseException) -> bool:
    """Whether an error is of a kernel that CUDA had started long before it told."""
    return "device-side assert" in str(error)


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or, where it was made in inference mode, a copy that autograd can use; call
    inside ``owned()``.
    """
    return tensor.clone() if tensor.is_inference() else tensor


def reduced(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Around a model's own forward pass: autocast to bfloat16 for "bf16", else nothing."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Inside, no kernel of cuDNN is used. ``torch.backends.cudnn.flags`` fails where its older and
    newer flags contradict each other.
    """
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


def require_precision(precision: str) -> None:
    """Raise a ValueError unless it is one of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")


def require_supported(device: torch.device, what: str) -> None:
    """Raise a ValueError unless the device is one that this library is tested on."""
    if device.type not in DEVICES:
        raise ValueError(
            f"{what} asks for {device.type}, and landscapes are computed on cpu or cuda: pass "
            f"device='cpu' (--device cpu), say."
        )


def settings() -> dict[str, str]:
    """How torch's settings stand now, by name, as provenance records them."""
    every = [*_OF_PROCESS["ieee"], *_OF_THREADS]
    return {setting.name: str(setting.now()) for setting in every}
