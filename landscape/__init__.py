"""Where in the loss landscape is this model? Hessians, spectra and verdicts, with error bars.

import landscape as ls

f = ls.ModelLandscape(model, loss, batches)
report = ls.analyze(f)
print(report.point.kind, report.point.index_bounds)
"""

from landscape.core import Box, FunctionLandscape, Landscape, Operator
from landscape.errors import LoadingError, NumericalError
from landscape.hessian import GaussNewton, Hessian
from landscape.model import ModelLandscape
from landscape.results import Estimate, Provenance, load, save

__version__ = "0.1.0"

__all__ = [
    "Box",
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
    "load",
    "save",
]
