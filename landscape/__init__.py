"""Where in the loss landscape is this model? Hessians, spectra and verdicts, with error bars.

import landscape as ls

f = ls.ModelLandscape(model, loss, batches)
report = ls.analyze(f)
print(report.point.kind, report.point.index_bounds)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape import theory as theory
    from landscape import zoo as zoo
    from landscape.core import Landscape as Landscape
    from landscape.core import Operator as Operator
    from landscape.core import Symmetry as Symmetry
    from landscape.errors import LoadingError as LoadingError
    from landscape.errors import NumericalError as NumericalError
    from landscape.inventory.census import Census as Census
    from landscape.inventory.census import census as census
    from landscape.inventory.counting import SaddleCounts as SaddleCounts
    from landscape.inventory.counting import count_saddles as count_saddles
    from landscape.inventory.networks import NetworkCensus as NetworkCensus
    from landscape.inventory.networks import critical_points as critical_points
    from landscape.inventory.picture import picture as picture
    from landscape.inventory.training_paths import training_paths as training_paths
    from landscape.inventory.views import Picture as Picture
    from landscape.inventory.views import Tree as Tree
    from landscape.inventory.widths import WidthStudy as WidthStudy
    from landscape.inventory.widths import index_by_width as index_by_width
    from landscape.landscapes import losses as losses
    from landscape.landscapes.domains import Box as Box
    from landscape.landscapes.domains import Sphere as Sphere
    from landscape.landscapes.domains import Torus as Torus
    from landscape.landscapes.formula import FunctionLandscape as FunctionLandscape
    from landscape.landscapes.model import ModelLandscape as ModelLandscape
    from landscape.linalg.lanczos import Eigenpairs as Eigenpairs
    from landscape.linalg.lanczos import eigsh as eigsh
    from landscape.linalg.minres import Solution as Solution
    from landscape.linalg.minres import minres as minres
    from landscape.linalg.quadrature import SpectralDensity as SpectralDensity
    from landscape.linalg.quadrature import spectral_density as spectral_density
    from landscape.linalg.trace import trace as trace
    from landscape.operators.gauss_newton import GaussNewton as GaussNewton
    from landscape.operators.hessian import Hessian as Hessian
    from landscape.optimizers.edge import EdgeStudy as EdgeStudy
    from landscape.optimizers.edge import edge_of_stability as edge_of_stability
    from landscape.optimizers.escape import Escapes as Escapes
    from landscape.optimizers.escape import FallsBelow as FallsBelow
    from landscape.optimizers.escape import LeavesBall as LeavesBall
    from landscape.optimizers.escape import Study as Study
    from landscape.optimizers.escape import escape as escape
    from landscape.optimizers.minima import minimum_study as minimum_study
    from landscape.optimizers.schedules import Schedules as Schedules
    from landscape.optimizers.schedules import schedule_curve as schedule_curve
    from landscape.optimizers.schedules import schedule_curves as schedule_curves
    from landscape.optimizers.studies import Comparison as Comparison
    from landscape.optimizers.studies import barrier_study as barrier_study
    from landscape.optimizers.studies import octopus_study as octopus_study
    from landscape.optimizers.studies import plateau_study as plateau_study
    from landscape.optimizers.studies import saddle_study as saddle_study
    from landscape.optimizers.sweeps import Sweep as Sweep
    from landscape.optimizers.sweeps import sweep as sweep
    from landscape.paths.connect import Connection as Connection
    from landscape.paths.connect import connect as connect
    from landscape.paths.curves import Profile as Profile
    from landscape.paths.curves import profile as profile
    from landscape.paths.disconnectivity import disconnectivity as disconnectivity
    from landscape.paths.minimum_energy import EnergyPath as EnergyPath
    from landscape.paths.minimum_energy import minimum_energy_path as minimum_energy_path
    from landscape.points.analyze import AnalysisReport as AnalysisReport
    from landscape.points.analyze import analyze as analyze
    from landscape.points.checks import Check as Check
    from landscape.points.classify import StationaryPoint as StationaryPoint
    from landscape.points.classify import classify as classify
    from landscape.points.find import FoundPoint as FoundPoint
    from landscape.points.find import find_stationary as find_stationary
    from landscape.results import Estimate as Estimate
    from landscape.results import Provenance as Provenance
    from landscape.results import load as load
    from landscape.results import save as save
    from landscape.surfaces.checking import check_picture as check_picture
    from landscape.surfaces.grids import surface as surface
    from landscape.surfaces.result import PictureCheck as PictureCheck
    from landscape.surfaces.result import Surface as Surface
    from landscape.surfaces.walks import Walk as Walk
    from landscape.training.callbacks import huggingface_callback as huggingface_callback
    from landscape.training.callbacks import lightning_callback as lightning_callback
    from landscape.training.continuation import Continuation as Continuation
    from landscape.training.continuation import continuation as continuation
    from landscape.training.diagnose import Cause as Cause
    from landscape.training.diagnose import Diagnosis as Diagnosis
    from landscape.training.diagnose import diagnose as diagnose
    from landscape.training.probes import Probe as Probe
    from landscape.training.probes import Probes as Probes
    from landscape.training.probes import probe as probe
    from landscape.training.reports import DiagnosisReport as DiagnosisReport
    from landscape.training.trace import Trace as Trace
    from landscape.training.trace import plateau_length as plateau_length
    from landscape.training.tracer import Tracer as Tracer

__version__ = "0.1.0"

_HOMES = {
    "points.analyze": ("AnalysisReport", "analyze"),
    "points.checks": ("Check",),
    "core": ("Landscape", "Operator", "Symmetry"),
    "landscapes.formula": ("FunctionLandscape",),
    "landscapes.domains": ("Box", "Sphere", "Torus"),
    "training.callbacks": ("huggingface_callback", "lightning_callback"),
    "training.continuation": ("Continuation", "continuation"),
    "training.diagnose": ("Cause", "Diagnosis", "diagnose"),
    "training.trace": ("Trace", "plateau_length"),
    "training.tracer": ("Tracer",),
    "optimizers.escape": ("Escapes", "FallsBelow", "LeavesBall", "Study", "escape"),
    "optimizers.edge": ("EdgeStudy", "edge_of_stability"),
    "training.probes": ("Probe", "Probes", "probe"),
    "training.reports": ("DiagnosisReport",),
    "optimizers.schedules": ("Schedules", "schedule_curve", "schedule_curves"),
    "optimizers.minima": ("minimum_study",),
    "optimizers.studies": ("Comparison", "barrier_study", "octopus_study", "plateau_study", "saddle_study"),
    "optimizers.sweeps": ("Sweep", "sweep"),
    "errors": ("LoadingError", "NumericalError"),
    "operators.hessian": ("Hessian",),
    "operators.gauss_newton": ("GaussNewton",),
    "linalg.lanczos": ("Eigenpairs", "eigsh"),
    "linalg.minres": ("Solution", "minres"),
    "linalg.quadrature": ("SpectralDensity", "spectral_density"),
    "linalg.trace": ("trace",),
    "landscapes.model": ("ModelLandscape",),
    "results": ("Estimate", "Provenance", "load", "save"),
    "inventory.census": ("Census", "census"),
    "points.classify": ("StationaryPoint", "classify"),
    "inventory.counting": ("SaddleCounts", "count_saddles"),
    "paths.disconnectivity": ("disconnectivity",),
    "paths.minimum_energy": ("EnergyPath", "minimum_energy_path"),
    "inventory.picture": ("picture",),
    "inventory.views": ("Picture", "Tree"),
    "inventory.networks": ("NetworkCensus", "critical_points"),
    "points.find": ("FoundPoint", "find_stationary"),
    "inventory.training_paths": ("training_paths",),
    "inventory.widths": ("WidthStudy", "index_by_width"),
    "surfaces.checking": ("check_picture",),
    "surfaces.result": ("PictureCheck", "Surface"),
    "paths.connect": ("Connection", "connect"),
    "paths.curves": ("Profile", "profile"),
    "surfaces.grids": ("surface",),
    "surfaces.walks": ("Walk",),
}
_MODULES = {"losses": "landscape.landscapes.losses", "theory": "landscape.theory", "zoo": "landscape.zoo"}
_NAMES = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and ``python -m landscape --help`` must not."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _NAMES:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    value = getattr(import_module(f"landscape.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
