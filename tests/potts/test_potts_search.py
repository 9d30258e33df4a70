"""The search: its score by enumeration, its space, a kill changes nothing, and best.flags repeats the winner."""

import dataclasses
import functools
import json
import sys

import commands
import jax
import jax.numpy as jnp
import numpy as np
import optuna
import pytest
from oracles import random_params

from experiments import ebm_search
from jaxgen import UserError, gibbs, runs
from jaxgen.potts.config import PottsConfig
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies.search import (
    SearchConfig,
    effective,
    grid,
    n_trials,
    potts_config,
    rungs,
    suggest,
    verdict_of,
)
from jaxgen.potts.studies.search_run import Search, flags, mean_pseudo_likelihood
from jaxgen.potts.task import restore_run

CONFIG = SearchConfig(
    sampler="random", trials=3, eta=2, rungs=2, steps=4, validation=40, cd_steps="1", persistent="true", batch="16",
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


@functools.cache
def loaded() -> Search:
    return Search(CONFIG)


def test_the_likelihood_is_that_of_the_images_under_the_model():
    """Without couplings log Z is a sum over pixels; the annealing starts elsewhere, at the log marginals."""
    search = loaded()
    task = search.task(potts_config(CONFIG, next(grid(CONFIG))))
    params = {"bias": 0.9 * base_biases(task.initial_state()[0].params, task.train), "coupling": jnp.zeros(2)}
    log_z = np.asarray(jax.nn.logsumexp(params["bias"], axis=-1)).sum()
    chosen = jnp.take_along_axis(params["bias"][None], search.validation[..., None].astype(int), axis=-1)
    expected = float(chosen.sum((1, 2, 3)).mean()) - log_z
    assert search.likelihood(task, params) == pytest.approx(expected, abs=0.05)


def test_the_task_of_a_trial_trains_as_that_of_the_script_does():
    """All of a training but its evaluation: the slow test compares the parameters."""
    config = potts_config(CONFIG, next(grid(CONFIG)))
    ours = loaded().task(config)
    theirs = dataclasses.replace(loaded().base, config=config, model=ours.model)
    for step in (0, 3):
        np.testing.assert_array_equal(ours.order().indices(step), theirs.order().indices(step))
    jax.tree.map(np.testing.assert_array_equal, *(t.initial_state()[0].params for t in (ours, theirs)))
    assert ours.fit_options().steps == theirs.fit_options().steps == CONFIG.steps


def test_every_choice_is_in_the_space_and_reproducible():
    config = SearchConfig()

    def chosen(seed):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        return [potts_config(config, suggest(study.ask(), config)) for _ in range(30)]

    configs = chosen(0)
    assert configs == chosen(0) and configs != chosen(1)
    rates = np.array([c.learning_rate for c in configs])
    assert rates.min() >= 1e-3 and rates.max() <= 1e-1 and 5 < (rates < 1e-2).sum() < 25
    assert {(c.chains, c.batch_size) for c in configs} == {(64, 64), (256, 256)}
    assert {c.init for c in configs} == {"log_marginals", "zeros"} and {c.persistent for c in configs} == {True, False}
    assert {c.steps for c in configs} == {config.steps}


def test_a_grid_has_every_combination_once():
    config = SearchConfig(sampler="grid", grid_rates=2, l2="0,1", init="zeros", batch="8", cd_steps="1,2")
    configs = [potts_config(config, params) for params in grid(config)]
    assert len(configs) == len(set(configs)) == n_trials(config) == 2 * 2 * 2 * 2 * 2 * 2
    assert {c.learning_rate for c in configs} == {1e-3, 1e-1}
    study = optuna.create_study()
    study.enqueue_trial(next(grid(config)))
    assert suggest(study.ask(), config) == next(grid(config))


@pytest.mark.parametrize(
    "change, lengths",
    [
        ({"steps": 1800}, [200, 600, 1800]),
        ({"steps": 3000}, [333, 999, 3000]),
        ({"steps": 3000, "rungs": 1}, [3000]),
        ({"steps": 2, "rungs": 4}, [1, 2]),
        ({"quick": True}, [20, 60]),
    ],
)
def test_rungs(change, lengths):
    assert rungs(effective(SearchConfig(**change))) == lengths


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
        ({"learning_rate_high": 1e-4}, "learning_rate_high is 0.0001; allowed: a number, 0.001 or more"),
    ],
)
def test_bad_lists_are_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        effective(SearchConfig(**change))


