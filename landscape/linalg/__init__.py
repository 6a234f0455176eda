"""Solvers that see a symmetric matrix only through its products: eigenpairs, spectral density,
trace, linear systems.
"""

from landscape.linalg.lanczos import Eigenpairs as Eigenpairs
from landscape.linalg.minres import Solution as Solution
from landscape.linalg.minres import minres as minres
from landscape.linalg.quadrature import SpectralDensity as SpectralDensity
