"""What mathematics expects of landscapes and of optimisers on them: closed forms and sampled laws, no landscape in sight."""

from landscape.theory.counts import coin_toss as coin_toss
from landscape.theory.counts import coin_toss_index as coin_toss_index
from landscape.theory.counts import index_fraction as index_fraction
from landscape.theory.counts import pspin_complexity as pspin_complexity
from landscape.theory.counts import pspin_counts as pspin_counts
from landscape.theory.counts import pspin_threshold as pspin_threshold
from landscape.theory.counts import torus_counts as torus_counts
from landscape.theory.goe import goe_index as goe_index
from landscape.theory.goe import goe_positive as goe_positive
