"""Where in the loss landscape is this model? Hessians, spectra and verdicts, with error bars.

    import landscape as ls

    f = ls.ModelLandscape(model, loss, batches)
    report = ls.analyze(f)
    print(report.point.kind, report.point.index_bounds)

A landscape, its Hessian, what solvers make of it
    ModelLandscape, FunctionLandscape, Box, Torus, Sphere, losses, zoo
    over_ranks: the same, by all processes that torchrun has started
    Hessian, GaussNewton
    eigsh, spectral_density, trace, and ls.linalg

The questions, each with a namespace for what belongs to it
    What is this point?            analyze, classify, check, find_stationary     ls.points
    Which points are there?        census                                        ls.inventory
    What lies between two?         minimum_energy_path, compare                  ls.paths
    What does it look like?        surface                                       ls.surfaces
    Why is my training stuck?      Tracer, diagnose                              ls.training
    How do optimisers move?        escape, LeavesBall, FallsBelow, schedule_curve   ls.optimizers

What is known, what is stored and drawn, what goes wrong
    theory; load, Estimate, ls.results; LoadingError, NumericalError
    figures: recipes by name, as the command draws them
"""

import warnings
from importlib import import_module

import lazy_loader

# The list of public names is ``__init__.pyi``; torch takes seconds to import, and ``python -m
# landscape --help`` must not.
_public, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["figures"]

__version__ = import_module("importlib.metadata").version("torch-landscape")

# Rooms that are there to import from and stand in no list.
_ROOMS = ("landscapes", "loading", "operators", "ranks", "results")

# Names that stood at the top until version 0.1, by the namespace that has them now.
_MOVED = {
    "inventory": (
        "Census NetworkCensus Picture SaddleCounts Tree WidthStudy count_saddles critical_points "
        "index_by_width picture training_paths "
    ),
    "landscapes": ("Landscape Operator Symmetry "),
    "linalg": ("Eigenpairs Solution SpectralDensity minres "),
    "optimizers": (
        "Comparison EdgeStudy Escapes Schedules Study Sweep barrier_study edge_of_stability "
        "minimum_study octopus_study plateau_study saddle_study schedule_curves sweep "
    ),
    "paths": ("Connection EnergyPath Profile connect disconnectivity profile "),
    "points": ("AnalysisReport Check FoundPoint StationaryPoint "),
    "results": ("Provenance save "),
    "surfaces": ("PictureCheck Surface Walk check_picture "),
    "training": (
        "Cause Continuation Diagnosis DiagnosisReport Probe Probes Trace continuation "
        "huggingface_callback lightning_callback plateau_length probe "
    ),
}
_PLACES = {name: place for place, names in _MOVED.items() for name in names.split()}


def __dir__() -> list[str]:
    return [*_names(), "figures"]


def __getattr__(name: str) -> object:
    if name == "figures":  # drawn of results by a package that imports this one
        return import_module("landscape_figures")
    if name in _ROOMS:
        return import_module(f"landscape.{name}")
    if name not in _PLACES:
        return _public(name)
    place = f"landscape.{_PLACES[name]}"
    warnings.warn(f"landscape.{name} is {place}.{name} now.", DeprecationWarning, stacklevel=2)
    return getattr(import_module(place), name)
