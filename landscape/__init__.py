"""Where in the loss landscape is this model? Hessians, spectra and verdicts, with error bars.

import landscape as ls

f = ls.ModelLandscape(model, loss, batches)
report = ls.analyze(f)
print(report.point.kind, report.point.index_bounds)
"""

from landscape.analysis import AnalysisReport, analyze
from landscape.checks import Check
from landscape.core import Box, FunctionLandscape, Landscape, Operator
from landscape.errors import LoadingError, NumericalError
from landscape.hessian import GaussNewton, Hessian
from landscape.linalg.lanczos import Eigenpairs, eigsh
from landscape.linalg.quadrature import SpectralDensity, spectral_density
from landscape.linalg.trace import trace
from landscape.model import ModelLandscape
from landscape.results import Estimate, Provenance, load, save
from landscape.stationary.classify import StationaryPoint, classify

__version__ = "0.1.0"

__all__ = [
    "AnalysisReport",
    "Box",
    "Check",
    "Eigenpairs",
    "Estimate",
    "FunctionLandscape",
    "GaussNewton",
    "Hessian",
    "Landscape",
    "LoadingError",
    "ModelLandscape",
    "NumericalError",
    "Operator",
    "Provenance",
    "SpectralDensity",
    "StationaryPoint",
    "analyze",
    "classify",
    "eigsh",
    "load",
    "save",
    "spectral_density",
    "trace",
]
