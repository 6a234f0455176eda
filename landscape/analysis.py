"""The main job: where in its landscape is this point, and how sure are we."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from landscape import results
from landscape.checks import Check
from landscape.results import Estimate, Provenance, result

if TYPE_CHECKING:
    from landscape.linalg.quadrature import SpectralDensity
    from landscape.stationary.classify import StationaryPoint


@result
@dataclass(frozen=True)
class Layer:
    """One module's own parameters: its share of the gradient and the ends of its own diagonal block of the Hessian."""

    name: str  # the module's dotted name, "(top)" for parameters of the model itself
    parameters: int
    gradient_norm: float
    largest: Estimate  # eigenvalue of the block; error is the solver's bound, low and high value -+ bound
    smallest: Estimate


@result
@dataclass(frozen=True, eq=False)
class Slice:
    """f(x + t v) along an eigenvector v, beside the parabola that f(x), g'v and v'Hv predict."""

    name: str  # "largest" or "smallest"
    curvature: float  # v'Hv, the eigenvalue
    slope: float  # g'v
    t: Tensor  # (m,) float64, in the units of x
    values: Tensor  # (m,) float64, measured; NaN where the loss is not finite
    predicted: Tensor  # (m,) float64, f(x) + slope t + curvature t^2 / 2


@result
@dataclass(frozen=True, eq=False)
class AnalysisReport:
    """Everything ``analyze`` found. Units of eigenvalues: loss per squared parameter unit."""

    name: str
    parameters: int
    samples: int  # 0 for a formula
    point: StationaryPoint
    sampling_errors: (
        Tensor  # (k,) one data-sampling standard error per value of point.pairs; NaN: fewer than two batches
    )
    density: SpectralDensity
    trace: Estimate
    layers: tuple[Layer, ...]  # empty for a formula
    slices: tuple[Slice, ...]
    checks: tuple[Check, ...]
    advice: tuple[str, ...]  # what to do next, most useful first
    notes: tuple[str, ...]  # what loading did: prefixes stripped, dtypes converted
    products: int  # Hessian-vector products spent in all
    seconds: float
    provenance: Provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store the report in ``folder``; ``landscape.load(folder)`` brings it back."""
        return results.save(self, folder)
