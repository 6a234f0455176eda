"""From where a surface in space is looked at."""

import numpy as np
import pytest
from landscape_figures import views

STEPS = np.linspace(-1, 1, 21)
FLAT = np.zeros((21, 21))


def ridge(along: int) -> np.ndarray:
    """A wall across the middle of the first or the second axis."""
    height = np.exp(-((STEPS / 0.15) ** 2))
    return np.tile(height[:, None], 21) if along == 0 else np.tile(height, (21, 1))


def test_nothing_hidden_leaves_the_usual_view() -> None:
    walk = (np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([0.1, 0.1]))
    assert views.chosen(STEPS, ridge(0), []) == views.PLAIN
    assert views.chosen(STEPS, FLAT + 1e-3 * ridge(0), [walk]) == views.PLAIN


def hidden(view: tuple[float, float], along: int, place: float, across: float) -> bool:
    """Whether the wall itself, no grid, stands between a point at its foot and the eye."""
    eye, t = views.toward(*view), np.linspace(0.01, 1.5, 4000)
    u = place + 2 * eye[along] * t  # the box has sides of 1, the axes go from -1 to 1
    v = across + 2 * eye[1 - along] * t
    wall = views.HEIGHT * np.exp(-((u / 0.15) ** 2))
    return bool(((wall > views.HEIGHT * 0.02 + eye[2] * t) & (abs(v) <= 1)).any())


@pytest.mark.parametrize(("along", "side"), [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)])
def test_a_run_behind_a_wall_is_seen(along: int, side: float) -> None:
    where = np.zeros((5, 2))
    where[:, along], where[:, 1 - along] = 0.45 * side, np.linspace(-0.5, 0.5, 5)
    view = views.chosen(STEPS, ridge(along), [(where, np.full(5, 0.02))])
    assert not any(hidden(view, along, 0.45 * side, v) for v in where[:, 1 - along])


def test_the_usual_view_would_hide_some() -> None:
    behind = [(along, side) for along in (0, 1) for side in (0.45, -0.45)]
    assert any(hidden(views.PLAIN, along, side, 0.0) for along, side in behind)


def test_the_eye_is_a_unit_vector_where_it_is_said_to_be() -> None:
    np.testing.assert_allclose(views.toward(0.0, 0.0), [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(views.toward(0.0, 90.0), [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(views.toward(90.0, 17.0), [0, 0, 1], atol=1e-15)


def test_cells_without_a_value_hide_nothing() -> None:
    height = ridge(0)
    height[8:13] = np.nan
    walk = (np.array([[0.9, 0.0]]), np.array([0.0]))
    assert views.chosen(STEPS, height, [walk]) == views.PLAIN
