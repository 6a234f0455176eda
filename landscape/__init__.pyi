"""The public names of ``landscape``: ``__init__.py`` imports each when it is first used."""

import landscape_figures

from . import inventory as inventory
from . import linalg as linalg
from . import optimizers as optimizers
from . import paths as paths
from . import points as points
from . import surfaces as surfaces
from . import theory as theory
from . import training as training
from . import zoo as zoo
from .errors import LoadingError as LoadingError
from .errors import NumericalError as NumericalError
from .inventory.census import census as census
from .landscapes import losses as losses
from .landscapes.domains import Box as Box
from .landscapes.domains import Sphere as Sphere
from .landscapes.domains import Torus as Torus
from .landscapes.formula import FunctionLandscape as FunctionLandscape
from .landscapes.model import ModelLandscape as ModelLandscape
from .landscapes.over import over_ranks as over_ranks
from .linalg.lanczos import eigsh as eigsh
from .linalg.quadrature import spectral_density as spectral_density
from .linalg.trace import trace as trace
from .operators.gauss_newton import GaussNewton as GaussNewton
from .operators.hessian import Hessian as Hessian
from .optimizers.escape import FallsBelow as FallsBelow
from .optimizers.escape import LeavesBall as LeavesBall
from .optimizers.escape import escape as escape
from .optimizers.schedules import schedule_curve as schedule_curve
from .paths.compare import compare as compare
from .paths.minimum_energy import minimum_energy_path as minimum_energy_path
from .points.analyze import analyze as analyze
from .points.checks import check as check
from .points.classify import classify as classify
from .points.find import find_stationary as find_stationary
from .results.estimate import Estimate as Estimate
from .results.store import load as load
from .surfaces.grids import surface as surface
from .training.diagnose import diagnose as diagnose
from .training.tracer import Tracer as Tracer

figures = landscape_figures
__version__: str
