"""Network drawings: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxgen import visualization

WEIGHTS = [np.array([[1.0, -2.0], [0.5, 0.25]]), np.array([[3.0], [-1.5]])]
BIASES = [np.array([0.1, 0.2]), np.array([-0.7])]
ACTIVATIONS = [np.array([0.0, 1.0]), np.array([0.25, 0.75]), np.array([0.6])]


def test_every_number_is_in_the_drawing():
    axes = Figure().subplots()
    visualization.draw_network(axes, WEIGHTS, BIASES, ACTIVATIONS)
    texts = {text.get_text() for text in axes.texts}
    expected = {"1.00", "-2.00", "0.50", "0.25", "3.00", "-1.50", "b 0.10", "b 0.20", "b -0.70", "0.75", "0.60"}
    assert expected <= texts
    colours = [patch.get_edgecolor() for patch in axes.patches]
    strongest = matplotlib.colormaps["RdBu"](1.0)
    assert len(colours) == 6 and sum(np.allclose(colour, strongest) for colour in colours) == 1


def test_a_figure_of_drawings(tmp_path):
    panel = ("one", WEIGHTS, BIASES, ACTIVATIONS)
    visualization.network_figure(tmp_path / "network.png", [panel] * 3, title="three")
    assert (tmp_path / "network.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="panels is empty; allowed: one or more"):
        visualization.network_figure(tmp_path / "no.png", [])


def test_what_does_not_fit_is_refused():
    axes = Figure().subplots()
    with pytest.raises(ValueError, match="have 2, 1 and 3 layers; allowed: L, L and"):
        visualization.draw_network(axes, WEIGHTS, BIASES[:1], ACTIVATIONS)
    with pytest.raises(ValueError, match=r"weights\[1\] has shape \(1, 2\)"):
        visualization.draw_network(axes, [WEIGHTS[0], WEIGHTS[1].T], BIASES, ACTIVATIONS)
