"""The Hessian and its kin at a point, known by their products; derivatives at many points."""
