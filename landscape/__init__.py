"""Where in the loss landscape is this model? Hessians, spectra and verdicts, with error bars.

import landscape as ls

f = ls.ModelLandscape(model, loss, batches)
report = ls.analyze(f)
print(report.point.kind, report.point.index_bounds)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape import losses as losses
    from landscape import theory as theory
    from landscape import zoo as zoo
    from landscape.analysis import AnalysisReport as AnalysisReport
    from landscape.analysis import analyze as analyze
    from landscape.checks import Check as Check
    from landscape.core import FunctionLandscape as FunctionLandscape
    from landscape.core import Landscape as Landscape
    from landscape.core import Operator as Operator
    from landscape.core import Symmetry as Symmetry
    from landscape.domains import Box as Box
    from landscape.domains import Sphere as Sphere
    from landscape.domains import Torus as Torus
    from landscape.dynamics.callbacks import huggingface_callback as huggingface_callback
    from landscape.dynamics.callbacks import lightning_callback as lightning_callback
    from landscape.dynamics.continuation import Continuation as Continuation
    from landscape.dynamics.continuation import continuation as continuation
    from landscape.dynamics.diagnose import Cause as Cause
    from landscape.dynamics.diagnose import Diagnosis as Diagnosis
    from landscape.dynamics.diagnose import diagnose as diagnose
    from landscape.dynamics.edge import EdgeStudy as EdgeStudy
    from landscape.dynamics.edge import edge_of_stability as edge_of_stability
    from landscape.dynamics.escape import Escapes as Escapes
    from landscape.dynamics.escape import FallsBelow as FallsBelow
    from landscape.dynamics.escape import LeavesBall as LeavesBall
    from landscape.dynamics.escape import Study as Study
    from landscape.dynamics.escape import escape as escape
    from landscape.dynamics.minima import minimum_study as minimum_study
    from landscape.dynamics.probes import Probe as Probe
    from landscape.dynamics.probes import Probes as Probes
    from landscape.dynamics.probes import probe as probe
    from landscape.dynamics.reports import DiagnosisReport as DiagnosisReport
    from landscape.dynamics.schedules import Schedules as Schedules
    from landscape.dynamics.schedules import schedule_curve as schedule_curve
    from landscape.dynamics.schedules import schedule_curves as schedule_curves
    from landscape.dynamics.studies import Comparison as Comparison
    from landscape.dynamics.studies import barrier_study as barrier_study
    from landscape.dynamics.studies import octopus_study as octopus_study
    from landscape.dynamics.studies import plateau_study as plateau_study
    from landscape.dynamics.studies import saddle_study as saddle_study
    from landscape.dynamics.sweeps import Sweep as Sweep
    from landscape.dynamics.sweeps import sweep as sweep
    from landscape.dynamics.trace import Trace as Trace
    from landscape.dynamics.trace import plateau_length as plateau_length
    from landscape.dynamics.tracer import Tracer as Tracer
    from landscape.errors import LoadingError as LoadingError
    from landscape.errors import NumericalError as NumericalError
    from landscape.hessian import GaussNewton as GaussNewton
    from landscape.hessian import Hessian as Hessian
    from landscape.linalg.lanczos import Eigenpairs as Eigenpairs
    from landscape.linalg.lanczos import eigsh as eigsh
    from landscape.linalg.minres import Solution as Solution
    from landscape.linalg.minres import minres as minres
    from landscape.linalg.quadrature import SpectralDensity as SpectralDensity
    from landscape.linalg.quadrature import spectral_density as spectral_density
    from landscape.linalg.trace import trace as trace
    from landscape.model import ModelLandscape as ModelLandscape
    from landscape.results import Estimate as Estimate
    from landscape.results import Provenance as Provenance
    from landscape.results import load as load
    from landscape.results import save as save
    from landscape.stationary.census import Census as Census
    from landscape.stationary.census import census as census
    from landscape.stationary.classify import StationaryPoint as StationaryPoint
    from landscape.stationary.classify import classify as classify
    from landscape.stationary.counting import SaddleCounts as SaddleCounts
    from landscape.stationary.counting import count_saddles as count_saddles
    from landscape.stationary.disconnectivity import Tree as Tree
    from landscape.stationary.disconnectivity import disconnectivity as disconnectivity
    from landscape.stationary.networks import NetworkCensus as NetworkCensus
    from landscape.stationary.networks import critical_points as critical_points
    from landscape.stationary.paths import EnergyPath as EnergyPath
    from landscape.stationary.paths import minimum_energy_path as minimum_energy_path
    from landscape.stationary.picture import Picture as Picture
    from landscape.stationary.picture import picture as picture
    from landscape.stationary.search import FoundPoint as FoundPoint
    from landscape.stationary.search import find_stationary as find_stationary
    from landscape.stationary.training import training_paths as training_paths
    from landscape.stationary.widths import WidthStudy as WidthStudy
    from landscape.stationary.widths import index_by_width as index_by_width
    from landscape.surfaces.checking import PictureCheck as PictureCheck
    from landscape.surfaces.checking import check_picture as check_picture
    from landscape.surfaces.connect import Connection as Connection
    from landscape.surfaces.connect import connect as connect
    from landscape.surfaces.curves import Profile as Profile
    from landscape.surfaces.curves import profile as profile
    from landscape.surfaces.grids import Surface as Surface
    from landscape.surfaces.grids import surface as surface
    from landscape.surfaces.walks import Walk as Walk

__version__ = import_module("importlib.metadata").version("torch-landscape")

_HOMES = {
    "analysis": ("AnalysisReport", "analyze"),
    "checks": ("Check",),
    "core": ("FunctionLandscape", "Landscape", "Operator", "Symmetry"),
    "domains": ("Box", "Sphere", "Torus"),
    "dynamics.callbacks": ("huggingface_callback", "lightning_callback"),
    "dynamics.continuation": ("Continuation", "continuation"),
    "dynamics.diagnose": ("Cause", "Diagnosis", "diagnose"),
    "dynamics.trace": ("Trace", "plateau_length"),
    "dynamics.tracer": ("Tracer",),
    "dynamics.escape": ("Escapes", "FallsBelow", "LeavesBall", "Study", "escape"),
    "dynamics.edge": ("EdgeStudy", "edge_of_stability"),
    "dynamics.probes": ("Probe", "Probes", "probe"),
    "dynamics.reports": ("DiagnosisReport",),
    "dynamics.schedules": ("Schedules", "schedule_curve", "schedule_curves"),
    "dynamics.minima": ("minimum_study",),
    "dynamics.studies": ("Comparison", "barrier_study", "octopus_study", "plateau_study", "saddle_study"),
    "dynamics.sweeps": ("Sweep", "sweep"),
    "errors": ("LoadingError", "NumericalError"),
    "hessian": ("GaussNewton", "Hessian"),
    "linalg.lanczos": ("Eigenpairs", "eigsh"),
    "linalg.minres": ("Solution", "minres"),
    "linalg.quadrature": ("SpectralDensity", "spectral_density"),
    "linalg.trace": ("trace",),
    "model": ("ModelLandscape",),
    "results": ("Estimate", "Provenance", "load", "save"),
    "stationary.census": ("Census", "census"),
    "stationary.classify": ("StationaryPoint", "classify"),
    "stationary.counting": ("SaddleCounts", "count_saddles"),
    "stationary.disconnectivity": ("Tree", "disconnectivity"),
    "stationary.paths": ("EnergyPath", "minimum_energy_path"),
    "stationary.picture": ("Picture", "picture"),
    "stationary.networks": ("NetworkCensus", "critical_points"),
    "stationary.search": ("FoundPoint", "find_stationary"),
    "stationary.training": ("training_paths",),
    "stationary.widths": ("WidthStudy", "index_by_width"),
    "surfaces.checking": ("PictureCheck", "check_picture"),
    "surfaces.connect": ("Connection", "connect"),
    "surfaces.curves": ("Profile", "profile"),
    "surfaces.grids": ("Surface", "surface"),
    "surfaces.walks": ("Walk",),
}
_MODULES = ("losses", "theory", "zoo")
_NAMES = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and ``python -m landscape --help`` must not."""
    if name in _MODULES:
        return import_module(f"landscape.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    value = getattr(import_module(f"landscape.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
