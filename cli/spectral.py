"""The spectrum alone, as a result: what `landscape spectrum` computes, without a verdict."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from landscape import analysis, results
from landscape.core import Progress, silent
from landscape.hessian import Hessian
from landscape.linalg.lanczos import Eigenpairs, eigsh
from landscape.linalg.quadrature import SpectralDensity, spectral_density
from landscape.loading import Problem
from landscape.results import Provenance, result


@result
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Both ends of a Hessian's spectrum and its density. Units of eigenvalues: loss per squared parameter unit."""

    name: str
    parameters: int
    samples: int
    pairs: Eigenpairs
    sampling_errors: Tensor  # (k,) one data-sampling standard error per value; NaN: fewer than two batches
    density: SpectralDensity
    notes: tuple[str, ...]  # what loading did
    products: int  # Hessian-vector products spent in all
    seconds: float
    provenance: Provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store the spectrum in ``folder``."""
        return results.save(self, folder)


def spectrum(
    problem: Problem,
    *,
    largest: int,
    smallest: int,
    tol: float,
    probes: int,
    steps: int,
    seed: int,
    config: dict[str, Any],
    progress: Progress = silent,
) -> Spectrum:
    """Eigenpairs, their errors and the density of a problem's Hessian; arguments as of ``analyze``."""
    start = time.perf_counter()
    f = problem.landscape
    H = Hessian(f)
    pairs = eigsh(H, largest=largest, smallest=smallest, tol=tol, seed=seed, progress=progress)
    errors = analysis.sampling_errors(H, pairs)
    density = spectral_density(H, probes=probes, steps=steps, seed=seed, progress=progress)
    return Spectrum(
        name=problem.name,
        parameters=f.dim,
        samples=f.samples,
        pairs=pairs,
        sampling_errors=errors,
        density=density,
        notes=problem.notes,
        products=H.products,
        seconds=time.perf_counter() - start,
        provenance=analysis.provenance(f, H.x, problem.name, seed, config),
    )
