"""Why a run is stuck, flat, for programs."""

from landscape.results.flat import flat
from landscape.training.diagnose import Diagnosis, DiagnosisReport


@flat.register
def report(result: DiagnosisReport) -> dict[str, object]:
    """The causes in order, and what was tried."""
    about = {"parameters": result.parameters, "how": result.how, "seconds": result.seconds}
    return diagnosis(result.diagnosis) | about


@flat.register
def diagnosis(result: Diagnosis) -> dict[str, object]:
    """The causes in order, the surest first, and what remedies did."""
    first = result.causes[0].name if result.stuck and result.causes else None
    return {
        "verdict": first,
        "stuck": result.stuck,
        "causes": result.causes,
        "phases": result.phases,
        "trials": result.trials,
        "untried": result.untried,
    }
