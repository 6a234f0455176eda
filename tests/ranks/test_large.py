"""Models of which no rank keeps the whole: exact derivatives, measured memory, weights that are
read by parts, and models that lie on several processes before they come here.

``LANDSCAPE_LARGE=1`` runs the spectrum under a limit of memory too.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import landscape as ls

sys.path.insert(0, str(Path(__file__).parent))
import cases
import large
import together


@pytest.mark.slow
@pytest.mark.parametrize(("count", "method"), [(2, "retained"), (3, "rebuilt")])
def test_products_of_millions_of_weights(tmp_path: Path, count: int, method: str) -> None:
    """Exact; three tensors are whole at a time, and beside them are vectors of a rank's part (the
    product, its sum, the gradient with its graph, the regulariser's) and activations."""
    small = large.activations(method)
    for one in together.run(count, tmp_path, large.product, method):
        assert one["dim"] > 2e6
        assert one["error"] <= 1e-12
        assert one["local"] <= 8 * (one["dim"] / count + 100)
        assert one["whole"] <= 3 * one["unit"]
        assert one["most"] <= 7 * one["local"] + 3 * one["unit"] + 2 * small
        assert one["whole"] < 0.3 * 8 * one["dim"]


@pytest.mark.slow
def test_derivatives_of_any_order(tmp_path: Path) -> None:
    for errors in together.run(2, tmp_path, large.orders):
        assert len(errors) == 4
        assert max(errors) <= 1e-12


@pytest.mark.slow
def test_frozen_layers_dropout_and_attention(tmp_path: Path) -> None:
    for one in together.run(2, tmp_path, large.unusual):
        assert one["value"] <= 1e-13
        assert one["product"] <= 1e-12
        assert one["fingerprint"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("fully_shard", 3), ("dtensors", 2), ("ddp", 2), ("accelerate", 2)]
)
def test_models_that_others_have_wrapped(tmp_path: Path, kind: str, count: int) -> None:
    if kind == "accelerate":
        pytest.importorskip("accelerate")
    for one in together.run(count, tmp_path, large.wrapped, kind):
        assert one["point"]
        assert one["loaded"]
        assert one["after"]
        assert one["product"] <= 1e-12
        assert ("over_ranks(f, shard=True)" in one["refused"]) == (
            kind in ("fully_shard", "dtensors")
        )


@pytest.mark.slow
def test_tensor_parallel_models_are_refused(tmp_path: Path) -> None:
    for told in together.run(2, tmp_path, large.tensor_parallel):
        assert told.startswith("Sequential is tensor-parallel (parallelize_module), and torch gets")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "chunks"])
def test_parts_are_read_from_a_checkpoint(tmp_path: Path, form: str) -> None:
    """By other ranks than have written it; one tensor at most is whole, or mapped, at a time."""
    path = tmp_path / form
    if form == "safetensors":
        state = {f"module.{k}": v for k, v in cases.gpt().model.state_dict().items()}
        save_file(state, path)
    else:
        together.run(3, tmp_path / "saved", large.saved, str(path))
    for one in together.run(2, tmp_path / "ranks", large.read, str(path)):
        assert one["point"]
        assert one["product"] <= 1e-12
        assert one["fingerprint"]
        assert "landscape.loading.load_parts" in one["unread"]
        assert one["whole"] <= one["unit"]
        assert any(("prefix" if form == "safetensors" else "chunks") in n for n in one["notes"])


@pytest.mark.slow
@pytest.mark.skipif("LANDSCAPE_LARGE" not in os.environ, reason="takes a minute of two cores")
def test_a_spectrum_that_fits_two_processes_and_not_one(tmp_path: Path) -> None:
    """One Krylov space of few vectors, without probes: its pairs lie within the values of a process
    without a limit (Cauchy's interlacing), and the outermost of each end are those."""
    torch.manual_seed(0)
    model = large.Wide()
    save_file(model.state_dict(), tmp_path / "wide.safetensors")
    (alone,) = together.run(
        1, tmp_path / "1", large.limited, str(tmp_path / "wide.safetensors"), False
    )
    assert "memory" in alone["full"]
    found = together.run(2, tmp_path / "2", large.limited, str(tmp_path / "wide.safetensors"), True)
    f = large.wide(model)
    truth = ls.eigsh(ls.Hessian(f), 6, 6, tol=1e-4, probes=0)
    for one in found:
        assert one.get("converged"), one
        assert torch.equal(one["values"], found[0]["values"])
        inside, near = one["values"] - truth.values, one["bounds"] + truth.bounds
        assert bool((inside[:6] >= -truth.bounds[:6]).all())
        assert bool((inside[6:] <= truth.bounds[6:]).all())
        assert bool((inside.abs() <= near)[[0, -1]].all())
