"""The search: its score by enumeration, its optimiser by optax, who goes on, and that a kill changes nothing."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import random_params

from experiments import ebm_search
from jaxgen import gibbs, runs, visualization
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies.search import (
    Outcome,
    SearchConfig,
    adam_by_numbers,
    effective,
    promoted,
    rungs,
    standing,
    trial_configs,
    verdict_of,
)
from jaxgen.potts.studies.search_run import Search, mean_pseudo_likelihood

CONFIG = SearchConfig(
    trials=2, share=2, eta=2, rungs=2, steps=4, validation=40, cd_steps="1", persistent="true", batch="16",
    neighbourhood="4", coupling="tied", init="log_marginals", l2="1e-4",
)  # fmt: skip


def test_the_score_is_that_of_enumerated_conditionals():
    lattice, levels = gibbs.Lattice.grid(2, 3), 3
    params = random_params(0, lattice, levels, scale=1.0)
    states = enumeration.all_states(lattice, levels)
    numbers = np.random.default_rng(0).choice(len(states), 300)
    digits = states.reshape(len(states), -1)
    by_site = [
        np.log(enumeration.conditional(lattice, params, site))[numbers, digits[numbers, site]] for site in range(6)
    ]
    expected = np.sum(by_site, axis=0).mean()
    assert mean_pseudo_likelihood(lattice, params, jnp.asarray(states[numbers])) == pytest.approx(expected, abs=1e-4)


def test_the_optimiser_is_adam_with_decay_and_cosine_and_takes_numbers_without_a_new_trace():
    params = {"bias": jnp.array([0.3, -1.0]), "coupling": {"0,1": jnp.array([2.0, -3.0])}}
    gradient = jax.tree.map(lambda w: jnp.cos(7 * w), params)
    traces = []

    @jax.jit
    def update(state, params):
        traces.append(0)
        # Another one's numbers: those of the state count.
        return adam_by_numbers(9.0, 9.0, 9).update(gradient, state, params)

    for rate, l2, steps in ((0.1, 0.3, 10), (0.02, 0.0, 3)):
        ours, theirs = params, params
        tx = optax.adam(optax.cosine_decay_schedule(rate, steps))
        state, their_state = adam_by_numbers(rate, l2, steps).init(params), tx.init(params)
        for _ in range(4):
            change, state = update(state, ours)
            ours = optax.apply_updates(ours, change)
            decayed = gradient | {"coupling": {"0,1": gradient["coupling"]["0,1"] + l2 * theirs["coupling"]["0,1"]}}
            change, their_state = tx.update(decayed, their_state)
            theirs = optax.apply_updates(theirs, change)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)
    assert len(traces) == 1


def test_trials_share_shapes_and_do_not_depend_on_their_number():
    config = SearchConfig(trials=12)
    found = trial_configs(config)
    assert found[:5] == trial_configs(dataclasses.replace(config, trials=5))
    shapes = [(t.cd_steps, t.persistent, t.batch_size, t.neighbourhood, t.coupling) for t in found]
    assert all(len(set(shapes[i : i + 3])) == 1 for i in range(0, 12, 3)) and len(set(shapes)) > 2
    rates = np.array([t.learning_rate for t in found])
    assert len(set(rates)) == 12 and rates.min() >= 1e-3 and rates.max() <= 1e-1
    assert all(t.chains == t.batch_size for t in found) and {t.init for t in found} == {"log_marginals", "zeros"}
    assert trial_configs(dataclasses.replace(config, seed=1))[0] != dataclasses.replace(found[0], seed=1)


def test_a_grid_has_every_combination_once():
    config = SearchConfig(grid=True, share=2, l2="0,1", init="zeros", batch="8", cd_steps="1,2")
    found = trial_configs(config)
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2 * 2 * 2
    assert {t.learning_rate for t in found} == {1e-3, 1e-1}


def test_halving():
    config = SearchConfig(eta=3, rungs=3, steps=1800)
    assert rungs(config, 27) == [(27, 200), (9, 600), (3, 1800)]
    assert rungs(config, 4) == [(4, 200), (2, 600), (1, 1800)]
    first = [Outcome(t, 0, s, d) for t, s, d in [(0, -9.0, ""), (1, -5.0, "nan"), (2, -7.0, ""), (3, -8.0, "")]]
    first.append(Outcome(4, 0, None, "nan"))
    assert promoted(first, 2) == [2, 3] and promoted(first, 9) == [0, 2, 3]
    second = [Outcome(2, 1, -6.0), Outcome(3, 1, -4.0)]
    assert [one.trial for one in standing(first + second)] == [3, 2, 0, 1, 4]


def test_what_counts_as_diverged():
    assert verdict_of(-5.0, -6.0) == "" and "below -6.0" in verdict_of(-7.0, -6.0)
    assert verdict_of(float("nan"), -6.0) == "log pseudo-likelihood is nan"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cd_steps": "1,0"}, "cd_steps is '1,0'; allowed: a list of integers, 1 or more, each once"),
        ({"persistent": "yes"}, "persistent is 'yes'; allowed: a list of true, false, each once"),
        ({"neighbourhood": "4,4"}, "neighbourhood is '4,4'; allowed: a list of 4, 8, G8"),
        ({"l2": "-1"}, "l2 is '-1'; allowed: a list of numbers"),
        ({"learning_rate_high": 1e-4}, "learning_rate_high is 0.0001; allowed: 0.001 or more"),
    ],
)
def test_bad_lists_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        effective(SearchConfig(**change))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of which one trial breaks down, run to its end."""
    workdir = tmp_path_factory.mktemp("search") / "run"
    good = trial_configs(CONFIG)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgen.potts.studies.search_run._SWEEPS", 5)
        patch.setattr("jaxgen.potts.studies.search_run._TEMPERATURES", 50)
        wild = dataclasses.replace(good, learning_rate=3e38)
        patch.setattr("jaxgen.potts.studies.search_run.trial_configs", lambda config: [wild, good])
        ebm_search.run(CONFIG, workdir)
        before = outcomes(workdir)
        # As if it had been killed: the last training half done, its outcome and the record not written.
        (workdir / "outcomes" / "rung1_trial001.json").unlink()
        shutil.rmtree(workdir / "runs" / "rung1_trial001")
        ebm_search.run(CONFIG, workdir)
    return workdir, before


