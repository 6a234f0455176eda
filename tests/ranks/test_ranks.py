"""Several processes on one landscape give what one gives, decide alike, and end together."""

import json
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import landscape as ls
from landscape.ranks import Ranks, Spread

sys.path.insert(0, str(Path(__file__).parent))
import cases
import together

SAME = {"vectors": 1e-3, "bounds": 1e-2, "eigenvalues": 1e-9, "solution": 1e-8, "moments": 1e-6}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "rows", "width"),
    [(2, 50, 8), (3, 50, 20), (4, 50, 8)],
    ids=["seven batches on 2", "three batches on 3", "seven batches on 4"],
)
def test_ranks_give_what_one_process_gives(
    tmp_path: Path, count: int, rows: int, width: int
) -> None:
    """Products of all kinds to rounding; every number is the same on every rank, to the bit."""
    truth = cases.numbers(cases.net(rows=rows, width=width))
    found = together.run(count, tmp_path, cases.products, rows, width)
    for key, value in truth.items():
        for other in found[1:]:
            assert torch.equal(other[key], found[0][key]), key
        scale = float(value.abs().max())
        gap = float((found[0][key] - value).abs().max())
        assert gap <= SAME.get(key, 1e-12) * scale, key
    f = cases.net()
    assert all(one["ranks"] == count for one in found)
    assert found[0]["basis"] == 21 * -(-f.dim // count)  # memory is divided


@pytest.mark.slow
@pytest.mark.parametrize(("count", "shard"), [(2, False), (3, True)], ids=["shared", "sharded"])
def test_a_basis_in_float16_over_ranks(tmp_path: Path, count: int, shard: bool) -> None:
    """Every rank holds its coordinates in half the bytes; pairs are those of the dense matrix."""
    found = together.run(count, tmp_path, cases.stored, shard)
    for one in found:
        assert one["converged"]
        assert ((one["values"] - one["truth"]).abs() <= one["bounds"]).all()
        assert (one["residuals"] <= 1.01e-3 * one["truth"].abs().max()).all()
        for key in ("values", "residuals", "bounds"):
            assert torch.equal(one[key], found[0][key]), key
        assert one["basis"] <= (2 * 4 + 19 * 2) * (one["dim"] / count + 10)
    V = torch.cat([one["vectors"] for one in found]) if shard else found[0]["vectors"]
    assert (V.T @ V - torch.eye(5)).abs().max() <= 1e-5


@pytest.mark.slow
def test_more_ranks_than_batches_and_a_wrapped_model(tmp_path: Path) -> None:
    found = together.run(3, tmp_path / "few", cases.products, 16, 8)
    truth = cases.numbers(cases.net(rows=16))
    assert torch.allclose(found[2]["product"], truth["product"], rtol=1e-12, atol=1e-13)
    assert torch.equal(found[2]["shares"], truth["shares"])
    f = cases.net()
    for product in together.run(2, tmp_path / "wrapped", cases.wrapped):
        assert torch.allclose(product, ls.Hessian(f) @ cases.vectors(f), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_a_report_over_ranks(tmp_path: Path) -> None:
    kind, values, errors, products, checks = cases.report()
    found = together.run(2, tmp_path, cases.report)
    assert all(torch.equal(one[1], found[0][1]) for one in found)
    assert found[0][0] == kind
    assert found[0][4] == checks
    assert abs(found[0][3] - products) <= 0.1 * products
    assert torch.allclose(found[0][1], values, rtol=1e-6, atol=1e-8)
    assert torch.allclose(found[0][2], errors, rtol=1e-3)


@pytest.mark.slow
def test_searches_do_not_hang_on_the_number_of_ranks(tmp_path: Path) -> None:
    truth = cases.searches()
    for one in together.run(2, tmp_path / "2", cases.searches):
        for key, value in truth.items():
            same = torch.equal(one[key], value) if torch.is_tensor(value) else one[key] == value
            assert same, key


@pytest.mark.slow
def test_batches_are_cut_on_all_ranks_where_the_memory_of_one_runs_out(tmp_path: Path) -> None:
    f = cases.net()
    H = ls.Hessian(f)
    truth = torch.linalg.eigvalsh(H.dense())
    found = together.run(2, tmp_path, cases.crowded, False)
    for one in found:
        assert one["pieces"] == found[0]["pieces"] > 1
        assert any("pieces" in note for note in one["notes"])
        assert torch.equal(one["eigenvalues"], found[0]["eigenvalues"])
        ends = torch.cat([truth[:1], truth[-2:]])
        assert torch.allclose(one["eigenvalues"], ends, rtol=1e-9, atol=1e-9)
        assert torch.allclose(one["gradient"], f.gradient(f.point()), rtol=1e-12, atol=1e-13)
        assert torch.allclose(one["product"], H @ cases.vectors(f), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_a_sharded_run_ends_where_the_memory_of_one_rank_runs_out(tmp_path: Path) -> None:
    """Nothing is cut there: exchanges follow the graphs."""
    first, second = together.run(2, tmp_path, cases.crowded, True)
    assert second == "memory: CUDA out of memory."
    assert "another process of this run has ended" in first


@pytest.mark.slow
def test_an_error_on_one_rank_is_raised_on_all(tmp_path: Path) -> None:
    first, second = together.run(2, tmp_path, cases.failure)
    assert first == second
    assert "KeyError" in first
    assert "batch 6" in first


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_death_ends_the_others(tmp_path: Path, rank: int) -> None:
    processes = together.start(2, tmp_path, cases.death, rank)
    assert together.wait(processes, 60) < 30
    assert processes[rank].exitcode == -signal.SIGKILL
    assert processes[1 - rank].exitcode == 1
    said = (tmp_path / f"{1 - rank}.error").read_text()
    assert "RanksError: another process of this run has ended" in said


def test_alone_nothing_is_dealt() -> None:
    f = cases.net()
    assert ls.over_ranks(f) is f
    with pytest.raises(TypeError, match="over_ranks needs a landscape"):
        ls.over_ranks(f.model)  # type: ignore[type-var]


class Pretend(Ranks):
    """One of several ranks that never meet: enough for how vectors are cut and drawn."""


@pytest.mark.parametrize("sizes", [[7], [5, 1, 40]])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_parts_of_vectors(sizes: list[int], count: int) -> None:
    """Every coordinate is on one rank; parts are drawn as the whole is."""
    n = sum(sizes)
    V = torch.randn(n, 2, dtype=torch.float64)
    spaces = [Spread(sizes, Pretend(rank, count)) for rank in range(count)]
    parts = [space.own(V) for space in spaces]
    assert {len(part) for part in parts} == {spaces[0].local}
    assert float(sum(part.square().sum() for part in parts)) == pytest.approx(
        float(V.square().sum()), rel=1e-14
    )
    for start, size, width in zip(
        [sum(spaces[0].widths[:i]) for i in range(len(sizes))], sizes, spaces[0].widths, strict=True
    ):
        piece = torch.cat([part[start : start + width] for part in parts])[:size]
        where = sum(sizes[: sizes.index(size)])
        assert torch.equal(piece, V[where : where + size])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("n", [1000, 40 + 3 * 64, 64, 65, 90])
def test_numbers_drawn_in_parts_are_those_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, n: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("landscape.ranks.spread.DRAWN", 64)

    def draw() -> object:
        generator = torch.Generator().manual_seed(3)
        return lambda m: torch.randn(m, generator=generator, dtype=dtype)

    at_once = draw()(2 * n).view(2, n)  # type: ignore[operator]
    for rank in range(3):
        space = Spread([n], Pretend(rank, 3))
        assert torch.equal(space.drawn(2, draw()), space.own(at_once.T).T)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "method", "small"),
    [(2, "retained", 100), (3, "rebuilt", 0)],
    ids=["2 ranks, graphs kept", "3 ranks, rebuilt, nothing bucketed"],
)
def test_sharded_points_have_exact_products(
    tmp_path: Path, count: int, method: str, small: int
) -> None:
    """A tied GPT, uneven parts, more batches than ranks or as many."""
    f = cases.gpt()
    H, x = ls.Hessian(f), f.point()
    V = cases.vectors(f)
    found = together.run(count, tmp_path, cases.sharded, torch.float64, method, small)
    spectrum = torch.linalg.eigvalsh(H.dense())
    for one in found:
        assert one["local"] < f.dim / count + 40
        assert torch.equal(one["point"], x)
        assert float((one["value"] - f.value(x)).abs()) <= 1e-12
        for name, truth in (("gradient", f.gradient(x)), ("product", H @ V)):
            assert float((one[name] - truth).norm()) <= 1e-12 * float(truth.norm()), name
        truth = spectrum[[0, -1]]
        assert bool(((one["values"] - truth).abs() <= one["bounds"] + 1e-12).all())
        assert torch.equal(one["values"], found[0]["values"])
        W = one["vectors"]
        residuals = (H @ W - W * one["values"]).norm(dim=0)
        assert bool((residuals <= one["bounds"] + 1e-12).all())
        assert float(one["shares"].sum()) == pytest.approx(1.0, abs=1e-12)
        assert one["kept"] == 0  # none outlives the pass, graphs kept or not


@pytest.mark.slow
def test_sharded_bounds_hold_in_single_precision(tmp_path: Path) -> None:
    f = cases.gpt()
    truth = torch.linalg.eigvalsh(ls.Hessian(f).dense())[[0, -1]]
    for one in together.run(2, tmp_path, cases.sharded, torch.float32, "auto", 100):
        assert bool(((one["values"] - truth).abs() <= one["bounds"]).all())
        assert float(one["bounds"].max()) <= 2e-2 * float(truth.abs().max())


@pytest.mark.slow
def test_a_command_reads_a_checkpoint_in_parts(tmp_path: Path) -> None:
    """Of a model that no process builds: the dense Hessian's ends."""
    f = cases.gpt()
    assert isinstance(f.model, torch.nn.Module)
    save_file(f.model.state_dict(), tmp_path / "gpt.safetensors")
    (tmp_path / "gpt.py").write_text(cases.UNFILLED)
    words = (
        "spectrum gpt.py --shard --checkpoint gpt.safetensors --largest 2 --smallest 1 --steps 8"
    )
    words += " --probes 2 --out run --no-figures --json"
    together.run(2, tmp_path, cases.command, str(tmp_path), words.split())
    told = (tmp_path / "0.said").read_text()
    found = json.loads(told[told.index("{") :])["eigenvalues"]
    truth = torch.linalg.eigvalsh(ls.Hessian(f).dense())[[0, -2, -1]].tolist()
    assert len(found) == 3
    for one, value in zip(found, truth, strict=True):
        assert abs(one["value"] - value) <= one["bound"] < 0.02 * truth[-1]


@pytest.mark.slow
def test_one_rank_traces_a_loop_of_two(tmp_path: Path) -> None:
    plain = together.run(2, tmp_path / "plain", cases.trained, False)
    traced = together.run(2, tmp_path / "traced", cases.trained, True)
    for weights, _ in traced:
        assert torch.equal(weights, plain[0][0])
    assert [steps for _, steps in traced] == [[0, 2, 4, 6], []]
