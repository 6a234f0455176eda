"""Solvers that see a symmetric matrix only through its products: eigenpairs, spectral density, trace."""
