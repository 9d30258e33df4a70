"""Curves: ticks that can be read."""

import numpy as np

from jaxgen.visualization import curves, curves_figure


def test_steps_are_marked_by_whole_numbers_and_all_numbers_have_one_size(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda path, figure: figures.append(figure))
    curves_figure(tmp_path / "x.png", {"error": {"": ([200], [0.02])}}, xlabel="step", log=("error",))
    axis = figures[0].axes[0]
    figures[0].canvas.draw()
    ticks = axis.get_xticks()
    np.testing.assert_array_equal(ticks, np.rint(ticks))
    labels = [label for labels in (axis.get_yticklabels(minor=True), axis.get_yticklabels()) for label in labels]
    assert {label.get_fontsize() for label in labels} == {8.0}
