"""Scalar functions of a flat vector: formulas and models, and what both are made of."""

from landscape.core import Domain as Domain
from landscape.core import Landscape as Landscape
from landscape.core import Operator as Operator
from landscape.core import Symmetry as Symmetry
from landscape.landscapes import losses as losses
from landscape.landscapes.domains import Space as Space
