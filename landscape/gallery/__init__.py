"""The gallery: well-known figures of the literature, computed again, each with expected numbers
beside those found.

An entry names what it reproduces and the function that computes it, ``compute(progress) -> (data,
matches)``, in a module of this package. An exhibit is what came out: everything that a figure
draws, and the numbers. ``recall`` computes an exhibit once and keeps it.
"""

import functools
import hashlib
import importlib
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from landscape import specs
from landscape.core import Progress, silent
from landscape.errors import LoadingError
from landscape.results import Estimate, Result, load, provenance, result
from landscape.results.statistics import exact as exact
from landscape.results.statistics import mean as mean


@result("gallery-match")
@dataclass(frozen=True)
class Match:
    """A number that a paper, or mathematics, has beside the one found."""

    what: str
    expected: float
    source: str  # paper, and where in it
    found: Estimate  # its error is one standard error; 0 where the number is exact to rounding
    # what the two may differ by beside the error: rounding of the printed number, a limit not
    # reached
    within: float = 0.0
    note: str = ""  # why, if they need not be equal
    printed: bool = False  # whether the source prints this very number

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields as earlier versions stored them."""
        former = fields.pop("published", None)
        return fields if former is None else fields | {"expected": former}

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than three standard errors and ``within``."""
        rounding = 1e-12 * abs(self.expected)
        return (
            abs(self.found.value - self.expected) <= 3 * self.found.error + self.within + rounding
        )


Computed = tuple[Mapping[str, object], list[Match]]  # what a function of an exhibit gives


@result("gallery-exhibit")
@dataclass(frozen=True, eq=False)
class Exhibit(Result):
    """What an entry of the gallery has computed."""

    title: str
    reproduces: str  # paper and figure
    setting: str  # what was computed here, and where it differs from the paper
    matches: list[Match]
    data: dict[str, Any]  # tensors, numbers, words and results, as its figure reads them
    seconds: float
    library: str = ""  # what ``library()`` was when it was computed

    @property
    def earlier(self) -> bool:
        """Whether another state of this library has computed it."""
        return self.library != library()


@dataclass(frozen=True)
class Entry:
    """One line of the manifest."""

    module: str
    function: str
    title: str
    reproduces: str
    setting: str


