"""Shipped weights: they give the images of the run that wrote them, and what is not theirs is refused."""

import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import UserError, gibbs, potts, runs
from jaxgen.potts import denoising, pretrained
from jaxgen.potts.config import build_model
from jaxgen.potts.denoising.generate import Denoiser, Generation, generate

PIXELS = np.array([0, 2, 3, 5])  # those that the denoising machine draws, of images of 2 x 3


def random_leaves(shapes, seed: int):
    """A tree of random numbers that float16 holds exactly."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(np.float16(rng.standard_normal(leaf.shape)), jnp.float32), shapes)


def test_a_denoising_machine_draws_the_images_of_its_run(tmp_path, monkeypatch):
    config = denoising.DenoisingConfig(levels=3, hidden=5, noise_steps=2)
    machine = denoising.DenoisingMachine(len(PIXELS), 3, 5, 2, 2)
    statistics = random_leaves(denoising.fit_statistics(np.full((len(PIXELS), 3), 1 / 3, np.float32), 2), 1)
    x, y = jnp.zeros((1, len(PIXELS)), jnp.uint8), jnp.zeros(1, jnp.int32)
    params = random_leaves(machine.init(jax.random.key(0), statistics, x, x, y, y)["params"], 2)
    trained = Denoiser(machine, params, statistics, PIXELS, (2, 3))
    monkeypatch.setattr(pretrained, "restore_denoiser", lambda workdir: (SimpleNamespace(config=config), trained))
    (tmp_path / "config.json").write_text(runs.to_json(config))
    pretrained.write_pretrained(tmp_path, "mini")
    again = potts.load_pretrained("mini", tmp_path / "weights")
    label, how = np.arange(8) % 2, Generation(sweeps=2)
    expected = generate(jax.random.key(0), trained, label, how)
    np.testing.assert_array_equal(generate(jax.random.key(0), again, label, how), expected)


@pytest.mark.parametrize("labels", [False, True])
def test_a_potts_model_gives_the_energies_of_its_run(tmp_path, monkeypatch, labels):
    config = potts.PottsConfig(levels=3, neighbourhood="8", labels=labels)
    model = build_model(config, (4, 5), 6)
    x = np.random.default_rng(0).integers(0, 3, (7, 4, 5), np.uint8)
    label = np.arange(7, dtype=np.int32) % 6 if labels else None
    params = random_leaves(jax.eval_shape(model.init, jax.random.key(0), x, label)["params"], 3)
    run = SimpleNamespace(config=config), SimpleNamespace(params=params)
    monkeypatch.setattr(pretrained, "restore_run", lambda workdir: run)
    (tmp_path / "config.json").write_text(runs.to_json(config))
    pretrained.write_pretrained(tmp_path, "mini")
    again, weights = potts.load_pretrained("mini", tmp_path / "weights")
    assert again == model
    energies = (m.apply({"params": p}, x, label) for m, p in ((again, weights), (model, params)))
    np.testing.assert_array_equal(*energies)


def test_other_names_and_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="name is 'other'; allowed: denoising_digits, digit3"):
        potts.load_pretrained("other")
    with pytest.raises(UserError, match=r"holds no config.json.*Train first: python -m experiments.ebm_cd"):
        pretrained.write_pretrained(tmp_path, "mini")


def test_a_name_that_is_no_file_name_is_refused(tmp_path, monkeypatch):
    run = SimpleNamespace(config=potts.PottsConfig()), SimpleNamespace(params={"bias": np.zeros((4, 5, 3))})
    monkeypatch.setattr(pretrained, "restore_run", lambda workdir: run)
    with pytest.raises(UserError, match="name is 'A/b'; allowed: 1 to 40 small letters"):
        pretrained.write_pretrained(tmp_path, "A/b")


def test_the_packaged_machine_draws_digits():
    model = potts.load_pretrained("denoising_digits")
    images = generate(jax.random.key(0), model, np.arange(10), Generation(guidance=1.4, last_beta=1.3))
    assert images.shape == (10, 28, 28) and model.machine.n_hidden == 1024
    assert 0.1 < images.mean() < 0.2 and images[:, :2].max() == 0  # the ink of digits, none above them


def test_the_packaged_digit_3_has_the_moments_of_the_images():
    model, params = potts.load_pretrained("digit3")
    task = potts.PottsTask.load(potts.PottsConfig(classes="3", neighbourhood="8"))
    start = task.train[:512]  # in every mode of the data, so that few sweeps suffice
    x, _ = gibbs.sample(jax.random.key(0), model.lattice, params, start, n_sweeps=50)
    drawn, real = ((np.asarray(images)[..., None] == np.arange(4)).mean(0) for images in (x, task.train))
    assert np.abs(drawn - real).mean() < 0.012


def test_a_changed_description_is_refused(tmp_path):
    """A config with another number of noise steps or beta would fit the arrays, or fail where they are used."""
    for suffix in ("json", "npz"):
        shutil.copy(pretrained.PACKAGED / f"digit3.{suffix}", tmp_path)
    path = tmp_path / "digit3.json"
    whole = path.read_text()
    assert potts.load_pretrained("digit3", tmp_path)[0].levels == 4
    for changed in (whole.replace('"beta": 1.0', '"beta": 3.0'), whole.replace('"seed": 0', '"seed": 8')):
        assert changed != whole
        path.write_text(changed)
        with pytest.raises(UserError, match=r"digit3.json has been changed; allowed: the file that was shipped"):
            potts.load_pretrained("digit3", tmp_path)
