"""The blind sheet: what is on it, what its key says, and scores counted by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxgen import evaluation


def pool(n, kind):
    """n images of classes 0, 1, 2 in turn; pixel 0 says the kind, pixel 1 the class, pixel 2 the number."""
    images = np.zeros((n, 28, 28), np.uint8)
    digits = np.arange(n) % 3
    images[:, 0, 0], images[:, 0, 1], images[:, 0, 2] = kind, digits, np.arange(n)
    return images, digits


SHEET = evaluation.mixed(pool(60, 1), pool(90, 2), 20, 0)


def test_a_sheet_has_as_many_of_either_kind_of_the_same_classes_and_none_twice():
    assert SHEET.images.shape == (40, 28, 28) and SHEET.real.sum() == 20
    np.testing.assert_array_equal(SHEET.images[:, 0, 0], np.where(SHEET.real, 2, 1))
    np.testing.assert_array_equal(SHEET.images[:, 0, 1], SHEET.digit)
    counts = [np.bincount(SHEET.digit[SHEET.real == kind], minlength=3) for kind in (True, False)]
    np.testing.assert_array_equal(*counts)
    assert len({tuple(image[0, :3]) for image in SHEET.images}) == 40
    assert 2 < SHEET.real[:20].sum() < 18  # shuffled
    assert not np.array_equal(evaluation.mixed(pool(60, 1), pool(90, 2), 20, 1).images, SHEET.images)


def test_what_does_not_suffice_for_a_sheet_is_refused():
    with pytest.raises(ValueError, match="each is 61; allowed: 1 to 60"):
        evaluation.mixed(pool(60, 1), pool(90, 2), 61, 0)
    with pytest.raises(ValueError, match=r"each is 60, which needs 20 real images of class 0; allowed: up to 5"):
        evaluation.mixed(pool(60, 1), pool(15, 2), 60, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blind")
    evaluation.write_sheet(folder, SHEET, {"samples": "x.npz"})
    return folder


def test_the_files_of_a_sheet(folder):
    assert np.asarray(Image.open(folder / "sheet.png").convert("L")).std() > 10
    assert (folder / "answers.csv").read_text().splitlines()[:2] == ["number,answer", "1,"]
    assert json.loads((folder / "key.json").read_text())["samples"] == "x.npz"
    key = evaluation.read_key(folder / "key.json")
    assert [key[n + 1] for n in range(40)] == list(zip(SHEET.real.tolist(), SHEET.digit.tolist(), strict=True))
    with pytest.raises(ValueError, match=r"holds a key.json; allowed: a folder without one"):
        evaluation.write_sheet(folder, SHEET, {})
    with pytest.raises(ValueError, match=r"score is .*answers.csv, which holds no answers"):
        evaluation.read_answers(folder / "answers.csv", list(key))
    with pytest.raises(ValueError, match=r"key is .*answers.csv, whose line 1 is no JSON"):
        evaluation.read_key(folder / "answers.csv")


def test_scores_by_hand():
    key = {1: (True, 3), 2: (False, 3), 3: (True, 5), 4: (False, 5), 5: (True, 5)}
    rows = {row.quantity: row for row in evaluation.blind_rows(key, {1: True, 2: True, 3: True, 4: False})}
    assert rows["share told apart"].value == 0.75
    interval = evaluation.wilson(3, 4)
    assert rows["share told apart"].note == f"95 % {interval.low:.3f} to {interval.high:.3f}; 3 of 4"
    assert rows["p-value of guessing"].value == pytest.approx(10 / 16)  # P(0, 1, 3 or 4 of 4)
    assert rows["real images taken for real"].value == 1.0
    assert rows["generated images taken for real"].value == 0.5
    assert rows["class 3: share told apart"].value == 0.5 and rows["class 5: share told apart"].value == 1.0


@pytest.mark.parametrize(
    "text, message",
    [
        ("number,answer\n7,r\n", "number is '7' in .*; allowed: those of the key, each once"),
        ("number,answer\n1,r\n1,g\n", "number is '1'"),
        ("number,answer\n1,maybe\n", "answer is 'maybe' to number 1; allowed: real, r, generated, g, or nothing"),
        ("image,answer\n1,r\n", "with columns image, answer; allowed: number, answer"),
    ],
)
def test_answers_that_are_none(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        evaluation.read_answers(tmp_path / "a.csv", [1, 2])


def test_answers_in_any_case_and_some_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("number,answer\n1, Real \n2,G\n3,\n")
    assert evaluation.read_answers(tmp_path / "a.csv", [1, 2, 3]) == {1: True, 2: False}
    with pytest.raises(ValueError, match="which cannot be read"):
        evaluation.read_answers(tmp_path / "none.csv", [1])
