"""Watch a training loop without changing it: two lines around a user's own loop.

    with ls.Tracer(optimizer, f, every=10) as tracer:
        ...
    trace = tracer.result

A hook on the optimiser counts its steps; every k-th step f, its gradient and, from the last vectors, both ends of its Hessian's
spectrum are evaluated where the parameters are then. Between, nothing is done but counting. Records go to a file in blocks, so that
memory does not grow with the run.
"""

import os
import random
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.core import FunctionLandscape
from landscape.dynamics.activity import Activity
from landscape.dynamics.follow import Followed
from landscape.dynamics.records import COLUMNS, LAYERED, UNITS, Records
from landscape.dynamics.ritz import Ends, refresh
from landscape.dynamics.trace import Trace
from landscape.errors import NumericalError
from landscape.hessian import Hessian
from landscape.model import ModelLandscape
from landscape.provenance import provenance
from landscape.stationary.classify import StationaryPoint, classify

LAST_DENSE = 600  # up to this n the last look computes the whole spectrum
LAST_PRODUCTS = 400  # and above it spends at most so many products


class Tracer:
    """Records a run of any ``torch.optim.Optimizer`` as the landscape f sees it.

    Args:
        optimizer: the optimiser of the loop, or a list of those that step one after the other; a step is counted when the last has stepped.
        f: what is measured: a ``ModelLandscape`` of the model that is trained, over a fixed subset of the data where all of it is too
            much, or a ``FunctionLandscape`` whose point is the optimiser's parameters, concatenated.
        every: optimiser steps from one record to the next.
        curvature: refresh the ends of the spectrum at every so many-th record; 0: never.
        rounds: Rayleigh-Ritz rounds a refresh, two products each and three more; ten times as many in the first.
        last_look: classify the end point thoroughly on exit.
        folder: where records spill to; None: a temporary file that goes with the tracer.
        resume: go on from the records in ``folder``, whose landscape and ``every`` must be the same; steps are counted from the last
            record on, and the distances from where the run goes on.

    Attributes:
        result: the ``Trace``, after the block; during it, what has been seen so far, without the last look.

    A record is made after a step, closures (LBFGS) included: one step is one call of ``optimizer.step``. Steps that a ``GradScaler``
    skips are not counted, since the optimiser is not called; with ``fused=True`` the skip happens inside the optimiser and is counted as
    a step, and the gradients seen are still scaled. The loop's parameters, gradients, optimiser state and random states (torch, NumPy,
    Python, the generators of f's loader) are left as they are.

    Cost: a record takes one evaluation of f with its gradient, a refresh 3 + 2 rounds products; a parameter-sized copy is held across
    a recorded step.

    Raises:
        TypeError: optimizer is no optimiser, or f no landscape.
        ValueError: f is not a function of the optimiser's parameters; f's loader keeps its workers (persistent_workers), whose
        iterator is the loop's own; an option is out of range; on resuming, the folder's records are of another run.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        f: ModelLandscape | FunctionLandscape,
        every: int = 10,
        *,
        curvature: int = 1,
        rounds: int = 2,
        last_look: bool = True,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        if every < 1 or curvature < 0 or rounds < 1:
            raise ValueError(
                f"every and rounds must be at least 1 and curvature at least 0, got {every}, {rounds}, {curvature}."
            )
        if resume and folder is None:
            raise ValueError("resume needs the folder of the earlier records.")
        self._followed = Followed(optimizer, f)
        self.f, self.every, self.curvature, self.rounds, self.last_look = f, every, curvature, rounds, last_look
        self._folder = Path(folder if folder is not None else tempfile.mkdtemp(prefix="landscape-trace-"))
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        self._resume = resume
        self._records: Records | None = None
        self._hooks: list[Callable[[], None]] = []
        self._steps = self._seen = self._products = 0
        self._before: Tensor | None = None
        self._start: Tensor | None = None
        self._last: Tensor | None = None
        self._travelled: Tensor | float = 0.0
        self._vectors: Tensor | None = None
        self._scaled: Tensor | None = None
        self._result: Trace | None = None

    def __enter__(self) -> "Tracer":
        if self._records is not None:
            raise RuntimeError("a Tracer traces one run: make a new one.")
        self._start = self._last = self._followed.point()
        row = self._measure(None)
        self._records = Records(self._folder, self._widths(), self._header(), self._resume)
        earlier = self._records.last()
        if earlier is None:
            self._records.add(row)
        else:
            self._steps = int(earlier[0])
            self._travelled = float(earlier[COLUMNS.index("travelled")])
        first, last = self._followed.optimizers[0], self._followed.optimizers[-1]
        self._hooks = [
            first.register_step_pre_hook(self._before_step).remove,
            last.register_step_post_hook(self._after_step).remove,
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for remove in self._hooks:
            remove()
        if self._records is not None:
            if self._steps != self._seen and kind is None:
                self._record(None)
            self._result = self._build(look=self.last_look and kind is None)
            self._records.close()

    @property
    def result(self) -> Trace:
        """The trace of what has been seen.

        Raises:
            RuntimeError: the tracer has not been entered.
        """
        if self._records is None:
            raise RuntimeError("nothing is traced yet: use the tracer as a context manager around the loop.")
        return self._result if self._result is not None else self._build(look=False)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if (self._steps + 1) % self.every == 0:
            self._before = self._followed.point()

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._steps += 1
        if self._steps % self.every == 0:
            before, self._before = self._before, None
            self._record(before)

    # ---- a record ------------------------------------------------------------------------------------------------------

    def _record(self, before: Tensor | None) -> None:
        assert self._records is not None
        self._records.add(self._measure(before))
        self._seen = self._steps

    def _measure(self, before: Tensor | None) -> Tensor:
        """One row, float64, on the device: COLUMNS, then LAYERED for every layer, then UNITS for every activation."""
        assert self._start is not None
        assert self._last is not None
        x = self._followed.point()
        self._travelled = (x - self._last).double().norm() + self._travelled
        self._last = x
        with _untouched(self.f):
            value, gradient, noise, activity = _evaluate(self.f, x)
            due = self.curvature and self._steps // self.every % self.curvature == 0
            ends, sharpness = self._ends(x, gradient) if due and _finite(value, gradient) else (None, float("nan"))
        nan = float("nan")
        scalars = self._followed.scalars()
        known = (
            [ends.largest, ends.smallest, ends.largest_bound, ends.smallest_bound, ends.rayleigh, ends.negative_share]
            if ends
            else [nan] * 6
        )
        vectors = (gradient, None if before is None else x - before, x)
        parts = [
            x.new_full((len(self._followed.layout),), nan, dtype=torch.float64)
            if v is None
            else self._followed.norms(v)
            for v in vectors
        ]
        whole = [part.norm() for part in parts]
        away = (x - self._start).double().norm()
        row: list[Tensor | float] = [float(self._steps), value, whole[0], whole[1], scalars.batch_gradient, whole[2]]
        row += [self._travelled, away, scalars.learning_rate, scalars.momentum, scalars.second, noise]
        row += [*known, sharpness, scalars.edge]
        self._activities = activity.names()
        units = _together([*activity.saturated(), *activity.dead()], x.device)
        return torch.cat([_together(row, x.device), *parts, units])

    def _ends(self, x: Tensor, gradient: Tensor) -> tuple[Ends | None, float]:
        """Both ends at x, and the sharpness that the optimiser feels; None where a product is not finite."""
        try:
            H = Hessian(self.f, x)
            ends = refresh(H, self._vectors, gradient, self.rounds)
            self._vectors, self._products = ends.vectors, self._products + ends.products
            scale = self._followed.preconditioner()
            if scale is None:
                return ends, ends.largest
            felt = refresh(_Scaled(H, scale), self._scaled, None, self.rounds)
            self._scaled, self._products = felt.vectors, self._products + felt.products
            return ends, felt.largest
        except NumericalError:
            return None, float("nan")

    # ---- the result ----------------------------------------------------------------------------------------------------

    def _widths(self) -> int:
        return len(COLUMNS) + len(LAYERED) * len(self._followed.layout) + len(UNITS) * len(self._activities)

    def _header(self) -> dict[str, Any]:
        return {"layers": list(self._followed.layout), "activations": self._activities, "every": self.every}

    def _build(self, look: bool) -> Trace:
        assert self._records is not None
        rows = self._records.read()
        at = len(COLUMNS)
        columns = {name: rows[:, i].clone() for i, name in enumerate(COLUMNS)}
        for names, width in ((LAYERED, len(self._followed.layout)), (UNITS, len(self._activities))):
            for name in names:
                columns[name] = rows[:, at : at + width].clone()
                at += width
        columns["steps"] = columns["steps"].to(torch.int64)
        diverged = not bool(torch.isfinite(columns["loss"]).all())
        x = self._followed.point()
        with _untouched(self.f):
            last = self._look(x) if look and not diverged else None
            config = {"every": self.every, "curvature": self.curvature, "rounds": self.rounds}
            source = provenance(self.f, x, None, 0, config)
        return Trace(
            **columns,
            layers=list(self._followed.layout),
            activations=self._activities,
            every=self.every,
            products=self._products,
            diverged=diverged,
            optimizer=", ".join(type(o).__name__ for o in self._followed.optimizers),
            momentum=self._followed.momentum(),
            x=x.cpu(),
            last=last,
            provenance=source,
        )

    def _look(self, x: Tensor) -> StationaryPoint | None:
        try:
            if x.numel() <= LAST_DENSE:
                return classify(self.f, x, "dense")
            return classify(self.f, x, "lanczos", largest=2, smallest=2, max_products=LAST_PRODUCTS)
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
    """Numbers, some of them () on a device, as one float64 tensor there; those of the host travel in one piece."""
    known = [0.0 if isinstance(v, Tensor) else v for v in row]
    found = torch.tensor(known, dtype=torch.float64, device=device)
    where = [i for i, v in enumerate(row) if isinstance(v, Tensor)]
    if where:
        found[where] = torch.stack([v.to(device, torch.float64) for v in row if isinstance(v, Tensor)])
    return found


def _evaluate(f: ModelLandscape | FunctionLandscape, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float, Activity]:
    """One pass: f, its gradient (n,), the trace of the gradient's covariance over f's batches (NaN with fewer than two), activations."""
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


@contextmanager
def _untouched(f: ModelLandscape | FunctionLandscape) -> Iterator[None]:
    """Evaluate f and leave every random state that a loop can feel as it was; autocast is off inside."""
    loader = getattr(f, "batches", None)
    parts = [loader, getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None)]
    found = {id(g): g for g in (getattr(p, "generator", None) for p in parts) if isinstance(g, torch.Generator)}
    states = [(g, g.get_state()) for g in found.values()]
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [f.device.index or 0] if f.device.type == "cuda" else []
    own = isinstance(f, ModelLandscape) and isinstance(
        loader, list | tuple
    )  # torch's is then seen to by f's evaluation
    try:
        with torch.random.fork_rng(devices=cuda, enabled=not own), torch.autocast(f.device.type, enabled=False):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for g, state in states:
            g.set_state(state)
