"""What is said of predictions; they are few numbers, shown under their names."""

from landscape.results.numbers import plain
from landscape.results.words import Fact, Words, said
from landscape.theory.noise import NoiseExit
from landscape.theory.predict import Prediction
from landscape.theory.pspin import PspinThresholds


@said.register
def prediction(result: Prediction, folder: str) -> Words:
    """The median exit step and the law behind it."""
    median = "none" if result.median is None else f"{result.median:.0f} steps"
    return Words(f"median {median}", [Fact("median", (median,)), Fact("theory", (result.law,))])


@said.register
def noise_exit(result: NoiseExit, folder: str) -> Words:
    """Mean and median of the exit step."""
    bounds = "" if result.returns else "; paths that come back are not counted: an upper bound"
    parts = [
        Fact("mean", (f"{plain(result.mean)} steps{bounds}",)),
        Fact("median", (f"{result.median:,} steps",)),
    ]
    return Words(f"mean {plain(result.mean)} steps", parts)


@said.register
def thresholds(result: PspinThresholds, folder: str) -> Words:
    """Threshold energies and complexities."""
    ground = ", ".join(f"-{energy:.5f}" for energy in result.e_index)
    parts = [
        Fact("threshold", (f"-{result.e_inf:.5f} a spin: below it the index stays finite",)),
        Fact("lowest", (f"{ground} a spin, for index 0, 1, ...",)),
        Fact(
            "complexity", (f"{result.total:.5f} in all, {result.minima:.5f} of one finite index",)
        ),
    ]
    return Words(f"order {result.order}", parts)
