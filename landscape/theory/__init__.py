"""What mathematics expects of landscapes and of optimisers on them: closed forms and sampled laws, no landscape in sight."""

from landscape.theory.counts import coin_toss as coin_toss
from landscape.theory.counts import coin_toss_index as coin_toss_index
from landscape.theory.goe import goe_law as goe_law
from landscape.theory.goe import goe_positive as goe_positive
