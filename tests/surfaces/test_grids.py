"""Surfaces against plain evaluation, the definition of filter normalisation written out, and dense Hessians."""

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.surfaces.directions import normalised


class Mixed(nn.Module):
    """One of every kind of parameter tensor: convolution, norm layer, linear, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.norm(self.conv(x))).flatten(1))


def mixed(dtype: torch.dtype, device: torch.device) -> ls.ModelLandscape:
    model = Mixed().to(device, dtype)
    x = torch.randn(11, 1, 4, 4).to(device, dtype)
    y = torch.arange(11, device=device) % 2
    return ls.ModelLandscape(model, nn.functional.cross_entropy, [(x[:7], y[:7]), (x[7:], y[7:])])


def saddle(x: torch.Tensor) -> torch.Tensor:
    return x[..., 0] ** 2 - 3 * x[..., 1] ** 2 + 0.5 * x[..., 2] ** 2 + x[..., 0] * x[..., 1] + x[..., 2]


def formula() -> ls.FunctionLandscape:
    return ls.FunctionLandscape(saddle, dim=3)


def test_cells_are_the_values_there(dtype: torch.dtype, device: torch.device) -> None:
    f = mixed(dtype, device)
    found = ls.surface(f, f.point(), span=0.5, resolution=5, spectrum=False)
    (u, v), a = found.directions, torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)
    assert found.values.shape == (5, 5)
    assert torch.equal(found.a, a)
    assert torch.equal(found.b, a)
    for i, j in ((0, 0), (0, 4), (3, 1), (2, 2)):
        there = f.point() + float(a[i]) * u.to(device) + float(a[j]) * v.to(device)
        torch.testing.assert_close(found.values[i, j], f.value(there).cpu())
    assert found.values.dtype is dtype


@pytest.mark.parametrize("biases", [False, True])
def test_filter_normalisation_is_its_definition(biases: bool, dtype: torch.dtype, device: torch.device) -> None:
    """Li et al. 2018: every filter of the direction has the norm of the weights' filter, and its own direction."""
    f = mixed(dtype, device)
    x, raw = f.point(), torch.randn(f.dim, dtype=torch.float64).to(device, dtype)
    u = normalised(f, x, raw, "filter", biases)
    for name, where in f.layout.items():
        w, d, r = (t[where].view_as(f.model.get_parameter(name)) for t in (x, u, raw))
        if w.ndim == 1 and not biases:
            assert not d.any(), name
            continue
        for w_i, d_i, r_i in zip(w, d, r, strict=True) if w.ndim > 1 else [(w, d, r)]:
            torch.testing.assert_close(d_i, r_i / r_i.norm() * w_i.norm())


def test_layer_normalisation_and_none(device: torch.device) -> None:
    f = mixed(torch.float64, device)
    x, raw = f.point(), torch.randn(f.dim, dtype=torch.float64).to(device)
    u = normalised(f, x, raw, "layer", False)
    for where in f.layout.values():
        torch.testing.assert_close(u[where], raw[where] / raw[where].norm() * x[where].norm())
    assert torch.equal(normalised(f, x, raw, None, False), raw)


def test_given_directions_are_normalised_and_not_orthogonalised() -> None:
    g = formula()
    u, v = torch.tensor([2.0, 0, 0]).double(), torch.tensor([3.0, 4, 0]).double()
    found = ls.surface(g, torch.zeros(3).double(), directions=(u, v), resolution=3)
    assert found.directions[0].tolist() == [1, 0, 0]
    assert found.directions[1].tolist() == pytest.approx([0.6, 0.8, 0])
    kept = ls.surface(g, torch.zeros(3).double(), directions=(u, v), normalize=None, resolution=3)
    assert torch.equal(kept.directions[1], v)


def test_the_plane_is_compared_with_the_whole_hessian(device: torch.device) -> None:
    f = mixed(torch.float64, device)
    H = ls.Hessian(f).dense().cpu()
    truth = torch.linalg.eigvalsh(H)
    found = ls.surface(f, span=0.01, resolution=3)
    V = torch.stack(found.directions, dim=1)
    torch.testing.assert_close(found.hessian, V.T @ H @ V)
    Q, _ = torch.linalg.qr(V)
    torch.testing.assert_close(found.curvatures, torch.linalg.eigvalsh(Q.T @ H @ Q))
    assert abs(found.largest - truth[-1]) <= found.bounds[1] + 1e-9
    assert abs(found.smallest - truth[0]) <= found.bounds[0] + 1e-9
    middle, step = found.values[1], 0.01
    slice_curvature = (middle[0] - 2 * middle[1] + middle[2]) / step**2
    assert float(slice_curvature) == pytest.approx(float(found.hessian[1, 1]), rel=1e-2)


