"""Watch a training loop without changing it: two lines around a user's own loop.

    with ls.Tracer(optimizer, f, every=10) as tracer:
        ...
    trace = tracer.result

A hook on the optimiser counts its steps; every k-th step, or as often as a share of the run's time
allows, f, its gradient and, from the last vectors, both ends of its Hessian's spectrum are
evaluated where the parameters are then; with ``evaluate=m`` at every m-th of these records only,
and the others hold what the optimiser itself tells. Between, nothing is done but counting. Records
go to a file in blocks, so that memory does not grow with the run.

A tracer never costs the run: what fails in it, once the loop has begun, is a note of the trace and
a warning, and the loop goes on.
"""

import math
import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from landscape.core import Landscape, Operator
from landscape.errors import NumericalError
from landscape.landscapes.states import undisturbed
from landscape.linalg.lanczos import eigsh
from landscape.linalg.tracking import Ends, refresh
from landscape.operators.hessian import Hessian
from landscape.points.classify import StationaryPoint, classify
from landscape.results import Provenance, provenance
from landscape.specs.optimizers import spec_of
from landscape.training.activity import Activity
from landscape.training.follow import Followed
from landscape.training.live import shown
from landscape.training.logs import Log, writer
from landscape.training.loop import Loop, Watch
from landscape.training.pace import Every, Ledger, Pace, Share
from landscape.training.reading import Reading, read
from landscape.training.records import COLUMNS, LAYERED, UNITS, Records, typed
from landscape.training.trace import Trace

LAST_DENSE = 600  # up to this n the last look computes the whole spectrum
LAST_PRODUCTS = 400  # and above it spends at most so many products
LEAST_PRODUCTS = 9  # and so many at least, however long they take: two pairs an end need them
# Where time decides: seconds of each search of the ends, and of the last look in a short run; in a
# longer one it takes this share of the loop's.
LOOK, LOOKED = 2.0, 0.25
CERTAIN = 1e-3  # of the Hessian's norm, the residuals of a search
ENDS = ("largest", "smallest", "largest_bound", "smallest_bound", "rayleigh", "negative_share")
NAN = float("nan")  # not measured
FAILURES = 3  # of records in a row; then no more are made


