"""What commands hand to their jobs: the values of their options as click has read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from .options import Expectation

Settings = tuple[tuple[str, object], ...]
Coefficients = tuple[tuple[str, float], ...]


class Run(TypedDict):
    """Where the result goes and how it is printed."""

    out: str | None
    force: bool
    resume: bool
    trust: bool
    as_json: bool
    quiet: bool
    verbose: bool
    figures: bool


class Problem(TypedDict):
    """The data, the loss and the parameters of a model."""

    settings: Settings
    checkpoint: str | None
    checkpoint_key: str | None
    strip: str | None
    data: str | None
    loss: str | None
    l2: Coefficients
    l1: Coefficients
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    mode: str | None
    masks: int | None
    device: str
    dtype: str | None
    precision: str | None
    batch_size: int | None
    seed: int


class Landscape(Problem, Run):
    """A model or a formula."""

    landscape: str
    dim: int | None
    domain: str | None


class Spectrum(Problem, Run):
    """`landscape spectrum`."""

    model: str
    largest: int
    smallest: int
    tol: float
    probes: int
    steps: int


class Sharded(Spectrum):
    """`landscape spectrum`, as it is typed."""

    shard: bool


class Analyze(Spectrum):
    """`landscape analyze`."""

    method: str
    polish: str | None
    optimizer: str | None
    optimizer_state: str | None
    layers: bool
    budget: float | None
    estimate: bool
    expect: Expectation | None


class Find(Landscape):
    """`landscape saddles find`."""

    start: str | None
    random: bool
    method: str | None
    index: int | None
    tol: float | None
    max_products: int | None
    expect: Expectation | None


class Census(Landscape):
    """`landscape saddles census`."""

    starts: int
    tolerance: float


class Path(Landscape):
    """`landscape saddles path`."""

    origin: str
    goal: str
    census: str | None
    images: int | None
    tol: float | None
    max_steps: int | None


class Count(Run):
    """`landscape saddles count`."""

    family: str
    dims: str
    realisations: int
    starts: int | None
    settings: Settings
    seed: int
    device: str


class Escape(Landscape):
    """`landscape escape`."""

    at: str | None
    optimizers: tuple[str, ...]
    runs: int
    steps: int
    start: float
    event: str
    noise: str
    schedule: str | None
    sweep: str | None
    record: int | None


class Surface(Landscape):
    """`landscape surface`."""

    at: str | None
    directions: str
    toward: tuple[str, ...]
    dimensions: int
    normalize: str
    biases: bool
    span: float | str | None
    resolution: int
    metrics: tuple[str, ...]
    batch_statistics: bool
    trajectories: tuple[str, ...]
    spectra: int
    optimizer_state: str | None
    check: bool
    connect: str | None
    curve: str
    bends: int
    train_steps: int
    optimizer: str
    noise: str


class Compare(Problem, Run):
    """`landscape compare`."""

    checkpoints: tuple[str, ...]
    model: str | None
    resolution: int
    align: bool


class Survive(Problem, Run):
    """`landscape survive`."""

    model: str
    change: str


class Diagnose(Problem, Run):
    """`landscape diagnose`."""

    run: str
    model: str | None
    optimizer: str | None
    optimizer_state: str | None
    schedule: str | None
    steps: int
    every: int | None
    probe: bool | None
    probe_steps: int
    trials: int


class Render(TypedDict):
    """`landscape figures render`."""

    run: str | None
    out: str | None
    formats: tuple[str, ...]
    cache: str | None
    afresh: bool
    jobs: int | None
    as_json: bool
