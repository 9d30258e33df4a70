"""The comparison of lattices: its tasks, its plan of equal times, its numbers against enumeration on a tiny grid."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data, evaluation, gibbs, potts, training
from jaxgen.potts.figures.lattices import lattices_figure
from jaxgen.potts.latent import visible_part
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies.lattices import task as lattices
from jaxgen.potts.studies.lattices.comparison import load_images
from jaxgen.potts.studies.lattices.measure import (
    LatticeFigures,
    lattice_rows,
    lattice_table,
    measure_lattice,
)
from jaxgen.potts.studies.lattices.task import Images, LatticesConfig, LatticeTask, planned, train_lattice, with_quick

TRAIN = jnp.asarray(np.random.default_rng(0).integers(0, 2, (64, 3, 2)) * np.array([1, 0]), jnp.uint8)
CONFIG = LatticesConfig(
    seconds=3.0, batch_size=16, cd_steps=1, latent_rate=0.05, chains=2000, sweeps=60, mixing_sweeps=50,
    temperatures=50, annealed_chains=64,
)  # fmt: skip
ONE = LatticeFigures(100, 10, -90.0, 0.5, 0.1, 0.2, 3.0, 4.5, 0.01)


def tiny(name):
    lattice = potts.latent_lattice(3, 2, "4") if name.startswith("latent") else gibbs.Lattice.grid(3, 2)
    return LatticeTask(CONFIG, name, potts.PottsEBM(lattice, 2), Images(TRAIN, np.asarray(TRAIN[:20])))


def test_every_name_is_a_lattice_of_images():
    train = Images(jnp.zeros((2, 28, 28), jnp.uint8), np.zeros((2, 28, 28), np.uint8))
    tasks = {name: LatticeTask.of(CONFIG, name, train) for name in ("edge", "G16", "latent_G8", "latent_window")}
    assert {name: len(task.model.lattice.offsets) for name, task in tasks.items()} == {
        "edge": 2, "G16": 8, "latent_G8": 4, "latent_window": 38,
    }  # fmt: skip
    assert tasks["latent_G8"].model.lattice.width == 56
    rates = {name: task.rate for name, task in tasks.items()}
    assert rates == {"edge": 0.02, "G16": 0.02, "latent_G8": 0.05, "latent_window": 0.05 * 8 / 76}
    component = np.arange(784.0).reshape(28, 28)
    on_grid = tasks["latent_G8"].direction(component)
    np.testing.assert_array_equal(visible_part(on_grid[None])[0], component)
    assert float(on_grid.sum()) == component.sum()


@pytest.mark.slow
def test_steps_are_planned_once_and_the_trained_lattice_is_measured_right(tmp_path, monkeypatch):
    """1 s a step and 3 s: three steps, kept by a second start; log p against enumeration over 2^12 states."""
    monkeypatch.setattr("jaxgen.potts.studies.lattices.task.step_seconds", lambda task: 1.0)
    task = planned(tiny("latent_G8"), tmp_path)
    params = train_lattice(task, tmp_path)
    assert task.steps == 3 and isinstance(task, training.Task)
    monkeypatch.setattr("jaxgen.potts.studies.lattices.task.step_seconds", lambda task: 0.1)
    again = planned(tiny("latent_G8"), tmp_path)
    assert again.steps == 3 and np.array_equal(train_lattice(again, tmp_path)["bias"], params["bias"])
    # Annealing and observing have tests of their own, and would compile for long.
    log_z = float(enumeration.log_partition(task.model.lattice, params))
    low, high = (types.SimpleNamespace(log_z=log_z + more, standard_error=0.01) for more in (0.0, 0.2))
    both = types.SimpleNamespace(low=low, high=high, gap=0.2)
    series = np.random.default_rng(0).normal(size=(2, 400, 8))
    measure = "jaxgen.potts.studies.lattices.measure"
    monkeypatch.setattr(f"{measure}.bracket", lambda *args, **options: both)
    monkeypatch.setattr(f"{measure}.observe_sweeps", lambda *args: (None, series))
    monkeypatch.setattr(f"{measure}.data.decode", lambda states, levels: states)
    monkeypatch.setattr(evaluation, "evaluate", lambda *args: types.SimpleNamespace(figures={"frechet": 1.5}))
    path = tmp_path / "measured" / "x"
    measured, images = measure_lattice(task, params, path)
    numbers = [
        enumeration.distribution(task.model.lattice, params)[showing(task.model.lattice, v)].sum() for v in TRAIN[:20]
    ]
    assert measured.log_p == pytest.approx(np.log(numbers).mean(), abs=1e-4)
    assert measured.log_z_gap == pytest.approx(0.2) and measured.tau == pytest.approx(1, abs=0.4)
    assert images.shape == (64, 3, 2) and measured.frechet == 1.5 and measured.steps == 3 and measured.parameters == 92
    assert measure_lattice(task, None, path)[0] == measured


def test_hidden_sites_of_the_first_chains_have_noise_of_their_own(monkeypatch):
    """The key that chooses the examples must not draw the hidden sites as well."""
    keys = {}

    def spy(name):
        function = getattr(lattices, name)

        def call(key, *args):
            keys[name] = jax.random.key_data(key).tolist()
            return function(key, *args)

        monkeypatch.setattr(lattices, name, call)

    for name in ("latent_init", "persistent_chains", "draw_hidden"):
        spy(name)
    state, _ = tiny("latent_G8").initial_state()
    keys["steps"] = jax.random.key_data(state.key).tolist()
    assert len({tuple(key) for key in keys.values()}) == len(keys) == 4


def showing(lattice, v):
    """The numbers of the states that show an image."""
    seen = visible_part(jnp.asarray(enumeration.all_states(lattice, 2)))
    return np.flatnonzero((np.asarray(seen) == np.asarray(v)).all((1, 2)))


def test_pixels_alone_are_themselves():
    task = tiny("edge")
    np.testing.assert_array_equal(task.pixels(TRAIN), TRAIN)
    np.testing.assert_array_equal(task.on_grid(jax.random.key(0), {}, TRAIN), TRAIN)


def test_the_record_names_the_best_and_its_distance_from_the_anchor(tmp_path):
    measured = {"edge": dataclasses.replace(ONE, log_p=-120.0), "latent_G8": dataclasses.replace(ONE, tau=None)}
    rows = {row.quantity: row for row in lattice_rows(measured, 0.3, 2000, 500)}
    best = rows["best log-likelihood of all lattices"]
    assert best.value == -90.0 and best.note.startswith("latent_G8; -3.66 from an RBM")
    assert rows["latent_G8: mixing time"].value == "longer than the run can measure"
    assert rows["edge: mixing time"].value == 4.5
    assert "| edge | 100 | 10 | -120.00 ± 0.50 | +0.20 | 3.00 | 4.5 |" in lattice_table(measured)
    lattices_figure(tmp_path / "x.png", measured, 0.3)
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_images_of_ones_own_have_their_size_and_no_anchor(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1500, 5, 7), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    config = dataclasses.replace(CONFIG, images=str(tmp_path / "mine.npz"))
    own = load_images(config)
    assert own.train.shape == (1215, 5, 7) and own.test.shape == (150, 5, 7) and set(np.unique(own.test)) == {0, 1}
    task = LatticeTask.of(config, "latent_G8", own)
    assert (task.model.lattice.height, task.model.lattice.width) == (5, 14) and "binarised mine" in task.title
    x = data.decode(np.asarray(own.train), 2)
    assert evaluation.evaluate(x, None, own.reference).figures["frechet"] < 5
    rows = {row.quantity: row for row in lattice_rows({"edge": ONE}, 0.3, 2000, 150, None)}
    assert rows["best log-likelihood of all lattices"].note == "edge"


def test_an_unknown_lattice_is_refused():
    with pytest.raises(ValueError, match="lattices is 'edge,G9'; allowed: tied, edge, 8"):
        with_quick(LatticesConfig(lattices="edge,G9"))
    assert with_quick(LatticesConfig(quick=True)).steps == 60
