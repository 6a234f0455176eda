"""Names that a shell completes. They stand here because completion must not wait for torch; a test
holds that they are the library's.
"""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

MODELS = ("digits-mlp", "digits-cnn", "digits-tiny", "pnet", "rnet", "g2p")
FORMULAS = (
    *("quadratic", "strict-saddle", "monkey-saddle", "x4-minus-y4", "x4-plus-y4", "minus-x4-y4"),
    *("x2-plus-y3", "x2-plus-y4", "cubic-inflection", "crossed-valleys", "peano", "himmelblau"),
    *("beale", "rosenbrock", "styblinski-tang", "rastrigin", "xy-ring", "phi4-ring"),
    *("lennard-jones", "trigonometric", "p-spin", "octopus", "double-well", "gaussian-well"),
    *("deep-linear", "factorisation", "phase-retrieval", "xor-net", "student-teacher"),
    *("tanh-net", "sigmoid-net"),
)
FAMILIES = (
    *("isotropic-waves", "strict-saddle", "rosenbrock", "styblinski-tang", "rastrigin", "xy-ring"),
    *("phi4-ring", "trigonometric", "p-spin", "octopus", "double-well", "gaussian-well"),
)
STUCK = (
    *("saturated-sigmoids", "dead-relus", "zero-tanh", "rate-decayed", "rate-too-large"),
    *("deep-sigmoids", "gaussian-well", "easom", "deep-linear", "long-valley", "noise-floor"),
    "converged",
)
LOSSES = (
    *("cross-entropy", "mse", "l1", "smooth-l1", "huber", "bce", "bce-with-logits", "nll"),
    "asymmetric",
)
FIGURES = (
    *("basins", "blocks", "survival"),
    *("all", "spectrum", "density", "slices", "layers", "contours", "value_index", "hits"),
    *("disconnectivity", "index_loss", "path_profile", "saddle_share", "minimum_chance"),
    *("index_counts", "index_energy", "index_width", "complexity", "run_loss", "run_curvature"),
    *("run_layers", "probes", "surface", "surface_3d", "metrics", "walks", "line", "connection"),
    *("escape_times", "escape_sweep", "escape_paths", "escape_space", "escape_film", "schedule"),
    *("edge", "comparison"),
)
EXHIBITS = (
    *("saddle", "saddle-race", "plateau-race", "monkey-saddle", "styblinski-tang", "coin-toss"),
    *("bray-dean", "p-spin", "index-loss", "outliers", "skip-connections", "training-plane"),
    *("random-walk", "mode-connection", "lennard-jones", "saxe-plateaus", "kramers", "octopus"),
    *("edge-of-stability", "minima-are-rare", "schedules", "block-structure"),
)

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def of(*lists: tuple[str, ...]) -> Completer:
    """Completes the names of these lists; where none begins so, files."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        names = sorted({name for names in lists for name in names if name.startswith(begun)})
        if names:
            return [CompletionItem(name) for name in names]
        return [CompletionItem(begun, type="file")]

    return complete
