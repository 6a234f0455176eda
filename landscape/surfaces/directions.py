"""The directions that span a picture: drawn, given, eigenvectors, principal axes of a trajectory,
or an optimiser's moments.

x: (n,), the centre. A direction is (n,). A model's parameters are told apart by its layout; a
formula has one flat vector. Filter normalisation is that of Li, Xu, Taylor, Studer and Goldstein
(2018, "Visualizing the Loss Landscape of Neural Nets", section 4): each filter of a direction gets
the Frobenius norm of the same filter of x, d <- d ‖w‖ / ‖d‖; a filter is what makes one output unit
or channel. Biases and the parameters of normalisation layers are zero, unless asked for.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.core import Landscape
from landscape.landscapes.model import require_model
from landscape.linalg.lanczos import eigsh
from landscape.operators.hessian import Hessian

NORMALISATIONS = ("filter", "layer", None)
NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def normalised(
    f: Landscape, x: Tensor, d: Tensor, normalize: str | None, *, biases: bool = False
) -> Tensor:
    """The direction d (n,) normalised for the centre x (n,): a new tensor (n,), of the dtype and on
    the device of x.

    Args:
        normalize: "filter": each filter of d has the norm of that filter of x. "layer": each
            parameter tensor has the norm of that tensor of x. None: d as it is. The flat vector of
            a formula has neither and gets unit length.
        biases: keep biases and the parameters of normalisation layers, each entry being a filter of
            its own, instead of zeroing them. None zeroes nothing.

    Raises:
        TypeError, ValueError: d is no finite vector (n,), or nothing is left of it; an unknown
            normalisation.
    """
    require_normalisation(normalize)
    d = _direction(d, x)
    if normalize is None:
        return d
    if not f.layout:
        return _unit(d)
    model = require_model(f, "filter normalisation is about the layers of a model.").model
    owners = {id(p): m for m in model.modules() for p in m.parameters(recurse=False)}
    parameters = dict(model.named_parameters())
    for name, where in f.layout.items():
        parameter = parameters[name]
        owner = owners[id(parameter)]
        w, part = (v[where].reshape(parameter.shape) for v in (x, d))
        bias = _is_bias(name, parameter, owner)
        if bias and not biases:
            d[where] = 0.0
        elif normalize == "layer":
            d[where] = _matched(part.reshape(1, -1), w.reshape(1, -1)).reshape(-1)
        else:
            d[where] = _by_filter(part, w, owner, bias).reshape(-1)
    if not bool(d.any()):
        raise ValueError(
            f'normalize="{normalize}" leaves a direction of zeros: it moves no weight that is '
            "zero, and no bias or "
            "normalisation layer unless biases=True. Pass biases=True or normalize=None."
        )
    return d


def _direction(d: Tensor, x: Tensor) -> Tensor:
    """A copy of d (n,), in the dtype and on the device of x (n,)."""
    if not isinstance(d, Tensor):
        raise TypeError(f"a direction is a tensor ({len(x)},), got {type(d).__name__}.")
    if d.shape != x.shape:
        raise ValueError(
            f"a direction has the shape of the point, {tuple(x.shape)}, got {tuple(d.shape)}."
        )
    d = d.detach().to(x.device, x.dtype, copy=True)
    if not bool(torch.isfinite(d).all()):
        raise ValueError("a direction has a NaN or infinity.")
    return d


def _by_filter(d: Tensor, w: Tensor, owner: nn.Module, bias: bool) -> Tensor:
    """The tensor d of a direction with the norms of the filters of the weight w; a bias's entries
    are filters of one.
    """
    if isinstance(owner, TRANSPOSED) and w.ndim > 1:
        return _matched_transposed(d, w, owner.groups)
    # the first dimension counts the outputs
    rows = (-1, 1) if bias else (w.shape[0] if w.ndim else 1, -1)
    return _matched(d.reshape(rows), w.reshape(rows))


def require_normalisation(normalize: str | None) -> None:
    """Raise a ValueError unless there is such a normalisation."""
    if normalize not in NORMALISATIONS:
        raise ValueError(f"normalize must be one of filter, layer, None, got {normalize!r}.")


def drawn(f: Landscape, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two Gaussian directions (n,), the same for every dtype and device; for a formula of two or
    more coordinates at right angles.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    pair = torch.randn(2, len(x), generator=generator, dtype=torch.float64, device="cpu")
    u, v = pair[0], pair[1]
    if not f.layout and len(x) > 1:
        v = v - (v @ u) / (u @ u) * u
    return u.to(x.device, x.dtype), v.to(x.device, x.dtype)


def eigenvectors(f: Landscape, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Unit eigenvectors of the Hessian at x: of the largest eigenvalue, then of the smallest. Cost:
    see ``eigsh``.
    """
    if len(x) < 2:
        raise ValueError(
            "eigenvectors span a plane in two dimensions or more, and this landscape has one."
        )
    pairs = eigsh(Hessian(f, x), largest=1, smallest=1, seed=seed)
    V = pairs.vectors.to(x.device, x.dtype)
    order = pairs.values.argsort(descending=True).to(x.device)
    return V[:, order[0]].clone(), V[:, order[-1]].clone()


def principal_axes(x: Tensor, trajectory: Tensor | None, count: int = 2) -> tuple[Tensor, ...]:
    """The ``count`` axes through x that hold most of the squared distances of ``trajectory`` (t, n)
    from x, orthonormal.
    """
    if trajectory is None:
        raise ValueError('directions="pca" needs trajectory=, the points (t, n) of a path.')
    D = trajectory.detach().to(x.device, x.dtype) - x
    if not bool(torch.isfinite(D).all()):
        raise ValueError(
            "the trajectory has a NaN or infinity, and so no principal axes: leave those points "
            "out."
        )
    _, sizes, Vh = torch.linalg.svd(D, full_matrices=False)
    rank = int((sizes > 1e-6 * sizes.max()).sum()) if sizes.max() > 0 else 0
    if rank < count:
        raise ValueError(
            f"the trajectory spans {rank} dimensions about the centre, {count} are needed: pass "
            f"more points."
        )
    return tuple(v.clone() for v in Vh[:count])