class Tracer:
    """Records a run of any ``torch.optim.Optimizer`` as the landscape f sees it.

    Args:
        optimizer: the optimiser of the loop, or a list of those that step one after the other; a
            step is counted when the last has stepped.
        f: what is measured: a ``ModelLandscape`` of the model that is trained, over a fixed subset
            of the data where all of it is too much, or a ``FunctionLandscape`` whose point is the
            optimiser's parameters, concatenated.
        every: optimiser steps from one record to the next; None: as many records as fit into
            ``share``, at most every tenth step, and always the first and the last; at steps 10, 20,
            40 and so on one is made without f where none fits. Which steps these are depends on the
            machine and its load then; ``every=`` makes them reproducible.
        share: of the loop's own time, what the records within it take where ``every`` is None; a
            quarter of it is for the curvature, which fewer of the records have then. A step of less
            than 10 ms counts as 10 ms, and a run of less than 2 s as 2 s, so that short runs have
            records enough for a diagnosis.
        evaluate: evaluate f at every so many-th record; the others hold what the optimiser tells,
            and NaN for the rest.
        curvature: refresh the ends of the spectrum at every so many-th record, if f is evaluated
            there; 0: never.
        rounds: Rayleigh-Ritz rounds a refresh, two products each and three more; ten times as many
            in the first.
        certify: at every so-many-th refresh, the first included, ``eigsh`` searches both ends from
            random starts, to 1e-3 of the Hessian's norm: the refreshes between follow what is known
            and miss an eigenvalue that has grown beside it. 0: never. Some 20 to 60 products each.
        last_look: classify the end point thoroughly on exit: of the whole spectrum up to n = 600,
            with at most 400 products above; where ``every`` is None, with no more than fit into a
            quarter of the loop's time or 2 s.
        folder: where records spill to; None: a temporary file that goes with the tracer.
        resume: go on from the records in ``folder``, whose landscape and ``every`` must be the
            same; steps are counted from the last record on, and the distances from where the run
            goes on.
        log: where the numbers of every record go too, as "landscape/loss" and so on: a TensorBoard
            ``SummaryWriter``, ``wandb`` or a run of it, ``mlflow`` or any logger with
            ``log_metrics``, or a function of the step and a dict of numbers, such as ``print``.
        live: show the newest record on stderr, in one line that is written anew each time: step,
            loss, curvature against the edge, the phase so far. In a notebook the loss so far is
            drawn in the cell's output; where stderr is no terminal either, nothing is shown.

    Attributes:
        result: the ``Trace``, after the block; during it, what has been seen so far, without the
            last look.

    A record is made after a step, closures (LBFGS) included: one step is one call of
    ``optimizer.step``. Steps that a ``GradScaler`` skips are not counted, since the optimiser is
    not called; with ``fused=True`` the skip happens inside the optimiser and is counted as a step,
    and the gradients seen are still scaled. The loop's parameters, gradients, optimiser state and
    random states (torch, NumPy, Python, the generators of f's loader) are left as they are.

    Cost: a record takes one evaluation of f with its gradient and some norms of vectors (n,), where
    f is not evaluated only these; a refresh 3 + 2 rounds products. A parameter-sized copy is held
    across a recorded step. A step without a record costs two calls of a hook. What the first
    record, the last and the last look cost is no part of ``share``; where ``every`` is None, each
    search of the ends stops after some 2 s, its bounds as wide as they are then.

    Raises:
        TypeError: optimizer is no optimiser, or f no landscape.
        ValueError: a formula is not a function of the optimiser's parameters (where the optimiser
            moves none of a model's, that is warned of and diagnosed); f's loader keeps its workers
            (persistent_workers), whose iterator is the loop's own; an option is out of range; on
            resuming, the folder's records are of another run.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> optimizer = torch.optim.SGD(f.model.parameters(), lr=0.1)
        >>> with ls.Tracer(optimizer, f, every=10) as tracer:
        ...     for _ in range(50):
        ...         optimizer.zero_grad()
        ...         torch.nn.functional.mse_loss(f.model(x), y).backward()
        ...         _ = optimizer.step()
        >>> tracer.result.steps.tolist()
        [0, 10, 20, 30, 40, 50]
    """

    def __init__(  # noqa: PLR0913  # each is one choice, and few are made at once
        self,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        f: Landscape,
        every: int | None = None,
        *,
        share: float = 0.05,
        evaluate: int = 1,
        curvature: int = 1,
        rounds: int = 2,
        certify: int = 0,
        last_look: bool = True,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        log: Log | None = None,
        live: bool = False,
    ) -> None:
        if min(1 if every is None else every, evaluate, rounds) < 1 or min(curvature, certify) < 0:
            raise ValueError(
                "every, evaluate and rounds must be at least 1, curvature and certify at least 0, "
                f"got {every}, {evaluate}, {rounds}, {curvature}, {certify}."
            )
        if not share > 0:
            raise ValueError(f"share must be above 0, got {share}.")
        if resume and folder is None:
            raise ValueError("resume needs the folder of the earlier records.")
        self._followed = Followed(optimizer, f)
        self.f, self.every, self.evaluate, self.curvature = f, every, evaluate, curvature
        self.share, self.rounds, self.certify, self.last_look = share, rounds, certify, last_look
        self._refreshes = 0
        self._ledger = Ledger(f.device if every is None else None)
        self._pace: Pace = (
            Share(share, self._ledger, evaluate, curvature)
            if every is None
            else Every(every, evaluate, curvature)
        )
        self._folder = Path(
            folder if folder is not None else tempfile.mkdtemp(prefix="landscape-trace-")
        )
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        self._resume = resume
        self._log = None if log is None else writer(log)
        self._live = shown() if live else None
        self._watch = Watch(self._followed)
        self._notes: list[str] = []
        self._failed = 0  # records in a row that could not be made
        self._begun = False
        self._activities: list[str] = []
        self._records: Records | None = None
        self._hooks: list[Callable[[], None]] = []
        self._steps = self._seen = self._products = 0
        self._product = 0.0  # seconds of one
        self._whole = True  # whether f was evaluated at the last record
        self._before: Tensor | None = None
        self._start: Tensor | None = None
        self._last: Tensor | None = None
        self._travelled: Tensor | float = 0.0
        self._vectors: Tensor | None = None
        self._scaled: Tensor | None = None
        self._result: Trace | None = None

    def __enter__(self) -> "Tracer":
        if self._begun:
            raise RuntimeError("a Tracer traces one run: make a new one.")
        self._begun = True
        row: Tensor | None = None
        if self._followed.strange:
            self._note(self._followed.strange)
        with self._safely("the first record"):
            self._start = self._last = self._followed.point()
            row = self._measure(None)
        with self._safely("the file of the records", ValueError):
            self._records = Records(self._folder, self._widths(), self._header(), self._resume)
        if row is not None and self._records is not None:
            with self._safely("the first record"):
                self._begin(row)
            self._pace.made(self._steps)
            if self.every is None:  # the first evaluation loads data; what others cost is seen now
                with self._safely("the first record"):
                    self._measure(None)
            with self._safely("the hooks of the optimiser"):
                self._put_hooks()
                self._look_ahead()
        self._ledger.begin()
        self._pace.begin(self._steps)
        return self

    def _begin(self, row: Tensor) -> None:
        """The first record, or where the records of an earlier part of the run have ended."""
        assert self._records is not None
        earlier = self._records.last()
        if earlier is None:
            self._keep(row)
            return
        self._steps = self._seen = int(earlier[0])
        self._whole = bool(earlier[COLUMNS.index("evaluated")])
        self._travelled = float(earlier[COLUMNS.index("travelled")])

    def _put_hooks(self) -> None:
        first, last = self._followed.optimizers[0], self._followed.optimizers[-1]
        apart: Callable[[Callable[..., None]], Callable[..., None]] = torch.compiler.disable
        # a compiled step calls them and does not compile them
        self._hooks.append(first.register_step_pre_hook(apart(self._before_step)).remove)
        self._hooks.append(last.register_step_post_hook(apart(self._after_step)).remove)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = self._ledger.loop
        with self._safely("taking the hooks down"):
            for remove in self._hooks:
                remove()
            self._watch.close()
        self._pace.end()
        if kind is None and not (self._whole and self._steps == self._seen) and self._going:
            with self._safely("the last record"):
                self._record(None, True)
        if self._live is not None:
            with self._safely("the live line"):
                self._live.close()
        with self._safely("closing the records"):
            if self._records is not None:
                self._records.close()
        with self._safely("the trace"):
            self._result = self._build(look=self.last_look and kind is None, seconds=seconds)

    @property
    def result(self) -> Trace:
        """The trace of what has been seen.

        Raises:
            RuntimeError: the tracer has not been entered.
        """
        if not self._begun:
            raise RuntimeError(
                "nothing is traced yet: use the tracer as a context manager around the loop."
            )
        return self._result if self._result is not None else self._build(look=False)

    @property
    def looking(self) -> bool:
        """Whether the next step and its passes are looked at."""
        return self._watch.opened

    # ---- what fails

    @contextmanager
    def _safely(self, what: str, *told: type[Exception]) -> Iterator[None]:
        """Time the tracer's own work, and make a note and a warning of what fails in it; what is
        ``told`` is the caller's own mistake.
        """
        with self._ledger.work():
            try:
                yield
            except told:
                raise
            except Exception as error:
                line = " ".join(str(error).split())
                self._note(f"{what} failed: {type(error).__name__}: {line}"[:300])

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)
            with suppress(Exception):  # where warnings are errors, the note must do
                warnings.warn(f"the tracer goes on: {text}", stacklevel=4)

    @property
    def _going(self) -> bool:
        """Whether records can be made."""
        begun = self._start is not None and self._records is not None
        return begun and self._failed < FAILURES

    # ---- hooks

    def _before_step(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        if self._pace.due(self._steps + 1) and self._going:
            with self._safely("a record"):
                self._before = self._followed.point()
        if self._watch.opened:
            with self._safely("a look at the loop"):
                self._watch.before(self._steps)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        if self._watch.opened:
            with self._safely("a look at the loop"):
                self._watch.after(self._steps)
        self._steps += 1
        if self._pace.due(self._steps) and self._going:
            before, self._before = self._before, None
            self._failed += 1
            with self._safely("a record"):
                self._watch.close()
                self._record(before, self._pace.evaluates(self._steps))
                self._failed = 0
            if not self._failed:
                self._pace.made(self._steps)
        if self._watch.opened or self._steps == 1 or self._pace.near(self._steps):
            with self._safely("a look at the loop"):
                self._look_ahead()

    def _look_ahead(self) -> None:
        """Look at the loop in its second step, where nothing has gone far yet, and in the last two
        steps before a record.
        """
        if not self._watch.opened:
            self._watch.open()
        elif self._steps == 2 and not self._pace.near(self._steps):
            self._watch.close()
        else:
            self._watch.stepped()

    # ---- a record

    def _record(self, before: Tensor | None, evaluate: bool) -> None:
        assert self._records is not None
        row = self._measure(before, evaluate)
        if self._seen == self._steps:  # the last record, made without f, is completed
            self._records.complete(row)
        else:
            self._keep(row)
        self._seen, self._whole = self._steps, self._pace.whole(self._steps)

    def _keep(self, row: Tensor) -> None:
        assert self._records is not None
        self._records.add(row)
        for what, told in (("the log", self._log), ("the live line", self._live)):
            if told is not None:
                with self._safely(what):
                    told(self._steps, dict(zip(COLUMNS, row.tolist(), strict=False)))

    def _measure(self, before: Tensor | None, evaluate: bool = True) -> Tensor:
        """One row, float64, on the device: COLUMNS, then LAYERED for every layer, then UNITS for
        every activation.
        """
        assert self._start is not None
        assert self._last is not None
        x = self._followed.point()
        self._travelled = (x - self._last).double().norm() + self._travelled
        self._last = x
        row: dict[str, Tensor | float] = {
            "steps": float(self._steps),
            "evaluated": float(evaluate),
            "travelled": self._travelled,
            "from_start": (x - self._start).double().norm(),
            **self._followed.scalars()._asdict(),
        }
        gradient, units = self._see(x, row) if evaluate else (None, [])
        layers = []
        for name, vector in (
            ("gradient_norm", gradient),
            ("update_norm", None if before is None else x - before),
            ("weight_norm", x),
        ):
            if vector is None:
                layers.append(x.new_full((len(self._followed.layout),), NAN, dtype=torch.float64))
            else:
                layers.append(self._followed.norms(vector))
                row[name] = layers[-1].norm()
        units = units or [NAN] * (len(UNITS) * len(self._activities))
        found = _together([*(row.get(name, NAN) for name in COLUMNS), *units], x.device)
        return torch.cat([found[: len(COLUMNS)], *layers, found[len(COLUMNS) :]])

    def _see(
        self, x: Tensor, row: dict[str, Tensor | float]
    ) -> tuple[Tensor, list[Tensor | float]]:
        """What f says at x goes into the row; its gradient (n,), and the shares of stuck units."""
        with undisturbed(self.f):
            value, gradient, noise, activity = _evaluate(self.f, x)
            due = self._pace.curves(self._steps)
            ends: Ends | None = None
            sharpness, searched = NAN, 0.0
            if due and _finite(value, gradient):
                with self._safely("the curvature"), self._ledger.curving():
                    ends, sharpness = self._ends(x, gradient)
                    searched = float(ends is not None and self._certifies)
                    self._refreshes += 1
        row |= {"loss": value, "noise_trace": noise, "sharpness": sharpness, "searched": searched}
        if ends is not None:
            row |= {name: getattr(ends, name) for name in ENDS}
        self._activities = activity.names()
        return gradient, [*activity.saturated(), *activity.dead()]

    def _ends(self, x: Tensor, gradient: Tensor) -> tuple[Ends | None, float]:
        """Both ends at x, and the sharpness that the optimiser feels; None where a product is not
        finite.
        """
        try:
            H = Hessian(self.f, x)
            ends = self._refreshed(H, self._vectors, gradient)
            self._vectors = ends.vectors
            scale = self._followed.preconditioner()
            if scale is None:
                return ends, ends.largest
            felt_by = _Scaled(H, scale)
            felt = self._refreshed(felt_by, self._scaled, None)
            self._scaled = felt.vectors
            return ends, felt.largest
        except NumericalError:
            return None, NAN

    def _refreshed(self, H: Operator, last: Tensor | None, gradient: Tensor | None) -> Ends:
        """The ends of H from the last vectors (n, 2), and what a product takes."""
        known, begun = self._known(H, last), time.perf_counter()
        within = LOOK if self.every is None else math.inf
        ends = refresh(H, known, gradient, self.rounds, seconds=within)
        self._product = (time.perf_counter() - begun) / ends.products
        self._products += ends.products
        return ends

    @property
    def _certifies(self) -> bool:
        """Whether this refresh is one of those before which both ends are searched."""
        return self.certify > 0 and self._refreshes % self.certify == 0

    def _known(self, H: Operator, last: Tensor | None) -> Tensor | None:
        """The vectors (n, 2) of top and bottom that a refresh starts at: the last ones, or those of
        a search.
        """
        if not self._certifies:
            return last
        pairs = eigsh(H, 1, 1, tol=CERTAIN, exact=0)
        self._products += pairs.products
        return pairs.vectors[:, [-1, 0]].to(H.device, H.dtype)

    # ---- the result

    def _widths(self) -> int:
        return (
            len(COLUMNS)
            + len(LAYERED) * len(self._followed.layout)
            + len(UNITS) * len(self._activities)
        )

    def _header(self) -> dict[str, object]:
        return {
            "columns": list(COLUMNS),
            "layers": list(self._followed.layout),
            "activations": self._activities,
            "every": self.every,
        }

    def _build(self, look: bool, seconds: float = NAN) -> Trace:
        """The trace of the records; at the end of the run, ``seconds`` of the loop, with what loop,
        loss and data say.
        """
        columns, ended = self._columns(), seconds == seconds
        diverged = not bool(torch.isfinite(columns["loss"][columns["evaluated"].bool()]).all())
        x = torch.empty(0, dtype=torch.float32, device="cpu")
        last: StationaryPoint | None = None
        reading: Reading | None = None
        loop: Loop | None = None
        source = Provenance()
        with self._safely("the point at the end"):
            x = self._followed.point()
        if ended:
            with self._safely("what was seen of the loop"):
                loop = self._watch.seen(seconds)
            with self._safely("the reading of loss and data"), undisturbed(self.f):
                reading = read(self.f, x)
        if look and not diverged:
            with self._safely("the last look"), undisturbed(self.f):
                last = self._look(x, seconds)
        with self._safely("where the trace comes from"), undisturbed(self.f):
            source = provenance(self.f, x, **self._config())
        return Trace(
            **columns,
            layers=list(self._followed.layout),
            activations=self._activities,
            every=self.every or 0,
            products=self._products,
            diverged=diverged,
            optimizer=", ".join(type(o).__name__ for o in self._followed.optimizers),
            momentum=self._followed.momentum(),
            x=x.cpu(),
            last=last,
            loop=loop,
            reading=reading,
            provenance=replace(source, notes=(*source.notes, *self._notes)),
        )

    def _columns(self) -> dict[str, Tensor]:
        """The records by the names of ``Trace``; none of them where they cannot be read."""
        rows = torch.empty(0, self._widths(), dtype=torch.float64, device="cpu")
        with self._safely("reading the records"):
            assert self._records is not None
            rows = self._records.read()
        at = len(COLUMNS)
        columns = {name: rows[:, i].clone() for i, name in enumerate(COLUMNS)}
        for names, width in ((LAYERED, len(self._followed.layout)), (UNITS, len(self._activities))):
            for name in names:
                columns[name] = rows[:, at : at + width].clone()
                at += width
        return typed(columns)

    def _config(self) -> dict[str, Any]:
        """How this was traced."""
        config: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("every", "evaluate", "curvature", "rounds", "certify")
        }
        if self.every is None:
            config["share"] = self.share
        optimizers = self._followed.optimizers
        if len(optimizers) == 1 and (spec := spec_of(optimizers[0])) is not None:
            config["optimizer"] = spec
        return config

    def _look(self, x: Tensor, seconds: float) -> StationaryPoint | None:
        """The end point's class, with no more products than such a loop of ``seconds`` allows."""
        most = LAST_PRODUCTS
        if self.every is None and self._product > 0:
            fit = int(max(LOOK, LOOKED * seconds) / self._product)
            most = min(max(fit, LEAST_PRODUCTS), LAST_PRODUCTS)
        try:
            if x.numel() <= min(LAST_DENSE, 2 * most):
                return classify(self.f, x, "dense")
            return classify(self.f, x, "lanczos", largest=2, smallest=2, max_products=most)
        except NumericalError:
            return None