def test_slices_have_the_curvature_of_the_hessian() -> None:
    g = ls.FunctionLandscape(lambda x: torch.cosh(x[..., 0]) + torch.sin(x[..., 1]) * x[..., 0], dim=2)
    found = ls.surface(g, torch.tensor([0.3, 0.7]).double(), span=1e-3, resolution=3)
    for at, k in ((found.values[:, 1], 0), (found.values[1], 1)):
        assert float((at[0] - 2 * at[1] + at[2]) / 1e-6) == pytest.approx(float(found.hessian[k, k]), rel=1e-4)
        assert float((at[2] - at[0]) / 2e-3) == pytest.approx(float(found.slopes[k]), rel=1e-4)


def test_eigenvectors_span_the_extreme_curvatures() -> None:
    g = formula()
    x = torch.tensor([0.1, 0.2, 0.3]).double()
    truth = torch.linalg.eigvalsh(torch.tensor([[2.0, 1, 0], [1, -6, 0], [0, 0, 1]]).double())
    found = ls.surface(g, x, "eigen", resolution=3)
    torch.testing.assert_close(found.curvatures, truth[[0, 2]])


def test_principal_directions_of_a_trajectory(dtype: torch.dtype, device: torch.device) -> None:
    """A trajectory in a plane: both directions lie in it, the first along its longer side, and nothing is outside."""
    g = ls.FunctionLandscape(lambda x: (x**2).sum(-1), dim=6)
    basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q.T.to(device, dtype)
    x = torch.ones(6, dtype=dtype, device=device)
    path = x + torch.tensor([[3.0, 0.1], [-2, 0.2], [1, -0.3], [0, 0]]).to(device, dtype) @ basis
    found = ls.surface(g, x, "pca", trajectory=path, resolution=3, spectrum=False)
    assert abs(float(found.directions[0] @ basis[0].cpu())) > 0.99
    where, outside = found.coordinates(path)
    assert float(outside.max()) < (1e-5 if dtype is torch.float32 else 1e-12)
    back = x.cpu() + where.to(dtype) @ torch.stack(found.directions)
    torch.testing.assert_close(back, path.cpu())
    off = found.coordinates((x.cpu() + found.directions[0])[None] + 0)[1]
    assert float(off) < 1e-5
    far = torch.linalg.svd(basis.cpu().double()).Vh[-1]
    assert float(found.coordinates((x.cpu().double() + far)[None])[1]) == pytest.approx(1, abs=1e-5)


def test_what_is_not_finite_stays_so() -> None:
    g = ls.FunctionLandscape(lambda x: x[..., 0].log() + x[..., 1], dim=2)
    found = ls.surface(
        g, torch.tensor([0.5, 0.0]).double(), directions=(torch.eye(2)[0], torch.eye(2)[1]), resolution=5
    )
    assert torch.equal(found.finite[:, 0], found.a > -0.5)


def test_a_finer_grid_takes_the_cells_it_knows() -> None:
    calls: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[:-1].numel())
        return saddle(x)

    g = ls.FunctionLandscape(counted, dim=3)
    x = torch.zeros(3).double()
    coarse = ls.surface(g, x, resolution=6, spectrum=False, seed=3)
    calls.clear()
    fine = ls.surface(g, x, resolution=11, spectrum=False, seed=3, known=coarse)
    assert max(calls) == 11 * 11 - 36
    assert torch.equal(fine.values[::2, ::2], coarse.values)
    torch.testing.assert_close(fine.values, ls.surface(formula(), x, resolution=11, spectrum=False, seed=3).values)
    with pytest.raises(ValueError, match="another plane or centre"):
        ls.surface(g, x + 1, resolution=11, known=coarse, seed=3)


def test_seeds_and_the_global_state() -> None:
    g, x = formula(), torch.zeros(3).double()
    before = torch.get_rng_state()
    first, again, other = (ls.surface(g, x, resolution=2, seed=s).directions[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_saves_and_loads(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = ls.surface(formula(), torch.zeros(3).double(), resolution=4)
    found.save(tmp_path)
    back = ls.load(tmp_path)
    assert torch.equal(back.values, found.values)
    assert back.directions[1].tolist() == found.directions[1].tolist()
    assert back.bounds == found.bounds


def test_every_tensor_names_its_device() -> None:
    f = mixed(torch.float64, torch.device("cpu"))
    x, path = f.point(), f.point() + torch.randn(4, f.dim, dtype=torch.float64)
    torch.set_default_device("meta")
    try:
        ls.surface(f, x, resolution=2)
        ls.surface(f, x, "pca", trajectory=path, resolution=2, spectrum=False).coordinates(path)
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resolution": 1}, "resolution must be at least 2"),
        ({"span": -1.0}, "span a positive number"),
        ({"normalize": "filters"}, "normalize must be 'filter', 'layer' or None, got 'filters'"),
        ({"directions": "eigne"}, "directions must be 'random', 'eigen', 'pca' or a pair"),
        ({"directions": "pca"}, "go together"),
        ({"directions": (torch.zeros(3), torch.ones(3))}, "zero or not finite"),
        ({"directions": (torch.ones(2), torch.ones(3))}, "two tensors"),
        ({"directions": "pca", "trajectory": torch.ones(1, 3)}, "lie on one line"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_bad_input_is_named(options: dict, said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=said):
        ls.surface(formula(), torch.zeros(3).double(), **options)
