"""Stacked models are the models alone, and the mixture of digits is a distribution."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from experiments import ebm_digits
from jaxgen import evaluation, gibbs, potts, runs
from jaxgen.errors import UserError
from jaxgen.potts.config import classes
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies.digits import DigitsConfig, DigitsTask
from jaxgen.potts.studies.digits_measure import digit_log_terms


@pytest.fixture(scope="module")
def task():
    """Two digits, two seeds, few images."""
    config = DigitsConfig(classes="3,7", seeds=2, batch_size=32, chains=32, cd_steps=1, coupling="tied", steps=6)
    return DigitsTask.load(config)


def test_models_start_as_they_would_alone(task):
    state, _ = task.initial_state()
    assert [(one.config.seed, one.config.classes) for one in task.tasks] == [(0, "3"), (0, "7"), (1, "3"), (1, "7")]
    alone = potts.PottsTask.load(dataclasses.replace(task.tasks[3].config))
    own, _ = alone.initial_state()
    np.testing.assert_allclose(state.params["bias"][3], own.params["bias"], rtol=1e-6)
    np.testing.assert_array_equal(state.carry["chains"][:, 3], own.carry["chains"])
    rows = task.order().indices(0).reshape(32, 4)
    assert [set(task.train_label[rows[:, m]]) for m in range(4)] == [{3}, {7}, {3}, {7}]
    assert len({tuple(rows[:, m]) for m in range(4)}) == 4
    models = task.single_models(state.params)
    np.testing.assert_array_equal(models[1, 7]["bias"], state.params["bias"][3])
    assert task.fit_options().work["site_updates"] == 4 * 32 * 784


def test_a_labelled_model_is_split_into_its_digits(task):
    config = dataclasses.replace(task.config, labels=True)
    labelled = dataclasses.replace(task, config=config, tasks=[task.tasks[0], task.tasks[2]])
    rng = np.random.default_rng(0)
    shapes = {"bias": (2, 2, 3), "coupling": (2, 2), "label_coupling": (2, 2, 3, 10)}
    params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    params["bias"], params["label_coupling"] = params["bias"][:, None], params["label_coupling"][:, None]
    models = labelled.single_models(params)
    assert sorted(models) == [(0, 3), (0, 7), (1, 3), (1, 7)] and set(labelled.arrays()) == {"image", "label"}
    np.testing.assert_allclose(models[1, 7]["bias"], params["bias"][1] + params["label_coupling"][1, ..., 7])
    np.testing.assert_allclose(models[1, 7]["coupling"], params["coupling"][1])


def test_the_mixture_sums_to_one(task):
    """On a 2 x 3 grid the sum over images of sum_y pi_y p(x | y) is 1, with exact log Z."""
    small = gibbs.Lattice.grid(2, 3)
    tasks = [dataclasses.replace(one, model=potts.PottsEBM(small, 4, "tied")) for one in task.tasks]
    tiny = dataclasses.replace(task, tasks=tasks)
    models = {(0, y): random_params(y, small, 4, "tied") for y in (3, 7)}
    log_z = {y: float(enumeration.log_partition(small, models[0, y])) for y in (3, 7)}
    terms = digit_log_terms(tiny, models, 0, log_z, enumeration.all_states(small, 4))
    assert np.exp(terms).sum() == pytest.approx(1, abs=1e-4)
    assert np.exp(terms[1]).sum() == pytest.approx((task.train_label == 7).sum() / len(task.train_label), abs=1e-4)


def test_centring_is_refused():
    with pytest.raises(UserError, match="centring is true; allowed: false"):
        DigitsTask.load(DigitsConfig(centring=True))


@pytest.mark.parametrize("digits", ["3, 3", "3,03", "3,-1", "10", "", "3,", "\uff13"])
def test_digits_that_are_no_list_of_classes_are_refused(digits):
    with pytest.raises(UserError, match="allowed: 'all', or numbers 0 to 9, each once"):
        classes(potts.PottsConfig(classes=digits))
    assert classes(potts.PottsConfig(classes="7, 0")) == [7, 0]


def panel(images, labels, reference):
    """Stand in for the panel, whose networks take long: every second sample is read right."""
    figures = {"accuracy": 0.5, "frechet": 2.0, "diversity": 0.9}
    accuracy = evaluation.conditional_accuracy(np.where(np.arange(len(labels)) % 2, labels, 0), labels)
    return types.SimpleNamespace(figures=figures, accuracy=accuracy, baselines={"real": figures})


@pytest.mark.slow
def test_the_command_ends_with_a_file_that_the_panel_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "load_reference", lambda *args, **options: None)
    monkeypatch.setattr(evaluation, "evaluate", panel)
    config = DigitsConfig(
        classes="3,7", coupling="tied", cd_steps=1, chains=16, batch_size=16, steps=4, eval_every=4, checkpoint_every=4,
        fresh_chains=1000, fresh_sweeps=2, temperatures=2, annealed_chains=16,
    )  # fmt: skip
    ebm_digits.run(config, tmp_path / "run")
    samples = evaluation.load_samples(tmp_path / "run" / "samples" / "seed0.npz", 4, True)
    np.testing.assert_array_equal(np.bincount(samples.labels, minlength=10)[[3, 7]], [1000, 1000])
    rows = {row["quantity"]: row["value"] for row in json.loads((tmp_path / "run" / "result.json").read_text())["rows"]}
    assert -784 * np.log(4) < rows["log-likelihood"] < 0
    assert rows["test images classified correctly by Bayes' rule"] > 0.5
    assert rows["parameters per seed"] == 2 * 3138 and rows["conditional accuracy, digit 7"] == 0.5
    assert (tmp_path / "run" / "figures" / "samples.png").stat().st_size > 5000
    records = runs.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "validation_log_pl" in records[-1]
