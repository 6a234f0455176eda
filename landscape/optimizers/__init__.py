"""How do optimisers move? Many runs of torch's own classes, and the laws beside them."""

from landscape.optimizers.edge import EdgeStudy as EdgeStudy
from landscape.optimizers.edge import edge_of_stability as edge_of_stability
from landscape.optimizers.escape import Escapes as Escapes
from landscape.optimizers.escape import Study as Study
from landscape.optimizers.minima import minimum_study as minimum_study
from landscape.optimizers.schedules import Schedules as Schedules
from landscape.optimizers.schedules import schedule_curves as schedule_curves
from landscape.optimizers.studies import Comparison as Comparison
from landscape.optimizers.studies import barrier_study as barrier_study
from landscape.optimizers.studies import octopus_study as octopus_study
from landscape.optimizers.studies import plateau_study as plateau_study
from landscape.optimizers.studies import saddle_study as saddle_study
from landscape.optimizers.sweeps import Sweep as Sweep
from landscape.optimizers.sweeps import sweep as sweep
