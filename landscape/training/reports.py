"""What is stored of a diagnosis: the causes, the trace that they were read from, and where both come from."""

from dataclasses import dataclass

from landscape.results import Result, result
from landscape.training.diagnose import Cause, Diagnosis
from landscape.training.probes import Probe
from landscape.training.trace import Phase, Trace


@result("diagnosis-report")
@dataclass(frozen=True, eq=False)
class DiagnosisReport(Result):
    """A diagnosis with its trace."""

    parameters: int
    how: str  # where the trace is from, in words
    diagnosis: Diagnosis
    trace: Trace
    seconds: float

    @property
    def causes(self) -> list[Cause]:
        """The causes in order, the surest first."""
        return self.diagnosis.causes

    @property
    def phases(self) -> list[Phase]:
        """What the run went through."""
        return self.diagnosis.phases

    @property
    def probes(self) -> list[Probe]:
        """The trials of remedies, the best first; empty where none were run."""
        return self.diagnosis.probes
