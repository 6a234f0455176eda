"""From the options of a command to a loaded problem."""

from dataclasses import fields
from typing import Any

from landscape import loading

from .errors import OneLine


def load(options: dict[str, Any]) -> tuple[loading.Problem, dict[str, Any]]:
    """The problem that the options describe, and the options that are not about it; ``seed`` is of both."""
    if options["checkpoint_key"] and not options["checkpoint"]:
        raise OneLine("--checkpoint-key says where in a checkpoint the weights are: pass --checkpoint FILE too.", 2)
    known = {f.name for f in fields(loading.ProblemOptions)}
    chosen: dict[str, Any] = {
        k: dict(v) if k in ("settings", "l2", "l1") else v for k, v in options.items() if k in known
    }
    for key in ("include", "exclude"):
        chosen[key] = chosen[key] or None
    rest = {k: v for k, v in options.items() if k not in known} | {"seed": options["seed"]}
    return loading.problem(loading.ProblemOptions(**chosen)), rest