ENTRIES = {
    "saddle": Entry(
        "saddles",
        "saddle",
        "A saddle, and runs that leave it",
        "Lee, Simchowitz, Jordan & Recht 2016, COLT: gradient descent leaves a strict saddle",
        "x^2 - y^2; 100 runs of three torch optimisers from 1e-4 beside the saddle, at a rate of "
        "0.05",
    ),
    "saddle-race": Entry(
        "races",
        "saddle_race",
        "A race from a saddle",
        "Radford 2014, animations of optimisers; Lee, Simchowitz, Jordan & Recht 2016, COLT; "
        "Kingma & Ba 2015, ICLR, arXiv:1412.6980",
        "(x^2 - y^2) / 2; five torch optimisers, all at a rate of 0.01, from (0.7, 0.001) until "
        "|y| > 1",
    ),
    "plateau-race": Entry(
        "races",
        "plateau_race",
        "A race across a plateau",
        "Radford 2014, animations of optimisers; Kingma & Ba 2015, ICLR, arXiv:1412.6980",
        "1 - exp(-|x|^2 / 2), whose gradient is 1e-3 at the start, 4 from the minimum; torch "
        "optimisers until they have come 3 nearer",
    ),
    "monkey-saddle": Entry(
        "saddles",
        "monkey_saddle",
        "The monkey saddle",
        "Hilbert & Cohn-Vossen 1932, Anschauliche Geometrie (Geometry and the Imagination, 1952)",
        "x^3 - 3 x y^2; 600 runs of SGD with noise start at the saddle itself",
    ),
    "styblinski-tang": Entry(
        "saddles",
        "styblinski_tang",
        "Every stationary point of a function",
        "Styblinski & Tang 1990, Neural Networks 3:467",
        "a census of all stationary points of the function of two variables",
    ),
    "coin-toss": Entry(
        "matrices",
        "coin_toss",
        "A coin toss against random matrices",
        "Dean & Majumdar 2006, Phys. Rev. Lett. 97:160201",
        "P(no negative eigenvalue) of the GOE: exact, of sampled matrices, and if curvatures were "
        "coins",
    ),
    "bray-dean": Entry(
        "matrices",
        "bray_dean",
        "Index against energy of random landscapes",
        "Bray & Dean 2007, Phys. Rev. Lett. 98:150201",
        "the limit, exact ratios of mean counts for 2 to 20 variables, and stationary points of "
        "random p-spin landscapes",
    ),
    "p-spin": Entry(
        "matrices",
        "p_spin",
        "Complexity of a spin glass",
        "Auffinger, Ben Arous & Cerny 2013, Commun. Pure Appl. Math. 66:165",
        "mean numbers of stationary points of the spherical 3-spin glass by index and energy, "
        "exponents per spin",
    ),
    "index-loss": Entry(
        "networks",
        "index_loss",
        "Index against loss of a network",
        "Dauphin et al. 2014, NeurIPS, figure 1",
        "stationary points of a tanh network with 160 parameters on 100 digits, from 768 points "
        "along training",
    ),
    "outliers": Entry(
        "networks",
        "outliers",
        "Bulk and outliers of a Hessian",
        "Sagun, Evci, Guney, Dauphin & Bottou 2017, arXiv:1706.04454; Gur-Ari, Roberts & Dyer "
        "2018, arXiv:1812.04754; "
        "Papyan 2020, JMLR 21(252)",
        "a ReLU network 64-32-10 after five epochs of SGD on 1,797 digits; the widest gap between "
        "neighbours among its 20 "
        "largest eigenvalues",
    ),
    "skip-connections": Entry(
        "networks",
        "skip_connections",
        "With and without skip connections",
        "Li, Xu, Taylor, Studer & Goldstein 2018, NeurIPS, figures 1 and 5",
        "networks of 56 layers as He et al. 2016 build them, 8 to 32 channels on images of 8 x 8 "
        "pixels, with and without skips, trained alike on digits; filter-normalised planes, 200 "
        "images",
    ),
    "block-structure": Entry(
        "networks",
        "block_structure",
        "The Hessian in blocks",
        "Collobert 2004, thesis, Paris 6; Dong, Zhang, Luo, Yao & Sun 2025, arXiv:2505.02809",
        "a tanh network 64-16-10 on 1,797 digits before and after 60 epochs of Adam; sizes of all "
        "1.5 million entries",
    ),
    "training-plane": Entry(
        "networks",
        "training_plane",
        "A training run on its principal plane",
        "Li, Xu, Taylor, Studer & Goldstein 2018, NeurIPS, figure 9 and section 7",
        "SGD and Adam with weight decay on digits, a point an epoch, on the plane of their "
        "principal axes about SGD's end",
    ),
    "random-walk": Entry(
        "walks",
        "random_walk",
        "Principal axes of a random walk",
        "Antognini & Sohl-Dickstein 2018, NeurIPS, arXiv:1806.08805",
        "1,000 steps in 4,000 dimensions, eight walks, centred on their means",
    ),
    "mode-connection": Entry(
        "networks",
        "mode_connection",
        "A valley between two networks",
        "Garipov, Izmailov, Podoprikhin, Vetrov & Wilson 2018, NeurIPS, figure 1; Draxler, "
        "Veschgini, Salmhofer & Hamprecht 2018, ICML",
        "two networks trained on digits from two seeds, a Bezier curve with one bend and the "
        "straight line between them",
    ),
    "lennard-jones": Entry(
        "clusters",
        "lennard_jones",
        "The tree of a cluster of seven atoms",
        "Doye & Wales 2002, J. Chem. Phys. 116:3777; Wales, Miller & Walsh 1998, Nature 394:758",
        "a census of 20,000 starts; minima joined at the saddles of index 1 by the gradient flow",
    ),
    "saxe-plateaus": Entry(
        "dynamics",
        "saxe",
        "Plateaus of a deep linear network",
        "Saxe, McClelland & Ganguli 2014, ICLR, arXiv:1312.6120, figure 3",
        "SGD at a small rate on two layers that learn four modes from a start of 1e-3 each",
    ),
    "kramers": Entry(
        "dynamics",
        "kramers",
        "Noise over a barrier",
        "Kramers 1940, Physica 7:284; Gardiner 2004, Handbook of Stochastic Methods, chapter 5",
        "SGD with normal noise in the double well x^4/4 - x^2/2, 600 runs at each of three "
        "temperatures",
    ),
    "octopus": Entry(
        "escapes",
        "octopus",
        "Saddle after saddle",
        "Du, Jin, Lee, Jordan, Singh & Poczos 2017, NeurIPS, arXiv:1705.10412",
        "their function with L = 1.5, gamma = 1 in 2 to 6 dimensions, 20 runs of each method, "
        "steps to the last saddle",
    ),
    "edge-of-stability": Entry(
        "escapes",
        "edge",
        "Training at the edge of stability",
        "Cohen, Kaur, Li, Kolter & Talwalkar 2021, ICLR, arXiv:2103.00065, figure 1",
        "a tanh network of 141 parameters on twenty points of a curve, full-batch SGD, 4,000 steps",
    ),
    "minima-are-rare": Entry(
        "escapes",
        "counts",
        "Minima of random landscapes, counted",
        "Dauphin et al. 2014, NeurIPS, section 2; Fyodorov 2004, Phys. Rev. Lett. 92:240601",
        "every stationary point of 200 isotropic random waves in each of 1 to 4 variables, beside "
        "coin toss and random matrices",
    ),
    "schedules": Entry(
        "dynamics",
        "schedules",
        "What a schedule does to noise",
        "Mandt, Hoffman & Blei 2017, JMLR 18(134); Robbins & Monro 1951, Ann. Math. Stat. 22:400",
        "4,000 runs of SGD with normal noise on x^2/2 under five of torch's schedules, beside "
        "exact moments",
    ),
}


