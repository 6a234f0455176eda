"""What lies between two points, flat, for programs."""

from landscape.paths.compare import Compared
from landscape.paths.connect import Connection
from landscape.paths.curves import Profile
from landscape.paths.minimum_energy import EnergyPath
from landscape.points.flat import eigenvalues, verdict
from landscape.results.flat import flat, listed


@flat.register
def energy_path(result: EnergyPath) -> dict[str, object]:
    """The barrier both ways, the saddle, and the loss along the path."""
    stations = [verdict(point) | {"x": listed(point.x)} for point in result.stations]
    return {
        "barrier": result.barrier,
        "barrier_back": result.barrier_back,
        "converged": result.converged,
        "stop": result.stop,
        "saddle": verdict(result.saddle) | {"x": listed(result.saddle.x)},
        "stations": stations,
        "arclength": result.arclength,
        "values": result.values,
        "residual": result.residual,
        "steps": result.steps,
        "evaluations": result.evaluations,
        "reasons": result.reasons,
    }


@flat.register
def connection(result: Connection) -> dict[str, object]:
    """The barrier of the curve and of the straight line, and the loss along both."""
    return {
        "barrier": result.barrier,
        "straight_barrier": result.straight_barrier,
        "curve": profile(result.curve),
        "straight": profile(result.straight),
        "optimizer": result.optimizer,
    }


@flat.register
def profile(result: Profile) -> dict[str, object]:
    """The loss along a curve."""
    return {
        "barrier": result.barrier,
        "t": result.t,
        "arclength": result.arclength,
        "values": result.values,
        "metrics": result.metrics,
    }


@flat.register
def compared(result: Compared) -> dict[str, object]:
    """The matrices, row by row, and what is known of each checkpoint."""
    every = range(len(result.names))
    return {
        "names": list(result.names),
        "checkpoints": [
            verdict(r.point) | {"eigenvalues": eigenvalues(r.point.pairs, r.sampling_errors)}
            for r in result.reports
        ],
        "barriers": result.barriers.tolist(),
        "barrier_errors": result.barrier_errors.tolist(),
        "barrier_reach": result.barrier_reach.tolist(),
        "aligned": result.aligned.tolist(),
        "aligned_errors": result.aligned_errors.tolist(),
        "aligned_reach": result.aligned_reach.tolist(),
        "overlaps": result.overlaps.tolist(),
        "aligned_overlaps": result.aligned_overlaps.tolist(),
        "angles": result.angles.tolist(),
        "angle_errors": result.angle_errors.tolist(),
        "distances": result.distances.tolist(),
        "aligned_distances": result.aligned_distances.tolist(),
        "moved": result.moved.tolist(),
        "families": result.families,
        "signs": result.signs,
        "scales": result.scales,
        "same": [[result.same(i, j) for j in every] for i in every],
        "t": result.t,
        "lines": result.lines.tolist(),
        "aligned_lines": result.aligned_lines.tolist(),
    }
