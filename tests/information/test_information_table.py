"""Distributions from a CSV file: exact values, the law of the draws, and one refusal per fault."""

import math

import jax
import numpy as np
import pytest

from jaxgen import information
from jaxgen.errors import UserError
from jaxgen.information import bounds

CHANNEL = "label,i1,mass\n2,0,6\n2,1,2\n7,0,0.5\n7,1,1.5\n"  # weights of any scale, labels with gaps


def load(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return information.load_table(path)


def test_a_table_is_a_joint_distribution(tmp_path):
    found = load(tmp_path, CHANNEL)
    assert found.labels == (2, 7) and found.edges == ((-1.0, 0.0, 1.0),)
    np.testing.assert_allclose(found.joint(), [[0.6, 0.2], [0.05, 0.15]])
    np.testing.assert_allclose(found.prior, [0.8, 0.2])
    joint = np.array([[0.6, 0.2], [0.05, 0.15]])
    exact = -(joint * np.log(joint / joint.sum(0))).sum()
    assert information.conditional_entropy(found) == pytest.approx(exact)
    assert bounds.label_entropy(found) == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert information.bayes_accuracy(found) == pytest.approx(0.8)


def test_cells_without_a_row_have_probability_0(tmp_path):
    """Y = X_1 xor X_2: either coordinate tells nothing, both tell all."""
    found = load(tmp_path, "label,i1,i2,mass\n0,0,0,1\n0,1,1,1\n\n1,0,1,1\n1,1,0,1\n")
    assert information.conditional_entropy(found) == pytest.approx(0.0, abs=1e-12)
    assert information.conditional_entropy(found, [0]) == pytest.approx(math.log(2))
    x, y = map(np.asarray, information.sample(jax.random.key(0), found, 2000))
    np.testing.assert_array_equal(y, (x[:, 0] >= 0) != (x[:, 1] >= 0))
    assert abs(y.mean() - 0.5) < 0.05


def test_a_config_with_a_table(tmp_path):
    (tmp_path / "mine.csv").write_text(CHANNEL + "9,0,1\n")
    config = information.InformationConfig(table=str(tmp_path / "mine.csv"), labels="2,9", uniform_mix=0.5)
    found = information.build_distribution(config)
    assert found.labels == (2, 9)
    np.testing.assert_allclose(found.prior, [8 / 9, 1 / 9])
    np.testing.assert_allclose(found.mass, [[0.625, 0.375], [0.75, 0.25]])
    for changed, message in (
        ({"labels": "2,3"}, "labels is '2,3'; allowed: 'all', or two or more of 2, 7, 9, each once"),
        ({"base_noise": 0.1}, "base_noise is 0.1 with a table; allowed: 0.0003, which a table ignores"),
    ):
        with pytest.raises(ValueError, match=message):
            information.build_distribution(information.InformationConfig(table=config.table, **changed))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "whose first line is ''; allowed: label,i1,...,id,mass with 1 to 8 coordinates"),
        ("label,mass\n0,1\n", "whose first line is 'label,mass'"),
        ("label,a,mass\n0,0,1\n", "whose first line is 'label,a,mass'"),
        (f"label,{','.join(f'i{k}' for k in range(1, 10))},mass\n", "with 1 to 8 coordinates"),
        ("label,i1,mass\n", "which has no rows"),
        ("label,i1,mass\n0,0,1\n1,0\n", "line 3: 1,0; allowed: 2 integers from 0 to 999,999, and a finite mass"),
        ("label,i1,mass\n0,0,-1\n", "line 2: 0,0,-1"),
        ("label,i1,mass\n0,0,nan\n", "line 2: 0,0,nan"),
        ("label,i1,mass\n0,0.5,1\n", "line 2: 0,0.5,1"),
        ("label,i1,mass\n-1,0,1\n", "line 2: -1,0,1"),
        ("label,i1,mass\n0,9999999999,1\n", "line 2: 0,9999999999,1"),
        ("label,i1,mass\n0,0,1\n0,0,1\n", r"line 3: label 0, cell \[0\] again; allowed: each once"),
        ("label,i1,mass\n3,0,1\n3,1,1\n", "with the label 3 only; allowed: two labels or more"),
        ("label,i1,mass\n0,0,1\n1,0,0\n", "where the masses of label 1 sum to 0"),
        ("label,i1,mass\n0,0,1\n1,99999,1\n1,100000,1\n", "with 200,002 labels times cells; allowed: 200,000 or fewer"),
        ('label,i1,mass\n"' + "1" * 200_000 + '",0,1\n', "which is no CSV file"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"label,i1,mass\n\xff\n")
    with pytest.raises(ValueError, match=r"mine\.csv, whose line 2 is not UTF-8 text; allowed: a CSV file"):
        information.load_table(tmp_path / "mine.csv")