def names() -> list[str]:
    """The entries of the gallery."""
    return list(ENTRIES)


def entry(name: str) -> Entry:
    """One entry.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in ENTRIES:
        raise ValueError(
            f"the gallery has no {name!r}.{specs.closest(name, ENTRIES)} It has "
            f"{', '.join(ENTRIES)}."
        )
    return ENTRIES[name]


def compute(name: str, *, progress: Progress = silent) -> Exhibit:
    """Compute an exhibit. Cost: from a second to a minute; three for the cluster of atoms."""
    chosen = entry(name)
    begun = time.perf_counter()
    function: Callable[[Progress], Computed] = getattr(
        importlib.import_module(f"landscape.gallery.{chosen.module}"), chosen.function
    )
    data, matches = function(progress)
    source = provenance(None, name=name)
    seconds = time.perf_counter() - begun
    return Exhibit(
        chosen.title,
        chosen.reproduces,
        chosen.setting,
        matches,
        dict(data),
        seconds,
        library(),
        provenance=source,
    )


def recall(name: str, cache: Path, *, afresh: bool = False, progress: Progress = silent) -> Exhibit:
    """The exhibit kept in ``cache``, computed and kept there if it is missing, damaged, or of
    another version or module of the gallery.

    One that the same function of the gallery has computed with an ``earlier`` state of the library
    behind it is handed out as it is.
    """
    folder = cache / f"{name}-{fingerprint(name)}"
    if not afresh:
        try:
            found = load(folder)
            if isinstance(found, Exhibit):
                return found
        except LoadingError:
            shutil.rmtree(folder, ignore_errors=True)
    made = compute(name, progress=progress)
    made.save(folder)
    return made


def kept(name: str, cache: Path) -> bool:
    """Whether ``cache`` has the exhibit."""
    return (cache / f"{name}-{fingerprint(name)}" / "result.json").is_file()


@functools.cache
def library() -> str:
    """The state of this library: of all its code, 8 hexadecimal digits."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(
            path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return digest.hexdigest()[:8]


def fingerprint(name: str) -> str:
    """Where the exhibit is kept: by this version and the code of its module, 8 hexadecimal
    digits.
    """
    spec = importlib.util.find_spec(f"landscape.gallery.{entry(name).module}")
    code = Path(spec.origin).read_bytes() if spec is not None and spec.origin else b""
    return hashlib.sha256(metadata.version("torch-landscape").encode() + code).hexdigest()[:8]


def default_cache() -> Path:
    """Where exhibits are kept: LANDSCAPE_CACHE, else the user's cache folder."""
    own = os.environ.get("LANDSCAPE_CACHE")
    if own:
        return Path(own)
    base = (
        os.environ.get("XDG_CACHE_HOME")
        or os.environ.get("LOCALAPPDATA")
        or str(Path.home() / ".cache")
    )
    return Path(base) / "torch-landscape" / "gallery"