def test_without_optuna_a_line_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"optuna is not installed.*pip install \"jaxgen\[search\]\""):
        ebm_search.run(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_study_is_named(tmp_path):
    with runs.RunFolder.open(tmp_path / "100% {run}?", CONFIG) as folder:
        (folder.path / "study.db").write_bytes(b"no database" * 100)
        with pytest.raises(UserError, match=r"study\.db cannot be used: file is not a database; allowed: the SQLite"):
            loaded().run(folder)


def numbers_of(workdir):
    """What a search found, without times."""
    result = json.loads((workdir / "result.json").read_text())
    table = [line.split("|")[:-3] + line.split("|")[-2:] for line in (workdir / "table.md").read_text().splitlines()]
    return [row for row in result["rows"] if row["quantity"] != "trials"], table


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A short search in one go, and the same search killed at each of its scores."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxgen.potts.studies.search_run.FRESH_SWEEPS", 5)
        patch.setattr("jaxgen.potts.studies.search_run._TEMPERATURES", 50)
        ebm_search.run(CONFIG, folder / "whole")
        score, calls = Search._score, []

        def killed(*arguments):
            calls.append(0)
            if len(calls) % 2:
                raise KeyboardInterrupt
            return score(*arguments)

        patch.setattr(Search, "_score", killed)
        for _ in range(20):
            try:
                ebm_search.run(CONFIG, folder / "killed")
                break
            except KeyboardInterrupt:
                continue
    return folder, len(calls)


@pytest.mark.slow
def test_a_killed_search_ends_with_the_same_numbers(searched):
    folder, calls = searched
    assert calls >= 2 * 4  # three trials, of which at least the first passed its rung
    assert numbers_of(folder / "killed") == numbers_of(folder / "whole")


@pytest.mark.slow
def test_what_a_search_writes(searched):
    workdir = searched[0] / "whole"
    rows = {row["quantity"]: row for row in json.loads((workdir / "result.json").read_text())["rows"]}
    best = rows["log likelihood, validation, of the winner"]["value"]
    assert (
        best > rows["log likelihood, validation, of independent pixels"]["value"]
        and rows["trials that diverged"]["value"] == 0
    )
    table = (workdir / "table.md").read_text()
    assert len(table.splitlines()) == 2 + CONFIG.trials and table.splitlines()[2].endswith("| complete |")
    assert f"{best:.2f}" in table.splitlines()[2]
    for name in ("history", "rungs", "settings"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5000


@pytest.mark.slow
def test_best_flags_repeat_the_winner_bit_for_bit(searched, tmp_path):
    workdir = searched[0] / "whole"
    lines = (workdir / "best.flags").read_text().splitlines()
    number = int(lines[0].removeprefix("# Trial ").partition(":")[0])
    shown = runs.from_json(PottsConfig, (workdir / "trials" / f"{number:03}" / "config.json").read_text())
    assert lines[1:] == flags(shown)
    short = ("--fresh_chains=8", "--fresh_sweeps=2")
    words = (f"--flagfile={workdir / 'best.flags'}", *short, f"--workdir={tmp_path / 'best'}")
    code, _, error = commands.run("experiments.ebm_cd", *words)
    assert code == 0, error
    states = [restore_run(path)[1] for path in (workdir / "trials" / f"{number:03}", tmp_path / "best")]
    jax.tree.map(np.testing.assert_array_equal, *(state.params for state in states))
    assert int(states[0].step) == CONFIG.steps


@pytest.mark.slow
def test_a_search_of_which_every_trial_diverges(tmp_path):
    config = dataclasses.replace(CONFIG, trials=1, learning_rate_low=10.0, learning_rate_high=10.0)
    ebm_search.run(config, tmp_path)
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "result.json").read_text())["rows"]}
    assert rows["trials that diverged"]["value"] == 1
    assert rows["winner"]["value"] == "no trial reached its last update" and "is" in rows["winner"]["note"]
    assert "diverged: " in (tmp_path / "table.md").read_text() and not (tmp_path / "best.flags").exists()
