"""What mathematics expects of landscapes and of optimisers on them: closed forms and sampled laws,
no landscape in sight.
"""

from landscape.theory.adaptive import adaptive_exit as adaptive_exit
from landscape.theory.adaptive import adaptive_growth as adaptive_growth
from landscape.theory.adaptive import adaptive_law as adaptive_law
from landscape.theory.counts import coin_toss as coin_toss
from landscape.theory.counts import coin_toss_index as coin_toss_index
from landscape.theory.exits import sgd_exit as sgd_exit
from landscape.theory.exits import sgd_folds as sgd_folds
from landscape.theory.exits import sgd_growth as sgd_growth
from landscape.theory.fields import isotropic_counts as isotropic_counts
from landscape.theory.fields import torus_counts as torus_counts
from landscape.theory.fields import torus_counts_sampled as torus_counts_sampled
from landscape.theory.goe import goe_law as goe_law
from landscape.theory.goe import goe_positive as goe_positive
from landscape.theory.index import goe_index as goe_index
from landscape.theory.index import index_fraction as index_fraction
from landscape.theory.noise import NoiseExit as NoiseExit
from landscape.theory.noise import noise_exit as noise_exit
from landscape.theory.passage import double_well_passage as double_well_passage
from landscape.theory.passage import kramers as kramers
from landscape.theory.passage import mean_passage as mean_passage
from landscape.theory.passage import parabolas as parabolas
from landscape.theory.passage import parabolas_passage as parabolas_passage
from landscape.theory.passage import sgd_escape_time as sgd_escape_time
from landscape.theory.plateaus import deep_linear_time as deep_linear_time
from landscape.theory.plateaus import gaussian_well_time as gaussian_well_time
from landscape.theory.plateaus import octopus_exit as octopus_exit
from landscape.theory.plateaus import octopus_growth as octopus_growth
from landscape.theory.plateaus import sigmoid_time as sigmoid_time
from landscape.theory.predict import Prediction as Prediction
from landscape.theory.predict import predict_exit as predict_exit
from landscape.theory.pspin import PspinThresholds as PspinThresholds
from landscape.theory.pspin import pspin_complexity as pspin_complexity
from landscape.theory.pspin import pspin_counts as pspin_counts
from landscape.theory.pspin import pspin_thresholds as pspin_thresholds
from landscape.theory.stability import adam_limit as adam_limit
from landscape.theory.stability import rmsprop_limit as rmsprop_limit
from landscape.theory.stability import sgd_limit as sgd_limit
