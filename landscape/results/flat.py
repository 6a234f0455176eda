"""A result as flat numbers under plain names: what ``--json`` prints, for programs.

Every room that has results has a module ``flat`` beside them, which registers with ``flat`` a
function for each class. One name means one thing in all of them: ``verdict``, ``index``,
``index_bounds``, ``confidence``, ``loss``, ``gradient_norm``, ``products``, ``seconds``.
"""

import dataclasses
from functools import singledispatch

from torch import Tensor


@singledispatch
def flat(result: object) -> dict[str, object]:
    """The numbers of ``result`` by name; tensors, estimates and lists of them are welcome.

    A class without a form of its own gives its fields, large tensors by their shape.
    """
    fields = dataclasses.fields(result) if dataclasses.is_dataclass(result) else ()
    return {f.name: getattr(result, f.name) for f in fields if f.name != "provenance"}


def listed(x: Tensor, most: int = 100) -> list[float] | None:
    """The coordinates of a point; None beyond ``most``, where ``arrays/`` has them."""
    return x.double().tolist() if x.numel() <= most else None
