"""The cell distribution: what a table means, and what is refused."""

import numpy as np
import pytest

from jaxgen import information
from jaxgen.information import cells
from jaxgen.information.config import label_names

HEADER = "label,i1,i2,mass\n"
EDGES = ((0.0, 1.0, 3.0), (-1.0, 0.0, 1.0))


def table(tmp_path, text, header=HEADER):
    path = tmp_path / "table.csv"
    path.write_text(header + text)
    return path


def test_a_later_row_replaces_and_the_others_get_the_base_noise(tmp_path):
    path = table(tmp_path, "0,0,1,0.5\n1,1,1,1\n0,0,1,0.2\n")
    distribution = information.CellDistribution.from_table(path, EDGES, base_noise=0.1)
    np.testing.assert_allclose(distribution.mass[0], np.array([[0.1, 0.2], [0.1, 0.1]]) / 0.5)
    np.testing.assert_allclose(distribution.mass[1], np.array([[0.1, 0.1], [0.1, 1.0]]) / 1.3)
    np.testing.assert_allclose(distribution.prior, 0.5)


def test_the_built_in_table_has_its_repeated_rows_replaced():
    bare = information.ten_labels(base_noise=0.0)
    assert bare.mass.shape == (10, 3, 3, 3, 3, 3) and bare.labels == tuple(range(10))
    # 0.05 of a total of 0.85, where the first of the two rows says 0.15.
    assert bare.mass[2, 1, 0, 1, 0, 1] == pytest.approx(0.05 / 0.85)
    assert bare.mass[3, 0, 1, 1, 0, 1] == pytest.approx(0.05 / 0.85)
    assert (bare.mass > 0).sum(axis=(1, 2, 3, 4, 5)).tolist() == [9, 9, 8, 8, 8, 8, 8, 9, 9, 11]


@pytest.mark.parametrize(
    "text, message",
    [
        ("0,0,0,-0.1\n", "line 2: mass is -0.1; allowed: 0 or more"),
        ("0,0,0,nan\n", "line 2: mass is nan"),
        ("0,0,0,1\n0,0,1\n", "line 3: 3 columns; allowed: 4"),
        ("0,0,0,1\n0,0,0,1,1\n", "line 3: 5 columns; allowed: 4"),
        ("0,0,2,1\n", "line 2: label 0, cell [0, 2]; allowed"),
        ("-1,0,0,1\n", "line 2: label -1"),
        ("0,x,0,1\n", "line 2: 0,x,0,1; allowed: integers, then a number"),
        ("0,0,0,1\n2,0,0,1\n", "label 1 has no row"),
        ("0,0,0,1\n1,0,0,0\n", "masses of label 1 sum to 0"),
        ("", "has no rows"),
    ],
)
def test_bad_tables_are_refused_by_line(tmp_path, text, message):
    with pytest.raises(ValueError) as error:
        information.CellDistribution.from_table(table(tmp_path, text), EDGES)
    assert message in str(error.value)


def test_a_wrong_header_and_a_negative_noise_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"header is label,i1,mass; allowed: label,i1,i2,mass"):
        information.CellDistribution.from_table(table(tmp_path, "0,0,1\n", "label,i1,mass\n"), EDGES)
    with pytest.raises(ValueError, match=r"base_noise is -0\.1; allowed: 0 or more"):
        information.ten_labels(-0.1)


def test_the_class_refuses_what_is_no_distribution():
    mass = np.full((2, 2), 0.5)
    edges, prior = ((0.0, 1.0, 2.0),), np.full(2, 0.5)
    for arguments, message in [
        ((mass * 1.1, edges, prior, (0, 1)), "mass sums to"),
        ((mass, edges, prior * 2, (0, 1)), "prior sums to"),
        ((mass, ((0.0, 2.0, 1.0),), prior, (0, 1)), "edges of axis 0"),
        ((mass, edges * 2, prior, (0, 1)), "mass has shape"),
        ((mass, edges, prior, (0, 0)), "labels are"),
        ((mass, edges, prior[:1], (0, 1)), "prior has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            information.CellDistribution(*arguments)
    with pytest.raises(ValueError, match="least -1"):
        information.CellDistribution.from_masses([[1.0, -1.0], [1.0, 1.0]], edges)


def test_posteriors_sum_to_one_and_give_back_the_joint():
    distribution = information.ten_labels()
    posterior = np.exp(distribution.log_posterior())
    np.testing.assert_allclose(posterior.sum(0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(posterior * distribution.joint().sum(0), distribution.joint(), rtol=1e-12)
    # A cell that no label can reach says nothing.
    bare = information.ten_labels(0.0)
    np.testing.assert_allclose(np.exp(bare.log_posterior()[:, bare.joint().sum(0) == 0]), 0.1)


def test_label_subsets_keep_classes_apart():
    whole = information.ten_labels()
    part = whole.subset([1, 2, 3])
    assert part.n_labels == 3 and part.labels == (1, 2, 3)
    for place, label in enumerate((1, 2, 3)):
        np.testing.assert_array_equal(part.mass[place], whole.mass[label])
    np.testing.assert_allclose(part.prior, 1 / 3)
    assert part.subset([3, 1]).labels == (3, 1)
    for labels in ([1], [1, 1], [1, 10]):
        with pytest.raises(ValueError, match="labels are"):
            whole.subset(labels)
    with pytest.raises(ValueError, match=r"labels are \(0, 1\)"):
        part.subset([0, 1])


@pytest.mark.parametrize("text", ["", "1", "1,1", "1,x", "0,10", "0,-1", "0,,1", "1.5,2"])
def test_bad_label_lists_are_refused(text):
    with pytest.raises(ValueError, match="labels is"):
        label_names(text, range(10))


def test_label_lists():
    assert label_names("1,2,3", range(10)) == [1, 2, 3] and label_names("all", (2, 5)) == [2, 5]
    assert information.build_distribution(information.InformationConfig(labels="1,2,3")).n_labels == 3


def test_points_find_their_cells():
    distribution = information.CellDistribution.from_masses(np.ones((2, 2, 2)), EDGES)
    x = np.array([[0.0, -1.0], [0.999, 0.0], [1.0, -0.001], [3.0, 1.0]])
    assert distribution.cells_of(x).tolist() == [0, 1, 2, 3]
    for wrong, message in [(np.array([[3.1, 0.0]]), "x leaves"), (np.array([[np.nan, 0.0]]), "x leaves"),
                           (np.zeros((2, 3)), "x has shape")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            distribution.cells_of(wrong)


def test_mixing_with_uniform_goes_by_volume():
    distribution = information.CellDistribution.from_masses(np.eye(2), ((0.0, 1.0, 4.0),))
    np.testing.assert_allclose(distribution.mix(1.0).mass, [[0.25, 0.75]] * 2)
    np.testing.assert_allclose(distribution.mix(0.5).mass, [[0.625, 0.375], [0.125, 0.875]])
    with pytest.raises(ValueError, match=r"weight is 1\.5; allowed: 0 to 1"):
        distribution.mix(1.5)


def test_axes_of_the_joint_are_checked():
    distribution = information.ten_labels()
    np.testing.assert_allclose(distribution.joint([4, 0]), distribution.joint([0, 4]))
    for axes in ([5], [0, 0], [-1]):
        with pytest.raises(ValueError, match="axes are"):
            distribution.joint(axes)


def test_edges_are_those_of_the_table():
    assert information.ten_labels().edges == (cells.EDGES,) * 5 and cells.EDGES == (-1.0, -0.33, 0.33, 1.0)
