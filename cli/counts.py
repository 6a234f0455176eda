"""From the options of `landscape saddles count` to stored counts, and those in words.

A run keeps what it has counted in a hidden folder inside its own, every some tens of realisations, until it has finished.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import click

import landscape as ls
from landscape import loading
from landscape.inventory import families
from landscape.loading.families import named
from landscape.results import Estimate

from . import numbers, problems, runs
from .errors import OneLine
from .facts import Fact
from .options import dimensions

GROWS = ("dims", "realisations")  # options that may change when a run is taken further
COLUMNS = ["dim", "points", "theory", "saddles %", "theory", "minima %", "theory", "Euler"]


def count(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> ls.inventory.SaddleCounts:
    """The stored counts with --resume where they have all that is asked for, else those taken further, else new ones."""
    dims, realisations, seed = dimensions(options["dims"]), options["realisations"], options["seed"]
    stored = runs.stored(target, ls.inventory.SaddleCounts) if resume else None
    if stored is not None and _covers(stored, dims, realisations):
        return runs.finished(target, ls.inventory.SaddleCounts, ctx) or stored
    known = (runs.kept(target, ls.inventory.SaddleCounts, ctx, *GROWS) or stored) if resume else None
    family = named(options["family"], seed, **dict(options["settings"]))
    if known is not None:
        _require_same(known, family, target, ctx)

    def work(bar: Any) -> ls.inventory.SaddleCounts:
        return ls.inventory.count_saddles(
            family, dims, realisations, seed, starts=options["starts"], known=known,
            device=loading.device(options["device"]), progress=bar, keep=partial(runs.keep, target),
        )  # fmt: skip

    return problems.store(ctx, target, work)


def before(counts: ls.inventory.SaddleCounts) -> list[Fact]:
    """What was counted."""
    each = f"{numbers.count(counts.realisations)} realisations a dimension"
    if not any(d.random for d in counts.dimensions):
        each = "nothing in it is random: one realisation a dimension"
    points = sum(len(d.values) for d in counts.dimensions)
    lines = (f"{counts.name}: {each}, seed {counts.seed}", f"{numbers.count(points)} stationary points")
    return [Fact("counted", lines)]


def rows(counts: ls.inventory.SaddleCounts) -> list[tuple[str, ...]]:
    """One row of COLUMNS a dimension."""
    return [
        (
            str(d.dim),
            _estimate(d.total),
            _number(sum(d.expected.counts) if d.expected is not None else math.nan),
            _estimate(d.saddles, 100),
            _number(100 * d.expected_saddles),
            _estimate(d.minima, 100),
            _number(100 * d.expected_minima),
            "?" if math.isnan(d.right) else numbers.share(100 * d.right, 100),
        )
        for d in counts.dimensions
    ]


def after(counts: ls.inventory.SaddleCounts) -> list[Fact]:
    """What the table rests on."""
    return [fact for fact in (Fact("theory", _theory(counts)), Fact("why", _why(counts))) if fact.lines]


def summary(counts: ls.inventory.SaddleCounts) -> list[dict[str, Any]]:
    """For machines: of every dimension means, shares and what is expected of them."""
    from landscape.results import plain

    keys = (
        "dim",
        "directions",
        "realisations",
        "right",
        "total",
        "means",
        "minima",
        "saddles",
        "expected",
        "deviations",
    )
    more = ("expected_minima", "expected_saddles")
    return [
        {key: plain(getattr(d, key)) for key in (*keys, *more)} | {"incomplete": int(d.incomplete.sum())}
        for d in counts.dimensions
    ]


def _theory(counts: ls.inventory.SaddleCounts) -> tuple[str, ...]:
    sources = dict.fromkeys(d.expected.source for d in counts.dimensions if d.expected is not None)
    far = [(abs(z), d.dim, k, z) for d in counts.dimensions for k, z in enumerate(d.deviations) if not math.isnan(z)]
    if not far:
        return (*sources,)
    most, dim, k, z = max(far)
    if most == 0:
        return (*sources, "the mean number of every index is the one expected")
    where = f"dim {dim}, index {k}"
    return (*sources, f"the largest deviation of a mean number of an index is {z:+.1f} standard errors: {where}")


def _why(counts: ls.inventory.SaddleCounts) -> tuple[str, ...]:
    lines = []
    unknown = sum(int((~d.euler_known).sum()) for d in counts.dimensions)
    wrong = {d.dim: int(d.incomplete.sum()) for d in counts.dimensions if bool(d.incomplete.any())}
    all_ = sum(d.realisations for d in counts.dimensions)
    checked = all_ - unknown
    if checked:
        lines.append(
            f"the Euler sum is right in {numbers.count(checked - sum(wrong.values()))} of {numbers.count(checked)}"
        )
    if wrong:
        listed = ", ".join(f"{number} in dim {dim}" for dim, number in wrong.items())
        lines.append(f"INCOMPLETE, and counted as they are: {listed}; raise --starts")
    if unknown:
        lines.append(f"no Euler check in {numbers.count(unknown)}: what the sum must be is not known there")
    rare = sum(int((d.rare > 0).sum()) for d in counts.dimensions)
    if rare:
        lines.append(f"in {numbers.count(rare)} some points were met fewer than three times: more may be missing")
    degenerate = sum(int(d.degenerate.sum()) for d in counts.dimensions)
    if degenerate:
        lines.append(f"{numbers.count(degenerate)} points have a zero eigenvalue and stand in no count")
    return tuple(lines)


def _estimate(found: Estimate, unit: float = 1.0) -> str:
    """Without blanks: eight columns must fit 80 characters."""
    return numbers.uncertain(unit * found.value, unit * found.error).replace(" ", "")


def _number(value: float) -> str:
    return "" if math.isnan(value) else numbers.plain(value)


def _covers(counts: ls.inventory.SaddleCounts, dims: list[int], realisations: int) -> bool:
    """Whether counts have all the realisations that are asked for."""
    return set(dims) <= set(counts.dims) and all(
        counts[dim].realisations >= realisations or not counts[dim].random for dim in dims
    )


def _require_same(known: ls.inventory.SaddleCounts, family: families.Family, target: Path, ctx: click.Context) -> None:
    changed = [key for key in runs.differing(known, ctx) if key not in GROWS]
    if changed:
        raise OneLine(
            f"{target} holds counts with another {', '.join(changed)}, which cannot be taken further: pass --force, or another --out.",
            2,
        )
    if known.provenance.model_hash != family.fingerprint:
        raise OneLine(f"{target} holds counts of another {family.name}: the file has changed since. Pass --force.", 2)