def reach(x: Tensor, walks: Sequence[Tensor], count: int = 2) -> float:
    """A little farther than any of the walks (t, n) goes along their principal axes from x (n,)."""
    points = torch.cat(list(walks)).to(x)
    V = torch.stack(principal_axes(x, points, count))
    return 1.15 * float(((points - x) @ V.T).abs().max())


def moments(f: Landscape, optimizer: Optimizer | Mapping[str, object]) -> tuple[Tensor, Tensor]:
    """What Adam and its kin remember: the averages of gradients and of their squares, each (n,) in
    the order of f's points.

    Args:
        optimizer: an optimiser, or its ``state_dict()``; of a model's, whose parameters are in the
            order of ``model.parameters()``; of a formula's, one tensor (n,).

    Raises:
        ValueError: it has taken no step, has no such averages, or is about other parameters.
    """
    order = _kept(optimizer)
    found = []
    for key in ("exp_avg", "exp_avg_sq"):
        parts = [entry.get(key) for entry in order]
        if not any(isinstance(part, Tensor) for part in parts):
            raise ValueError(
                f"the optimiser's state has no {key}: pass one like Adam that has taken a step."
            )
        found.append(_in_order(f, optimizer, parts, key))
    return found[0], found[1]


def _kept(optimizer: Optimizer | Mapping[str, object]) -> list[Mapping[str, Tensor]]:
    """What an optimiser keeps for each of its parameters, in order."""
    saved = optimizer.state_dict() if isinstance(optimizer, Optimizer) else optimizer
    entries = saved if isinstance(saved, Mapping) else {}
    state, groups = entries.get("state"), entries.get("param_groups")
    if not isinstance(state, Mapping) or not isinstance(groups, list):
        raise ValueError(
            "an optimiser's state is what optimizer.state_dict() gives: its keys are state and "
            "param_groups."
        )
    return [state.get(i, {}) for group in groups for i in group["params"]]


def _in_order(
    f: Landscape, optimizer: Optimizer | Mapping[str, object], parts: list[Tensor | None], key: str
) -> Tensor:
    """The parts, one a parameter of the optimiser, as a vector (n,).

    Parameters that got no gradient have moments of zero.
    """
    if not f.layout:
        flat = [part for part in parts if isinstance(part, Tensor)]
        if len(flat) != 1 or flat[0].numel() != f.dim:
            raise ValueError(
                f"the optimiser moves {len(flat)} tensors, and a point of this formula is one of "
                f"shape ({f.dim},)."
            )
        return flat[0].detach().reshape(-1).to(f.device, f.dtype, copy=True)
    by_name = _by_parameter(f, optimizer, parts)
    d = torch.zeros(f.dim, dtype=f.dtype, device=f.device)
    for name, where in f.layout.items():
        part, shape = by_name.get(name), tuple(f.shapes[name])
        if part is None:
            continue
        if tuple(part.shape) != shape:
            raise ValueError(
                f"{key} of {name} has shape {tuple(part.shape)}, the parameter {shape}."
            )
        d[where] = part.detach().reshape(-1).to(f.device, f.dtype)
    return d


def _by_parameter(
    f: Landscape, optimizer: Optimizer | Mapping[str, object], parts: list[Tensor | None]
) -> dict[str, Tensor | None]:
    """The parts by the names of a model's parameters."""
    named = f.parameters()
    if isinstance(optimizer, Optimizer):  # its own parameters say which is which
        held = [p for group in optimizer.param_groups for p in group["params"]]
        places = {id(p): part for p, part in zip(held, parts, strict=True)}
        chosen = {name: places.get(id(named[name])) for name in f.layout}
        if all(part is None for part in chosen.values()):
            raise ValueError(
                "the optimiser moves none of the parameters of this landscape's model."
            )
        return chosen
    trained = [name for name, p in named.items() if p.requires_grad]
    every = list(named) if len(parts) == len(named) else trained
    if len(every) != len(parts):
        raise ValueError(
            f"the optimiser's state is of {len(parts)} parameters, the model has {len(named)}."
        )
    return dict(zip(every, parts, strict=True))


def _is_bias(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    leaf = name.rpartition(".")[2]
    return parameter.ndim <= 1 or leaf.startswith("bias") or isinstance(owner, NORM_LAYERS)


def _matched(d: Tensor, w: Tensor) -> Tensor:
    """Rows of d (k, m) with the norms of the rows of w; a row of zeros stays."""
    sizes = torch.linalg.vector_norm(d, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(w, dim=1, keepdim=True)
    matched: Tensor = torch.where(
        sizes > 0, d * (wanted / sizes.clamp_min(torch.finfo(d.dtype).tiny)), 0.0
    )
    return matched


def _matched_transposed(d: Tensor, w: Tensor, groups: int) -> Tensor:
    """The same for the weight of a transposed convolution (in, out / groups, ...), whose outputs
    are counted second.
    """
    shape = (groups, d.shape[0] // groups, d.shape[1], -1)
    d4, w4 = (t.reshape(shape).transpose(1, 2) for t in (d, w))
    rows = (groups * d.shape[1], -1)
    return _matched(d4.reshape(rows), w4.reshape(rows)).reshape(d4.shape).transpose(1, 2)


def _unit(d: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(d)
    if not bool(size > 0):
        raise ValueError("a direction is zero: it spans nothing.")
    unit: Tensor = d / size
    return unit
