"""From text on one line to objects: models, data, losses, formulas, points, families of
landscapes.
"""

from landscape.loading.problems import LandscapeOptions as LandscapeOptions
from landscape.loading.problems import Problem as Problem
from landscape.loading.problems import ProblemOptions as ProblemOptions
from landscape.loading.problems import device as device
from landscape.loading.problems import landscape as landscape
from landscape.loading.problems import load_loss as load_loss
from landscape.loading.problems import load_model as load_model
from landscape.loading.problems import load_parts as load_parts
from landscape.loading.problems import problem as problem
