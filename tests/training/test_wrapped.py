"""Models and optimisers in the wrappers of others: accelerate's, DistributedDataParallel's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

Traced = Callable[[nn.Module, torch.optim.Optimizer], AbstractContextManager[object]]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(48, 4, generator=draws), torch.randint(3, (48,), generator=draws)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def with_accelerate(traced: Traced) -> tuple[Tensor, torch.optim.Optimizer]:
    """Four epochs of three batches, two of which make a step."""
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = net()
    loader = DataLoader(TensorDataset(*data()), batch_size=16, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    with traced(accelerator.unwrap_model(model), optimizer):
        for _ in range(4):
            for x, y in loader:
                with accelerator.accumulate(model):
                    accelerator.backward(F.cross_entropy(model(x), y))
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
    return flat(model), optimizer


@pytest.mark.slow
def test_a_loop_of_accelerate_is_traced_as_it_is() -> None:
    kept: list[tuple[ls.Tracer, ls.ModelLandscape]] = []

    def traced(model: nn.Module, optimizer: torch.optim.Optimizer) -> ls.Tracer:
        f = ls.ModelLandscape(model, F.cross_entropy, [data()])
        kept.append((ls.Tracer(optimizer, f, every=2), f))
        return kept[0][0]

    plain, _ = with_accelerate(lambda model, optimizer: nullcontext())
    weights, optimizer = with_accelerate(traced)
    assert torch.equal(weights, plain)
    f, trace = kept[0][1], kept[0][0].result
    assert trace.notes == ()
    # a loader's last batch makes a step too: two in each epoch
    assert trace.steps.tolist() == [0, 2, 4, 6, 8]
    assert trace.optimizer == "AdamW"
    assert torch.isfinite(trace.second_moment_norm[1:]).all()
    assert torch.equal(trace.x, weights)
    assert trace.loop is not None
    assert trace.loop.passes > trace.loop.batches / 2 > 0
    diagnosis = ls.diagnose(trace, f=f, optimizer=optimizer, steps=2, seeds=2)
    assert diagnosis.trials is not None
    assert torch.equal(flat(f.model), weights)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_a_model_under_ddp_is_traced_below_its_wrapper() -> None:
    found = []
    for traced in (False, True):
        model = net()
        wrapped = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
        f = ls.ModelLandscape(model, F.cross_entropy, [data()])
        tracer = ls.Tracer(optimizer, f, every=2)
        with tracer if traced else nullcontext():
            for _ in range(6):
                x, y = data()
                optimizer.zero_grad()
                F.cross_entropy(wrapped(x), y).backward()
                optimizer.step()
        found.append(flat(model))
    assert torch.equal(found[0], found[1])
    assert tracer.result.notes == ()
    assert tracer.result.steps.tolist() == [0, 2, 4, 6]
    assert tracer.result.loop is not None
    assert max(tracer.result.loop.carried) == 0
    assert float(tracer.result.loss[-1]) == pytest.approx(float(f.value(f.point())), rel=1e-6)
