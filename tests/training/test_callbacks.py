"""The trainers' loops that docs/stuck.md shows are traced by the lines it adds. Each runs in a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.training.callbacks import _HuggingFaceHooks, _LightningHooks

PAGE = (Path(__file__).parents[2] / "docs" / "stuck.md").read_text(encoding="utf-8")
# A torchvision that was built for another torch cannot be imported, and both trainers import it where they see one. They then see none.
ALONE = """
import importlib.metadata as metadata, sys
try:
    import torchvision
except Exception:
    for name in [n for n in sys.modules if n.startswith("torchvision")]:
        del sys.modules[name]
    sys.modules["torchvision"] = None
    def hide(found):
        def asked(name):
            if name == "torchvision":
                raise metadata.PackageNotFoundError(name)
            return found(name)
        return asked
    metadata.distribution, metadata.version = hide(metadata.distribution), hide(metadata.version)
"""


def shown(title: str) -> tuple[str, str]:
    """The code under this comment, and what the page says that it prints."""
    blocks = [m for m in pages.FENCE.finditer(PAGE) if m[1] in ("py", "text")]
    at = next(i for i, m in enumerate(blocks) if m[1] == "py" and m[2].startswith(f"# {title}\n"))
    return blocks[at][2], blocks[at + 1][2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "title"),
    [
        ("lightning", "lightning"),
        ("transformers", "hugging face"),
        ("accelerate", "accelerate"),
    ],
)
def test_the_loop_is_traced_as_the_page_says(package: str, title: str, tmp_path: Path) -> None:
    for needed in (package, "accelerate"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    code, said = shown(title)
    name = "tracer" if title == "accelerate" else "tracing"
    more = f"\nassert {name}.result.steps.tolist() == list(range(0, 81, 10)), {name}.result.steps\n"
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code + more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == said.strip()


@pytest.mark.parametrize("hooks", [_LightningHooks, _HuggingFaceHooks])
@pytest.mark.parametrize("fails", [False, True])
def test_hooks_trace_from_start_to_end(hooks: type, fails: bool) -> None:
    """What the trainers call, called by hand: the model as a function, the optimiser wrapped as accelerate does."""

    class Wrapped:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = nn.Linear(2, 1).double()
    x = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = []

    def landscape(of: nn.Module) -> ls.ModelLandscape:
        made.append(of)
        return ls.ModelLandscape(of, nn.functional.mse_loss, [(x, x[:, :1])])

    tracing = hooks(landscape, 2, {"last_look": False})
    with pytest.raises(RuntimeError, match="has not started"):
        _ = tracing.result
    if hooks is _LightningHooks:
        trainer = type("Trainer", (), {"optimizers": [optimizer]})()
        tracing.on_train_start(trainer, model)
    else:
        tracing.on_train_begin(None, None, None, model=model, optimizer=Wrapped(optimizer))
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), x[:, :1]).backward()
        optimizer.step()
    if fails and hooks is _LightningHooks:
        tracing.on_exception(trainer, model, ValueError("stop"))
    elif hooks is _LightningHooks:
        tracing.on_train_end(trainer, model)
    else:
        tracing.on_train_end(None, None, None)
    assert made == [model]
    assert tracing.result.steps.tolist() == (
        [0, 2, 4] if fails and hooks is _LightningHooks else [0, 2, 4, 5]
    )
    optimizer.step()
    assert int(tracing.result.steps[-1]) <= 5  # the hooks are gone


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    f = ls.ModelLandscape(
        nn.Linear(1, 1), nn.functional.mse_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))]
    )
    with pytest.raises(ImportError, match="lightning"):
        ls.training.lightning_callback(f)
    with pytest.raises(ImportError, match="transformers"):
        ls.training.huggingface_callback(f)
