"""A run and the checksums of the data that it was trained on."""

import json

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.runs.run_folder import DATA
from jaxgen.training.same_data import require_same_data

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def test_a_trained_run_takes_the_integers_that_it_was_trained_on_and_any_floats(tmp_path):
    data = {"image": IMAGES, "x": np.linspace(0, 1, 4)}
    require_same_data(tmp_path, data, trained=False)
    assert list(json.loads((tmp_path / DATA).read_text())) == ["image"]
    require_same_data(tmp_path, data | {"x": -data["x"]}, trained=True)
    message = r"training data 'image' are uint8.* now, but .* was trained on 'uint8.*; allowed: the data of this run"
    for other in (IMAGES[::-1], IMAGES.astype(np.int32), IMAGES[:3], IMAGES.reshape(4, 6)):
        with pytest.raises(UserError, match=message.replace("uint8", "u?int(8|32)", 1)):
            require_same_data(tmp_path, {"image": other}, trained=True)


def test_a_run_without_a_checkpoint_takes_new_data(tmp_path):
    require_same_data(tmp_path, {"image": IMAGES}, trained=False)
    require_same_data(tmp_path, {"image": IMAGES[::-1]}, trained=False)
    require_same_data(tmp_path, {"image": IMAGES[::-1]}, trained=True)


def test_a_run_of_an_older_version_takes_any_data(tmp_path):
    require_same_data(tmp_path, {"image": IMAGES}, trained=True)
