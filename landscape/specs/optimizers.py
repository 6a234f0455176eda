"""A torch optimiser on one line: its class in any case with options, and other options for some of
the parameters.

``sgd:lr=0.1,momentum=0.9`` is one group. ``adamw:lr=1e-3; *.bias:weight_decay=0; 0.*:lr=0``
overrides options for parameters by globs over their names, as a list of groups does in torch; of
two globs that match, the first counts. Names are those of a model's layout.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn, optim
from torch.optim import Optimizer

from landscape import specs
from landscape.specs.grammar import Options
from landscape.specs.schedules import require_options

Maker = Callable[[list[nn.Parameter]], Optimizer]
ELEMENTWISE = (
    optim.SGD,
    optim.Adagrad,
    optim.Adadelta,
    optim.RMSprop,
    optim.Adam,
    optim.AdamW,
    optim.NAdam,
    optim.RAdam,
    optim.Adamax,
    optim.Rprop,
    optim.ASGD,
)
OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): kind
    for name, kind in vars(optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}


@dataclass(frozen=True)
class Spec:
    """What ``maker`` read: called with a list of parameters it makes the optimiser, one group of
    them all.

    Raises:
        ValueError: called where there are groups, which need the parameters' names: see
            ``grouped``.
    """

    kind: type[Optimizer]
    options: Options
    groups: tuple[tuple[str, Options], ...] = ()  # glob and what it overrides

    def __call__(self, parameters: list[nn.Parameter]) -> Optimizer:
        if self.groups:
            raise ValueError(
                "groups are globs over names, and the parameters here have none: leave what "
                "follows ';' out"
            )
        return self.kind(parameters, **self.options)

    def grouped(self, parameters: Mapping[str, nn.Parameter]) -> Optimizer:
        """The optimiser of named parameters, each in its group."""
        groups = []
        for members, overrides in self.split(list(parameters)):
            groups.append({"params": [parameters[name] for name in members], **overrides})
        return self.kind(groups, **self.options)

    def split(self, names: Sequence[str]) -> list[tuple[list[str], Options]]:
        """The names of each group and what it overrides, in the order of the names; groups that
        match nothing are no groups.

        Raises:
            ValueError: a glob matches no name.
        """
        globs = [glob for glob, _ in self.groups]
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                hint = specs.closest(glob, names)
                raise ValueError(
                    f"the group {glob!r} matches no parameter.{hint} There are "
                    f"{', '.join(names[:6])}"
                    f"{f' and {len(names) - 6} more' if len(names) > 6 else ''}."
                )
        members: dict[int, list[str]] = {}
        for name in names:
            where = next((i for i, glob in enumerate(globs) if fnmatchcase(name, glob)), -1)
            members.setdefault(where, []).append(name)
        return [(found, {} if i < 0 else self.groups[i][1]) for i, found in sorted(members.items())]


def maker(spec: str) -> Spec:
    """``"sgd:lr=0.1,momentum=0.9"``, or with groups, read.

    Raises:
        ValueError: torch has no such optimiser or option, or it cannot drive dense vectors.
    """
    first, *rest = (specs.line(part, "an optimiser") for part in spec.split(";"))
    name, options = first.name, first.options
    kind = OPTIMIZERS.get(name.lower())
    if kind is None:
        hint = specs.closest(name.lower(), OPTIMIZERS)
        raise ValueError(
            f"no optimiser is called {name!r}.{hint} Known: "
            f"{', '.join(k.__name__ for k in OPTIMIZERS.values())}."
        )
    if kind is optim.SparseAdam:
        raise ValueError(
            "SparseAdam takes sparse gradients only: a point is a flat vector with a dense "
            "gradient."
        )
    require_options(name, kind, options, skip=1)
    groups = []
    for part in rest:
        glob, overrides = part.name, part.options
        if not glob or not overrides:
            raise ValueError(
                f"{spec!r}: {part.written.strip()!r} is no group. Write GLOB:option=value after "
                "the semicolon."
            )
        require_options(name, kind, overrides, skip=1)
        groups.append((glob, overrides))
    if groups and kind is optim.LBFGS:
        raise ValueError("LBFGS has one group of parameters only, in torch too.")
    return Spec(kind, options, tuple(groups))


def spec_of(optimizer: Optimizer) -> str | None:
    """The line that ``maker`` reads back as this optimiser, with the rate that it has now; None
    where there is none.

    An optimiser with several groups, or of a class that is not torch's, has none.
    """
    if (
        OPTIMIZERS.get(type(optimizer).__name__.lower()) is not type(optimizer)
        or len(optimizer.param_groups) != 1
    ):
        return None
    group, known = optimizer.param_groups[0], inspect.signature(type(optimizer)).parameters
    options: dict[str, object] = {"lr": float(group["lr"])} if "lr" in group else {}
    for name, parameter in known.items():
        value = group.get(name)
        if (
            name != "lr"
            and isinstance(value, bool | int | float | tuple)
            and value != parameter.default
        ):
            options[name] = value
    listed = ",".join(f"{name}={value!r}" for name, value in options.items())
    return (
        f"{type(optimizer).__name__.lower()}:{listed}"
        if listed
        else type(optimizer).__name__.lower()
    )


def as_makers(optimizers: Sequence[str] | Mapping[str, Maker]) -> dict[str, Maker]:
    """Labels to makers; a spec is its own label.

    Raises:
        ValueError: there is none, or one is given twice.
    """
    if isinstance(optimizers, str):
        raise ValueError(f"optimizers must be a list, got {optimizers!r}: pass [{optimizers!r}].")
    made: dict[str, Maker]
    made = (
        dict(optimizers)
        if isinstance(optimizers, Mapping)
        else {spec: maker(spec) for spec in optimizers}
    )
    if not made:
        raise ValueError("optimizers is empty: pass at least one, such as 'sgd:lr=0.1'.")
    return made
