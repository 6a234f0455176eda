"""Values of a landscape along curves and on planes: directions, grids, trajectories."""
