"""A Potts model of images of one's own: their size, classes and levels reach the model, its samples and its studies."""

import dataclasses
import shutil

import numpy as np
import pytest

from jaxgen import data, potts, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.figures.samples import of_classes
from jaxgen.potts.studies import inpainting, sampling_run
from jaxgen.potts.studies.digits import DigitsConfig, DigitsTask
from jaxgen.potts.studies.restored import Restored


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """320 images of 6 x 9 pixels, 5 levels and 3 classes, which differ in brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(320) % 3
    images = rng.binomial(4, 0.2 + 0.3 * labels[:, None, None], (320, 6, 9))
    path = tmp_path_factory.mktemp("own") / "three.npz"
    np.savez(path, images=images, labels=labels, levels=5)
    return path


def config(own, **changes):
    short = {"steps": 4, "eval_every": 4, "checkpoint_every": 4, "log_every": 2, "chains": 24, "batch_size": 24}
    return potts.PottsConfig(images=str(own), levels=5, labels=True, fresh_chains=24, fresh_sweeps=4, **short | changes)


def test_the_task_has_the_size_levels_and_classes_of_the_images(own):
    task = potts.PottsTask.load(config(own))
    assert task.train.shape == (260, 6, 9) and int(task.train.max()) == 4 and task.classes == [0, 1, 2]
    assert (task.model.lattice.height, task.model.lattice.width, task.model.n_classes) == (6, 9, 3)
    assert task.title == "three all, neighbourhood 4, edge"
    few = potts.PottsTask.load(config(own, classes="2"))
    assert set(np.asarray(few.train_label)) == {2}
    with pytest.raises(UserError, match="classes is '3'; allowed: 'all', or numbers 0 to 2"):
        potts.PottsTask.load(config(own, classes="3"))


@pytest.mark.parametrize(
    "label, words",
    [
        (None, ""),
        ([2, 2], ", class 2"),
        ([0, 0, 1, 2], ", classes 0 to 2"),
        ([1, 7], ", classes 1, 7"),
    ],
)
def test_the_title_of_samples_says_their_classes(label, words):
    assert of_classes(None if label is None else np.array(label)) == words


@pytest.mark.slow
def test_train_restore_sample_and_clamp(own, tmp_path):
    training.run_task(potts.PottsTask.load, config(own), tmp_path)
    run = Restored.of(tmp_path, "last")
    assert run.task.model.n_classes == 3 and set(run.models()) == {0, 1, 2}
    asked = sampling_run.SampleConfig(n=24, sweeps=4, clamp_top=2, label=1)
    drawn = sampling_run.draw(asked, run)
    np.testing.assert_array_equal(drawn.frames[-1][:, :2], drawn.reference[:, :2])
    assert drawn.frames[-1].shape == (24, 6, 9)
    with pytest.raises(UserError, match="clamp_top is 7; allowed: 0 to 6, the height"):
        sampling_run.draw(sampling_run.SampleConfig(n=24, sweeps=4, clamp_top=7), run)
    assert [file.exists() for file in sampling_run.sample_files(asked, tmp_path)] == [True, True]
    np.savez(tmp_path / "two.npz", images=np.full((2, 6, 9), 4), levels=5)
    asked = {"images": str(tmp_path / "two.npz"), "sweeps": 4, "draws": 12, "mask": "left"}
    with pytest.raises(UserError, match="label is none, and the images have no labels; allowed: 0, 1, 2"):
        inpainting.inpaint_files(inpainting.InpaintConfig(**asked), tmp_path)
    with pytest.raises(UserError, match="label is 3, a class that the model was not trained on; allowed: 0, 1, 2"):
        inpainting.inpaint_files(inpainting.InpaintConfig(label=3, **asked), tmp_path)
    for noise in (0.0, 0.5):
        figure, file = inpainting.inpaint_files(inpainting.InpaintConfig(label=1, noise=noise, **asked), tmp_path)
        with np.load(file) as archive:
            assert figure.exists() and archive["states"].shape == (24, 6, 9) and archive["labels"].tolist() == [1] * 24
            assert archive["known"].sum() == 2 * 6 * 4
            assert (archive["states"][:, :, :4] == 4).all() == (noise == 0)
    with np.load(tmp_path / "samples" / "final.npz") as archive:
        assert archive["states"].shape == (24, 6, 9) and archive["levels"] == 5
        assert len(archive["labels"]) == 24 and set(archive["labels"]) == {
            0,
            1,
            2,
        }  # experiments.evaluate --labels asks for them


def test_one_model_per_class(own):
    shared = {name: getattr(config(own), name) for name in ("images", "levels", "steps", "batch_size", "chains")}
    task = DigitsTask.load(DigitsConfig(**shared, seeds=1))
    assert task.digits == [0, 1, 2] and len(task.tasks) == 3 and task.tasks[0].model.lattice.width == 9


def test_old_configs_are_read(own):
    """A run folder from before there were own images holds no such field."""
    text = runs.to_json(potts.PottsConfig()).replace('  "images": "",\n', "")
    assert runs.from_json(potts.PottsConfig, text) == potts.PottsConfig()


def test_colours_are_refused(tmp_path):
    np.savez(tmp_path / "colour.npz", images=np.random.default_rng(0).random((30, 4, 4, 3)))
    with pytest.raises(UserError, match="images has 3 channels in colour; allowed: grey images"):
        potts.PottsTask.load(potts.PottsConfig(images=str(tmp_path / "colour.npz")))
    assert data.open(images=str(tmp_path / "colour.npz")).channels == 3


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_images_under_the_same_name(own, tmp_path):
    file = tmp_path / "mine.npz"
    shutil.copy(own, file)
    short = config(file, steps=2, log_every=1, eval_every=2, checkpoint_every=2)

    def start(steps):
        task = potts.PottsTask.load(dataclasses.replace(short, steps=steps))
        with runs.RunFolder.open(tmp_path / "run", task.config) as folder:
            return training.train(task, folder)

    start(2)
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {"images": 4 - arrays["images"]})
    message = r"training data 'image' are uint8.* now, but .*run was trained on 'uint8.*; allowed: the data of this run"
    for steps in (2, 4):
        with pytest.raises(UserError, match=message):
            start(steps)
    shutil.copy(own, file)
    assert int(start(4).step) == 4
