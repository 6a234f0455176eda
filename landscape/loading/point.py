"""A point of a landscape from what a user writes: coordinates, a file of numbers, a checkpoint, or
nothing.

``1,-2.5,pi/2``: one number a coordinate. ``.npy``, or ``.npz`` with one array: n numbers in any
shape. A run folder: the point that it is about. For a model any checkpoint that fits it: the point
is its analysed parameters, and the model stays as it was.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from landscape import files, results, rng, specs
from landscape.core import Landscape
from landscape.errors import LoadingError, NumericalError
from landscape.files.checkpoints import load_checkpoint
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.loading.formulas import number
from landscape.points.classify import StationaryPoint
from landscape.results import archives


def read(spec: str, f: Landscape, what: str = "the point") -> Tensor:
    """The point (n,) that ``spec`` writes, in the landscape's dtype, inside its domain; ``what`` is
    what an error names.

    Raises:
        ValueError: not n numbers, or outside the domain.
        LoadingError: a file that cannot be read or does not fit.
        NumericalError: a file with a NaN or infinity.
    """
    suffix = Path(spec).suffix.lower()
    if (Path(spec) / "result.json").is_file():
        x = _from_run(spec)
    elif suffix == ".npy" or (suffix == ".npz" and not f.layout):
        x = _from_file(Path(spec))
    elif _numbers(spec):
        coordinates = [number(part, what) for part in spec.split(",")]
        x = torch.tensor(coordinates, dtype=torch.float64, device="cpu")
    elif f.layout:
        return _from_checkpoint(spec, require_model(f, f"{what}: a checkpoint is a model's."))
    else:
        raise ValueError(
            f"{what}: {spec!r} is neither numbers with commas between them nor a .npy or .npz file "
            f"nor a run."
        )
    if not bool(torch.isfinite(x).all()):
        raise NumericalError(f"{what}: {spec} holds a NaN or infinity.")
    if len(x) != f.dim:
        raise ValueError(
            f"{what}: coordinates of {f.name}: {f.dim:,}, given in {specs.one_line(spec, 60)}: "
            f"{len(x):,}."
        )
    x = x.to(device=f.device, dtype=f.dtype)
    if not bool(f.domain.contains(x)):
        raise ValueError(f"{what}: {spec} is outside the domain of {f.name}, {f.domain}.")
    return f.domain.wrap(x)


def draw(f: Landscape, seed: int) -> Tensor:
    """A random point (n,) of a formula's domain at which it is finite.

    Raises:
        NumericalError: a hundred draws gave none.
    """
    domain = f.domain
    x = domain.sample(100, f.dim, rng.generator(seed), f.dtype)
    with torch.no_grad():
        finite = torch.isfinite(f.value(x))
    if not bool(finite.any()):
        raise NumericalError(f"{f.name} is NaN or infinite at all 100 starts drawn; pass --start.")
    return x[finite][0]


def walk(spec: str, f: Landscape, what: str = "the trajectory") -> Tensor:
    """The points (t, n) of a trajectory: a .npy file of that shape, or a folder of points, each as
    ``read`` takes it, by name.

    Numbers in names count as numbers: step-9 comes before step-10.

    Raises:
        LoadingError, NumericalError, ValueError: as ``read`` does; a folder without files.
    """
    path = Path(spec)
    if path.is_dir():
        inside = sorted(
            (p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")), key=_natural
        )
        if not inside:
            raise LoadingError(f"{what}: the folder {spec} holds no checkpoints.")
        return torch.stack([read(str(p), f, what) for p in inside])
    if path.suffix.lower() != ".npy":
        raise ValueError(
            f"{what}: {spec} is neither a .npy file of points (t, n) nor a folder of checkpoints."
        )
    flat = _from_file(path)
    if not len(flat) or len(flat) % f.dim:
        raise ValueError(
            f"{what}: {spec} holds {len(flat):,} numbers, which are no points of {f.dim:,} "
            f"coordinates."
        )
    X = flat.reshape(-1, f.dim)
    if not bool(torch.isfinite(X).all()):
        raise NumericalError(f"{what}: {spec} holds a NaN or infinity.")
    return X.to(device=f.device, dtype=f.dtype)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", path.name)
    ]


def _numbers(spec: str) -> bool:
    """Whether this is meant as coordinates and not as a file."""
    return not Path(spec).exists() and ("," in spec or not Path(spec).suffix[1:].isalpha())


def _from_run(folder: str) -> Tensor:
    """The point that a stored search, analysis or path is about."""
    result = results.load(folder)
    for name in ("found", "point", "saddle"):
        if isinstance(point := getattr(result, name, None), StationaryPoint):
            return point.x
    raise LoadingError(
        f"{folder} holds a {type(result).__name__}, which is not about one point; pass numbers."
    )


def _from_file(path: Path) -> Tensor:
    if not path.is_file():
        raise LoadingError(f"there is no file {path}. Check the path.")
    if path.suffix.lower() == ".npz":
        arrays = files.read_tree(path)
        if not isinstance(arrays, dict) or len(arrays) != 1:
            raise LoadingError(
                f"{path} should hold one array, the point; it holds {files.describe(arrays)}."
            )
        found = next(iter(arrays.values()))
    else:
        try:
            found = files.tensor_of(archives.array(memoryview(bytearray(path.read_bytes()))))
        except Exception:  # of many kinds: a header is read as Python's literals are
            raise LoadingError(f"{path} is no array of numbers: write it by numpy.save.") from None
    if not isinstance(found, Tensor) or found.is_complex():
        raise LoadingError(f"{path} does not hold real numbers.")
    return found.reshape(-1).double()


def _from_checkpoint(spec: str, f: ModelLandscape) -> Tensor:
    """The analysed parameters of a checkpoint; the model's own state comes back."""
    before = {
        k: v.detach().clone() for k, v in f.model.state_dict().items() if isinstance(v, Tensor)
    }
    load_checkpoint(f.model, spec)
    try:
        x = f.point().detach().clone()
    finally:
        live = f.model.state_dict()
        with torch.no_grad():
            for name, value in before.items():
                live[name].copy_(value)
    if not bool(torch.isfinite(x).all()):
        raise NumericalError(f"{spec} holds a NaN or infinity among the analysed parameters.")
    return x
