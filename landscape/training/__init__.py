"""Why is my training stuck? A user's own loop, traced, diagnosed, and tried again."""

from landscape.training.callbacks import huggingface_callback as huggingface_callback
from landscape.training.callbacks import lightning_callback as lightning_callback
from landscape.training.continuation import Continuation as Continuation
from landscape.training.continuation import continuation as continuation
from landscape.training.diagnose import Diagnosis as Diagnosis
from landscape.training.diagnose import DiagnosisReport as DiagnosisReport
from landscape.training.probes import Probe as Probe
from landscape.training.probes import Probes as Probes
from landscape.training.probes import probe as probe
from landscape.training.rules import Cause as Cause
from landscape.training.trace import Trace as Trace
from landscape.training.trace import plateau_length as plateau_length
