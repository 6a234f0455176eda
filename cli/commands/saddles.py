"""`landscape saddles find|census|count|path`: stationary points and the ways between them."""

from typing import Unpack

import click

from .. import completion, given, screens
from ..help import Command
from ..options import (
    SEEDS,
    Dimensions,
    ExpectationType,
    Positive,
    Setting,
    landscape_options,
    option,
    run_options,
)
from ..runs import Run

METHODS = ("newton-mr", "gradient-norm", "saddle-free", "eigenvector-following")


@click.group(short_help="Find stationary points, or count them.")
def saddles() -> None:
    """Find stationary points: one, all, or the saddle between two minima.

    LANDSCAPE is a built-in name (`landscape zoo`), a formula file.py:fn or pkg.mod:fn with --dim N,
    where fn is a torch function of points (..., N) -> (...), a factory that returns a landscape, or
    a model as `landscape analyze` takes it.
    """


@saddles.command(
    cls=Command,
    short_help="Go to one stationary point.",
    examples=(
        "saddles find himmelblau --start 0,0",
        "saddles find digits-tiny --method gradient-norm",
        "saddles find formulas.py:wells --dim 2 --index 1 --expect saddle:1",
    ),
)
@landscape_options
@option(
    "--start",
    metavar="POINT",
    help="Where to begin: 1,2 or a .npy file or a run; for a model a checkpoint.",
)
@option(
    "--random",
    is_flag=True,
    help="Begin at a random point of the domain; the default for a formula.",
)
@option(
    "--method",
    type=click.Choice(METHODS),
    help="Default: newton-mr; with --index eigenvector-following.",
)
@option("--index", type=click.IntRange(0), metavar="K", help="Go to a point of this index.")
@option("--tol", type=Positive(), help="When the search stops; default: the library's.")
@option(
    "--max-products",
    type=click.IntRange(1),
    help="Hessian-vector products after which the search gives up.",
)
@option(
    "--expect",
    type=ExpectationType(),
    help="Exit with 1 unless the verdict is KIND: a word of the verdicts, or saddle:K.",
)
@run_options
@click.pass_context
def find(ctx: click.Context, /, **options: Unpack[given.Find]) -> None:
    """Find one stationary point of LANDSCAPE, of any index, and say what it is."""
    run = Run.of(ctx, options["landscape"], options)
    from ..jobs import saddles as job  # here, because torch takes seconds and --help must not

    report = job.find(run, options)
    screens.show(report, run.target, options)
    if options["expect"] is not None:
        options["expect"].require(ctx, report.found)


@saddles.command(
    cls=Command,
    short_help="Search for all stationary points.",
    examples=(
        "saddles census himmelblau",
        "saddles census formulas.py:wells --dim 2 --domain box:-3,3 --starts 500",
        "saddles census himmelblau --starts 20000 --resume --out runs/himmelblau",
    ),
)
@landscape_options
@option(
    "--starts",
    type=click.IntRange(1, 10**12),
    default=10_000,
    show_default=True,
    help="Searches from random points; for a network, from points along training paths, 360 unless "
    "said.",
)
@option(
    "--tolerance",
    type=Positive(),
    default=1e-6,
    show_default=True,
    help="Points nearer than this, in units of the domain's size, are one.",
)
@run_options
@click.pass_context
def census(ctx: click.Context, /, **options: Unpack[given.Census]) -> None:
    """Search from many starts: the stationary points of LANDSCAPE, and how complete the list is.

    --resume goes on with an interrupted census, and with a larger --starts takes a stored one
    further.
    """
    run = Run.of(ctx, options["landscape"], options)
    from ..jobs import saddles as job  # here, because torch takes seconds and --help must not

    screens.show(job.census(run, options), run.target, options)


@saddles.command(
    cls=Command,
    short_help="Count saddles against dimension.",
    examples=(
        "saddles count isotropic-waves --dims 1:4",
        "saddles count p-spin --dims 4,6,8 --realisations 50",
        "saddles count families.py:mine --dims 2:6 --out runs/mine",
    ),
)
@click.argument(
    "family", envvar="LANDSCAPE_FAMILY", shell_complete=completion.of(completion.FAMILIES)
)
@option(
    "--dims",
    type=Dimensions(),
    required=True,
    metavar="DIMS",
    help="1:12 (both included), 1:12:2 or 2,3,5.",
)
@option(
    "--realisations",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Random landscapes of each dimension.",
)
@option(
    "--starts",
    type=click.IntRange(1),
    help="Searches of a landscape's first round; default: 50 a dimension.",
)
@option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    help="An option of the family, its value in JSON: order=4.",
)
@option(
    "--seed",
    type=SEEDS,
    default=0,
    show_default=True,
    help="Seed of the landscapes and of the starts.",
)
@option(
    "--device",
    metavar="DEVICE",
    default="auto",
    show_default=True,
    help="Where the searches run: auto, cpu, cuda, ...",
)
@run_options
@click.pass_context
def count(ctx: click.Context, /, **options: Unpack[given.Count]) -> None:
    """Count saddles, minima and maxima of random landscapes against dimension, beside theory.

    FAMILY is a built-in family (isotropic-waves, trigonometric, p-spin, styblinski-tang,
    phi4-ring, ...) or file.py:family, a function family(dim, seed) that returns a landscape.
    --resume goes on where a run was interrupted, and extends a finished one.
    """
    run = Run.of(ctx, options["family"], options)
    from ..jobs import count as job  # here, because torch takes seconds and --help must not

    screens.show(job.count(run, options), run.target, options)


@saddles.command(
    cls=Command,
    short_help="The pass between two minima.",
    examples=(
        "saddles path himmelblau --from 3,2 --to 3.584,-1.848",
        "saddles path himmelblau --census runs/himmelblau --from 0 --to 1",
        "saddles path formulas.py:wells --dim 2 --from=-1,0 --to 1,0 --images 21",
    ),
)
@landscape_options
@option(
    "--from",
    "origin",
    required=True,
    metavar="A",
    help="1,2 or a .npy file or a run; for a model a checkpoint.",
)
@option("--to", "goal", required=True, metavar="B", help="The other end.")
@option("--census", metavar="RUN", help="A and B are the numbers of minima in this stored census.")
@option(
    "--images",
    type=click.IntRange(5, 10_000),
    help="Points of the first path; default: the library's.",
)
@option(
    "--tol",
    type=Positive(),
    help="Slope across the path that counts as none; default: the library's.",
)
@option("--max-steps", type=click.IntRange(1), help="Steps after which the path is given up.")
@run_options
@click.pass_context
def path(ctx: click.Context, /, **options: Unpack[given.Path]) -> None:
    """Find the path of least energy between two minima of LANDSCAPE, its saddle and its barrier."""
    run = Run.of(ctx, options["landscape"], options)
    from ..jobs import saddles as job  # here, because torch takes seconds and --help must not

    screens.show(job.path(run, options), run.target, options)
