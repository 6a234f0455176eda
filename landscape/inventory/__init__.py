"""Which stationary points are there? Of one landscape, of many, against dimension."""
