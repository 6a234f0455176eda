"""From what a user writes on one line to a landscape: model, checkpoint, data, loss and options in,
``Problem`` out.

This module and those it calls (``files``, ``pickles``, ``checkpoints``, ``data``, ``userfiles``)
are the only place that touches files nobody vouches for. A bad option value is a ValueError, what
cannot be loaded or does not fit a
LoadingError, a NaN a NumericalError: exit codes 2, 3 and 4.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape import files, specs, zoo
from landscape.errors import LoadingError
from landscape.files import FileReport, inspect_file
from landscape.files.checkpoints import State, load_checkpoint, load_parts, read_state
from landscape.landscapes import distributed, losses
from landscape.landscapes.arithmetic import require_supported
from landscape.landscapes.batches import Batch, cut_again
from landscape.landscapes.formula import FunctionLandscape
from landscape.landscapes.model import ModelLandscape
from landscape.landscapes.over import over_ranks
from landscape.landscapes.sharded import Sharded
from landscape.loading import formulas, huggingface, userfiles
from landscape.loading.data import load_data, require_fit
from landscape.points.checks import require_finite_parameters
from landscape.rng import seeded

__all__ = [
    "FileReport",
    "LandscapeOptions",
    "Problem",
    "ProblemOptions",
    "State",
    "inspect_file",
    "landscape",
    "load_checkpoint",
    "load_data",
    "load_loss",
    "load_model",
    "load_parts",
    "problem",
    "read_state",
]

Loaded = nn.Module | ModelLandscape | FunctionLandscape
Parts = dict[str, Any]  # arguments of ModelLandscape by name
Config = dict[str, object]  # of JSON's own types
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class ProblemOptions:
    """What to analyse, as written on the command line; None, empty and "auto" leave it to the
    model's own problem.
    """

    # a built-in name, pkg.mod:attr, file.py:attr, file.py with problem(), or hf:FOLDER
    model: str
    # --set: arguments of the class or factory
    settings: Mapping[str, object] = field(default_factory=dict)
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_key: str | None = None
    strip: str | None = None
    data: str | None = None
    loss: str | None = None
    l2: Mapping[str, float] = field(default_factory=dict)  # {glob: coefficient}
    l1: Mapping[str, float] = field(default_factory=dict)
    include: str | tuple[str, ...] | None = None
    exclude: str | tuple[str, ...] | None = None
    mode: str | None = None
    masks: int | None = None
    device: str = "auto"
    dtype: str | None = None
    precision: str | None = None  # of Hessian-vector products: full, tf32 or bf16
    batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class LandscapeOptions(ProblemOptions):
    """What to search: a model as above, or a formula; ``model`` is then its name, file.py:attr or
    pkg.mod:attr.
    """

    dim: int | None = None
    domain: str | None = None  # in the grammar of ``landscape.formulas``


@dataclass(frozen=True, eq=False)
class Problem:
    """A landscape, and how it came about."""

    landscape: ModelLandscape | FunctionLandscape
    name: str
    notes: tuple[str, ...]  # what was found, stripped or converted on the way
    config: Config  # the options with all that was left open filled in; None left out
    # of a formula: SHA-256 over its file or text and its settings, 16 hexadecimal digits
    fingerprint: str = ""


def problem(options: ProblemOptions, *, shard: bool = False) -> Problem:
    """The landscape that the options describe.

    Args:
        shard: of processes that torchrun has started each keeps a part of the weights, see
            ``over_ranks``. Of a checkpoint each reads its part into a model that is built with its
            parameters on the meta device; else each builds the model whole and keeps its part.

    Raises:
        ValueError: an option value that is unknown or missing.
        LoadingError: a model, checkpoint, data set or loss that cannot be loaded or does not fit.
        NumericalError: a NaN or infinity in the data.
    """
    if options.model.startswith(huggingface.PREFIX):
        weights = options.checkpoint is None
        model, notes = huggingface.build(
            options.model, options.settings, options.seed, weights=weights
        )
        return _problem(options, model, notes, shard)
    empty = shard and options.checkpoint is not None
    with without_weights() if empty else nullcontext():
        loaded = _load(options)
    return _problem(options, loaded, shard=shard)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules that are built inside have their parameters on the meta device, where they take no
    memory; buffers are computed as ever.
    """
    register = nn.Module.register_parameter

    def registered(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = registered  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def landscape(options: LandscapeOptions) -> Problem:
    """The landscape that the options describe, a formula's or a model's. A user's own formula is
    tried first, see ``formulas.probe``.

    Raises:
        ValueError: an option value that is unknown or missing, or is not about this kind of
            landscape.
        LoadingError: what cannot be loaded or does not fit; a formula that raises, is not batched,
            or is detached.
        NumericalError: a NaN or infinity in the data, or a formula that is nowhere finite or has no
            second derivative.
    """
    if options.model.startswith(huggingface.PREFIX):
        _refuse_formulas(options)
        return problem(options)
    found, source = _find(options)
    if not isinstance(found, FunctionLandscape):
        _refuse_formulas(options)
        return _problem(options, found)
    _refuse(options, _MODELS_ONLY, "is about models, and {} is a formula")
    notes = formulas.probe(found, source, options.seed) if source else []
    name = _name(options.model) if found.name in ("<lambda>", "formula") else found.name
    drawn = not source and "seed" in zoo.options(options.model)
    settings = {"seed": options.seed, **options.settings} if drawn else options.settings
    mark = formulas.fingerprint(found, source or options.model, settings)
    return Problem(found, str(name), tuple(notes), _formula_config(options, found), mark)


def _refuse_formulas(options: LandscapeOptions) -> None:
    """Raise where an option is given that is about formulas."""
    for option, value in (("--dim", options.dim), ("--domain", options.domain)):
        if value is not None:
            raise ValueError(f"{option} is about a formula fn(x), and {options.model} is a model.")


def _problem(
    options: ProblemOptions,
    loaded: nn.Module | ModelLandscape,
    notes: Sequence[str] = (),
    shard: bool = False,
) -> Problem:
    """A model, or a landscape of one, with the options applied; ``notes`` tell how it was made."""
    where, dtype = device(options.device), _dtype(options.dtype)
    loss = load_loss(options.loss) if options.loss else None
    parts = _parts(loaded) if isinstance(loaded, ModelLandscape) else _alone(options, loaded)
    # no name given: the user's word says more than the class
    if parts["name"] == type(parts["model"]).__name__:
        parts["name"] = _name(options.model)
    notes, own = [*notes, *_loaded(parts["model"], options)], dict(parts)
    chosen: Parts = {
        "loss": loss,
        "reduction": "mean" if loss else None,
        "batches": _batches(options, parts),
        "l2": dict(options.l2) or None,
        "l1": dict(options.l1) or None,
        "include": options.include,
        "exclude": options.exclude,
        "mode": options.mode,
        "masks": options.masks,
        "dtype": dtype,
        "precision": options.precision,
    }
    if loss is not None:
        parts.pop("weight", None)  # how a batch counts belongs to the loss
    parts |= {option: value for option, value in chosen.items() if value is not None}
    landscape = ModelLandscape(**parts, device=where, seed=options.seed)
    _require_finite(landscape, options)
    notes += [*_halves(landscape), *_replaced(own, options)]
    if shard:
        landscape, told = _in_parts(landscape, options)
        notes += told
    require_fit(landscape, options.data, options.seed)
    return Problem(landscape, landscape.name, tuple(notes), _config(options, landscape))


def _loaded(model: nn.Module, options: ProblemOptions) -> list[str]:
    """Put a checkpoint into a model, in words; one that is empty waits for its parts."""
    if not options.checkpoint or any(p.is_meta for p in model.parameters()):
        return []
    return load_checkpoint(model, options.checkpoint, options.checkpoint_key, options.strip)


def _require_finite(f: ModelLandscape, options: ProblemOptions) -> None:
    """Raise where a checkpoint has put a NaN or infinity into the analysed parameters."""
    own = f.parameters()
    elsewhere = any(own[k].is_meta or distributed.on_several(own[k]) for k in f.layout)
    if options.checkpoint and not elsewhere:
        analysed = {name: own[name].detach().to(f.dtype) for name in f.layout}
        require_finite_parameters(analysed, str(options.checkpoint))


def _replaced(own: Parts, options: ProblemOptions) -> list[str]:
    """In words, which coefficients of the model's own problem those of the options replace."""
    return [
        f"--{name} takes the place of {name}={own[name]} in {options.model}"
        for name, given in (("l2", options.l2), ("l1", options.l1))
        if given and own.get(name) and dict(own[name]) != dict(given)
    ]


def _in_parts(f: ModelLandscape, options: ProblemOptions) -> tuple[ModelLandscape, list[str]]:
    """The landscape of which every rank keeps its part of the weights, and in words how it came
    by them.
    """
    ours, notes = over_ranks(f, shard=True), list[str]()
    if isinstance(ours, Sharded):  # there is more than one process
        if ours.absent and options.checkpoint:
            notes = load_parts(ours, options.checkpoint, options.checkpoint_key, options.strip)
        ours.take_over()
    return ours, notes


def _halves(f: ModelLandscape) -> list[str]:
    """In words, which parameters are stored more coarsely than the landscape computes."""
    own = f.parameters()
    small = [files.dtype_name(own[k]) for k in f.layout if own[k].dtype.itemsize < 4]
    to = str(f.dtype).removeprefix("torch.")
    return [
        f"{small.count(name)} parameter tensors are {name} in the model and analysed in {to}"
        for name in sorted(set(small))
    ]


def load_model(
    spec: str, settings: Mapping[str, object] | None = None, seed: int = 0
) -> nn.Module | ModelLandscape:
    """The model that ``spec`` names.

    Args:
        spec: ``pkg.mod:attr`` or ``file.py:attr``, where attr is a Module, or a class or factory
            called with the settings; or ``file.py``, whose ``problem()`` returns a ModelLandscape.
        settings: arguments of the class or factory.
        seed: of the random state while it runs; the caller's comes back afterwards.

    Raises:
        ValueError: the spec is of no such form, or the settings are not the factory's parameters.
        LoadingError: a file, module or attribute is missing, the user's code raises, or what comes
            out is no model.
    """
    if not userfiles.is_python(spec):
        known = zoo.names()
        raise ValueError(
            f"unknown model {spec!r}.{specs.closest(spec, known)} Pass a built-in name (`landscape "
            f"zoo` lists "
            f"them: {', '.join(known)}), pkg.mod:attr, file.py:attr, or a file.py that defines "
            f"problem()."
        )
    with seeded(seed):
        found, source = userfiles.resolve(spec)
    if not isinstance(found, nn.Module | ModelLandscape):
        if not callable(found):
            raise LoadingError(
                f"{spec} is a {type(found).__name__}: MODEL is a Module, or a class or factory of "
                f"one."
            )
        found = userfiles.call(found, dict(settings or {}), source, seed)
    elif settings:
        raise ValueError(
            f"--set {next(iter(settings))}: {spec} is a finished model, not a class or factory."
        )
    if isinstance(found, ModelLandscape) or (
        isinstance(found, nn.Module) and not spec.endswith(".py")
    ):
        return found
    wanted = "a ModelLandscape" if spec.endswith(".py") else "a torch.nn.Module or a ModelLandscape"
    raise LoadingError(f"{spec} gave a {type(found).__name__} and should give {wanted}.")


def load_loss(spec: str) -> Callable[..., object]:
    """A loss by name, or the function ``pkg.mod:fn`` or ``file.py:fn``: loss(output, target) or
    loss(model, batch).

    A class, such as ``torch.nn:MSELoss``, is called without arguments to make the loss.

    Raises:
        ValueError: an unknown name or option.
        LoadingError: the user's code raises, or what it names cannot be called.
    """
    name = spec.partition(":")[0]
    if name in losses.names() or not userfiles.is_python(spec) or spec.endswith(".py"):
        return losses.get(spec)
    found, source = userfiles.resolve(spec)
    if isinstance(found, type):
        found = userfiles.call(found, {}, source, seed=0)
    if not callable(found):
        raise LoadingError(
            f"{spec} is a {type(found).__name__}: a loss is a function loss(output, target)."
        )
    return found


def _load(options: ProblemOptions) -> nn.Module | ModelLandscape:
    if options.model not in zoo.names():
        return load_model(options.model, options.settings, options.seed)
    settings = {"seed": options.seed} if "seed" in zoo.options(options.model) else {}
    loaded = zoo.load(options.model, **settings | dict(options.settings))
    if isinstance(loaded, ModelLandscape):
        return loaded
    raise ValueError(
        f"{options.model} is a formula, and this command needs a model. Use `landscape saddles "
        f"census {options.model}`."
    )


def _batches(options: ProblemOptions, parts: Parts) -> list[Batch] | None:
    """The batches that the options ask for; None leaves the problem's own."""
    own = options.model.startswith(huggingface.PREFIX) and not options.loss
    if own and options.data and huggingface.is_data(options.data):
        model, size = parts["model"], options.batch_size
        return huggingface.batches(model, options.model, options.data, size, options.seed)
    if options.data:
        return load_data(options.data, options.batch_size, options.seed)
    if options.batch_size is None:
        return None
    return cut_again(list(parts["batches"]), options.batch_size, options.seed, options.model)


def _parts(landscape: object) -> Parts:
    """What a landscape was made of, to make another with some of it replaced."""
    names = (
        "model",
        "loss",
        "batches",
        "l2",
        "l1",
        "include",
        "exclude",
        "mode",
        "reduction",
        "dtype",
        "precision",
        "name",
        "masks",
        "weight",
    )
    return {name: getattr(landscape, name) for name in names if hasattr(landscape, name)}


def _alone(options: ProblemOptions, model: nn.Module) -> Parts:
    """A Module alone says neither what it should do nor on which data; one of transformers has a
    loss of its own.
    """
    own = options.model.startswith(huggingface.PREFIX)
    for option, value, example in (
        ("--data", options.data, "book.txt" if own else "digits"),
        ("--loss", options.loss or own, "cross-entropy"),
    ):
        if not value:
            raise ValueError(
                f"{options.model} is a Module and needs {option}, {example} say; or write a "
                f"file.py whose problem() "
                "returns a ModelLandscape."
            )
    return {"model": model, "name": _name(options.model)} | ({"loss": None} if own else {})


def _name(spec: str) -> str:
    if spec.startswith(huggingface.PREFIX):
        return Path(spec.removeprefix(huggingface.PREFIX)).resolve().name
    source, _, attr = spec.rpartition(":")
    return Path(attr).stem if attr.endswith(".py") or not source else attr


def _find(options: LandscapeOptions) -> tuple[Loaded, str]:
    """A model, a landscape or a formula made into one, and the file or module it comes from: "" for
    a built-in one.
    """
    spec = options.model
    if spec in zoo.names():
        return _built_in(options), ""
    if not userfiles.is_python(spec):
        raise ValueError(
            f"unknown landscape {spec!r}.{specs.closest(spec, zoo.names())} Pass a built-in name "
            f"(`landscape zoo` lists "
            "them), file.py:attr, pkg.mod:attr, or a file.py that defines problem()."
        )
    with seeded(options.seed):
        found, source = userfiles.resolve(spec)
    if isinstance(found, Loaded):
        if options.settings:
            raise ValueError(
                f"--set {next(iter(options.settings))}: {spec} is a finished "
                f"{type(found).__name__}, not a factory."
            )
    elif not callable(found):
        raise LoadingError(
            f"{spec} is a {type(found).__name__}: LANDSCAPE is a formula fn(x), a model, or a "
            f"factory of one."
        )
    elif formulas.is_formula(found, options.settings, options.dim):
        return _formula(found, options), source
    else:
        if options.dim is not None and formulas.takes_dim(found):
            options = _with_dim_set(options)
        found = userfiles.call(found, options.settings, source, options.seed)
    if not isinstance(found, Loaded):
        raise LoadingError(
            f"{spec} gave a {type(found).__name__} and should give a FunctionLandscape, a "
            f"ModelLandscape or a Module; pass --dim N "
            "if it is a formula fn(x)."
        )
    if isinstance(found, FunctionLandscape):
        _refuse(options, ("domain", "dtype", "dim"), "is fixed in {}")
    return found, source


def _formula(function: Callable[..., Tensor], options: LandscapeOptions) -> FunctionLandscape:
    """A user's fn(x) as a landscape."""
    where = (
        formulas.domain(options.domain, options.dim or 1) if options.domain is not None else None
    )
    dtype = _dtype(options.dtype)
    return formulas.build(function, options.model, options.settings, options.dim, where, dtype)


def _with_dim_set(options: LandscapeOptions) -> LandscapeOptions:
    """The options with --dim as an argument of the factory."""
    settings = {"dim": options.dim, **options.settings}
    return dataclasses.replace(options, settings=settings, dim=None)


def _built_in(options: LandscapeOptions) -> ModelLandscape | FunctionLandscape:
    """A landscape of the zoo; --dim is an option of those that come in any dimension."""
    known = zoo.options(options.model)
    if options.dim is not None and "dim" not in known:
        raise ValueError(
            f"--dim is fixed in {options.model}. Its options, for --set: "
            f"{', '.join(known) or 'none'}."
        )
    if options.dim is not None:
        options = _with_dim_set(options)
    settings = {"seed": options.seed} if "seed" in known else {}
    found = zoo.load(options.model, **settings | dict(options.settings))
    if isinstance(found, FunctionLandscape):
        _refuse(options, ("domain", "dtype"), "is fixed in {}")
    return found


# options of LandscapeOptions that a formula has no use for
_MODELS_ONLY = (
    "checkpoint",
    "checkpoint_key",
    "strip",
    "data",
    "loss",
    "l2",
    "l1",
    "include",
    "exclude",
    "mode",
    "masks",
    "precision",
    "batch_size",
)


def _refuse(options: LandscapeOptions, names: tuple[str, ...], why: str) -> None:
    """Raise for the first of these options that is given."""
    for name in names:
        if getattr(options, name) not in (None, {}, ()):
            raise ValueError(f"--{name.replace('_', '-')} {why.format(options.model)}.")
    if options.device not in ("auto", "cpu"):
        raise ValueError(f"--device {options.device}: formulas are computed on the cpu.")


def _formula_config(options: LandscapeOptions, f: FunctionLandscape) -> Config:
    config = dataclasses.asdict(options) | {
        "dim": f.dim,
        "device": "cpu",
        "dtype": str(f.dtype).removeprefix("torch."),
    }
    return {k: _plain(v) for k, v in config.items() if v not in (None, {}, ())}


def device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one.

    Raises:
        ValueError: it cannot be used here, or is neither a CPU nor a CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        require_supported(found, f"--device {name}")
        torch.zeros(1, device=found, dtype=torch.float32).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = specs.one_line(error, 100)
        raise ValueError(
            f"device {name!r} cannot be used ({reason}). Here: {', '.join(there)}."
        ) from None
    return found


def _dtype(name: str | None) -> torch.dtype | None:
    if name is not None and name not in DTYPES:
        raise ValueError(
            f"dtype must be one of {', '.join(DTYPES)}, got {name!r}.{specs.closest(name, DTYPES)}"
        )
    return None if name is None else DTYPES[name]


def _config(options: ProblemOptions, landscape: ModelLandscape) -> Config:
    """What to pass to get the same problem again."""
    config = dataclasses.asdict(options)
    config |= {
        name: getattr(landscape, name)
        for name in ("l2", "l1", "include", "exclude", "mode", "masks", "seed")
    }
    config["device"] = str(landscape.device)
    config["dtype"] = str(landscape.dtype).removeprefix("torch.")
    return {k: _plain(v) for k, v in config.items() if v is not None}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor):
        return value.tolist()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
