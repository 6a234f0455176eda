"""Scalar functions of a flat vector: formulas and models, and what both are made of."""