def outcomes(workdir):
    found = {path.stem: json.loads(path.read_text()) for path in (workdir / "outcomes").iterdir()}
    return {name: {k: v for k, v in one.items() if k != "seconds"} for name, one in found.items()}


def test_a_diverged_trial_is_recorded_and_the_other_goes_on(searched):
    workdir, before = searched
    assert sorted(before) == ["rung0_trial000", "rung0_trial001", "rung1_trial001"]
    assert "is" in before["rung0_trial000"]["diverged"] and not before["rung1_trial001"]["diverged"]
    result = json.loads((workdir / "result.json").read_text())
    rows = {row["quantity"]: row for row in result["rows"]}
    assert rows["trials that diverged"]["value"] == 1
    best = rows["log likelihood, validation, of the winner"]["value"]
    assert best == before["rung1_trial001"]["score"] > rows["the same of independent pixels"]["value"]
    assert "diverged: " in (workdir / "table.md").read_text()
    assert (workdir / "figures" / "trials.png").stat().st_size > 5000


def test_a_killed_search_ends_with_the_same_numbers(searched):
    workdir, before = searched
    assert outcomes(workdir) == before


def test_the_winner_is_a_flag_file(searched):
    lines = (searched[0] / "best.flags").read_text().splitlines()
    assert "--coupling=tied" in lines and "--digits=3" in lines and not any("--seed" in line for line in lines)
    assert set(lines) <= set(runs.to_flagfile(trial_configs(CONFIG)[0]).splitlines())


@pytest.mark.parametrize(
    "axes, message",
    [({"a": [1.0], "b": [1.0, 2.0]}, "as many on every axis"), ({"a": ["x"]}, "the last, 'a', holds words")],
)
def test_axes_that_do_not_fit_are_refused(tmp_path, axes, message):
    with pytest.raises(ValueError, match=message):
        visualization.parallel_coordinates_figure(tmp_path / "x.png", axes)


def test_the_likelihood_is_that_of_the_images_under_the_model():
    """Without couplings log Z is a sum of a pixel's; the annealing starts elsewhere, at the log marginals."""
    search = Search(dataclasses.replace(CONFIG, trials=1))
    params = {
        "bias": 0.9 * base_biases(search._base.initial_state()[0].params, search._base.train),
        "coupling": jnp.zeros(2),
    }
    log_z = np.asarray(jax.nn.logsumexp(params["bias"], axis=-1)).sum()
    chosen = jnp.take_along_axis(params["bias"][None], search.validation[..., None].astype(int), axis=-1)
    expected = float(chosen.sum((1, 2, 3)).mean()) - log_z
    assert search._likelihood(search._base, params) == pytest.approx(expected, abs=0.05)
