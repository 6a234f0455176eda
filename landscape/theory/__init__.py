"""What mathematics expects of landscapes and of optimisers on them: closed forms and sampled laws, no landscape in sight."""

from landscape.theory.counts import coin_toss as coin_toss
from landscape.theory.counts import coin_toss_index as coin_toss_index
from landscape.theory.exits import sgd_exit as sgd_exit
from landscape.theory.exits import sgd_growth as sgd_growth
from landscape.theory.fields import isotropic_counts as isotropic_counts
from landscape.theory.fields import torus_counts as torus_counts
from landscape.theory.goe import goe_law as goe_law
from landscape.theory.goe import goe_positive as goe_positive
from landscape.theory.index import goe_index as goe_index
from landscape.theory.index import index_fraction as index_fraction
from landscape.theory.pspin import PspinThresholds as PspinThresholds
from landscape.theory.pspin import pspin_complexity as pspin_complexity
from landscape.theory.pspin import pspin_counts as pspin_counts
from landscape.theory.pspin import pspin_thresholds as pspin_thresholds
from landscape.theory.stability import adam_limit as adam_limit
from landscape.theory.stability import sgd_limit as sgd_limit
