"""How optimisers move through a landscape: ensembles of runs, escape from stationary points, schedules, traces of training."""