class _Scaled:
    """D H D, as an adaptive optimiser feels H; d: (n,) the diagonal of D."""

    def __init__(self, H: Hessian, d: Tensor) -> None:
        self.H, self.d = H, d
        self.shape, self.dtype, self.device = H.shape, H.dtype, H.device

    def __matmul__(self, V: Tensor, /) -> Tensor:
        d = self.d if V.ndim == 1 else self.d[:, None]
        product: Tensor = d * (self.H @ (d * V))
        return product


def _finite(value: Tensor, gradient: Tensor) -> bool:
    return bool(torch.isfinite(value)) and bool(torch.isfinite(gradient).all())


def _together(row: list[Tensor | float], device: torch.device) -> Tensor:
    """Numbers, some of them () on a device, as one float64 tensor there; those of the host travel
    in one piece.
    """
    known = [0.0 if isinstance(v, Tensor) else v for v in row]
    found = torch.tensor(known, dtype=torch.float64, device=device)
    where = [i for i, v in enumerate(row) if isinstance(v, Tensor)]
    if where:
        found[where] = torch.stack(
            [v.to(device, torch.float64) for v in row if isinstance(v, Tensor)]
        )
    return found


def _evaluate(f: Landscape, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float, Activity]:
    """One pass: f, its gradient (n,), the trace of the gradient's covariance over f's batches (NaN
    with fewer than two), activations.
    """
    shares, batches = 0.0, 0
    total = x.new_zeros((), dtype=torch.float64)
    squares: Tensor | float = 0.0
    gradient, data = torch.zeros_like(x), None
    activity = Activity()
    with f.evaluation(), torch.enable_grad():
        for term in f.terms():
            point = x.clone().requires_grad_(True)
            activity.next_batch()
            with activity:
                value = term.function(point)
            total += value.detach()
            if not value.requires_grad:  # a constant
                continue
            (g,) = torch.autograd.grad(value, point, allow_unused=True)
            g = torch.zeros_like(x) if g is None else g
            gradient += g
            if term.batch is not None and term.share > 0:
                data = g.double() if data is None else data + g
                squares = g.double().square().sum() / term.share + squares
                shares += term.share**2
                batches += 1
    if batches < 2 or data is None:
        return total, gradient, float("nan"), activity
    return total, gradient, (squares - data.square().sum()).clamp(min=0.0) / (1 - shares), activity
