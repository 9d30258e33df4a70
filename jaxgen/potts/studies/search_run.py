"""The trials of a search: an Optuna study in the run folder, and a run folder per trial.

A trial is trained by `training.train` with the config of its flags, so experiments.ebm_cd with the flags of the winner
reproduces its parameters. The study (study.db, SQLite) holds the results of every trial; a killed trial is still marked
as running there and resumes from its own checkpoint at the next start. The sampler of every trial has its own seed, so
a search that was stopped chooses the same trials as one that was not.
"""

import contextlib
import dataclasses
import functools
import math
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from jaxgen import gibbs, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig, build_model
from jaxgen.potts.evaluate import noise
from jaxgen.potts.keys import search_key
from jaxgen.potts.likelihood.annealed_importance import estimate_log_partition
from jaxgen.potts.likelihood.log_likelihood import base_biases, log_likelihood
from jaxgen.potts.model import log_marginal_init
from jaxgen.potts.statistics import mean_statistics, moment_errors
from jaxgen.potts.studies.search import (
    SearchConfig,
    grid,
    lists,
    n_trials,
    potts_config,
    rungs,
    suggest,
    verdict_of,
)
from jaxgen.potts.task import PottsTask
from jaxgen.training.task import check

FRESH_CHAINS, FRESH_SWEEPS = 512, 500
_ANNEALED_CHAINS, _TEMPERATURES = 64, 1000
_CHUNK = 250


class _Ended(Exception):
    """A trial ends before its last update. The argument says why it counts as diverged; it is "" otherwise."""


@dataclasses.dataclass(frozen=True, eq=False)
class _TrialTask(PottsTask):
    """The task of experiments.ebm_cd, evaluated and saved at the rungs only; its training is the same."""

    rung: int
    judge: training.Hook

    def fit_options(self) -> training.FitOptions:
        every = max(1, self.rung // 4)
        options = super().fit_options()
        return dataclasses.replace(
            options, log_every=every, eval_every=self.rung, checkpoint_every=self.rung, best=None
        )

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        return [self.judge]


class Search:
    """A search with its images; `run(folder)` runs the trials that are not finished and returns the Optuna study."""

    def __init__(self, config: SearchConfig):
        self.optuna = import_optuna()
        self.config = config
        first = {name: values[0] for name, values in lists(config).items()}
        self.base = PottsTask.load(potts_config(config, first | {"learning_rate": config.learning_rate_low}))
        self.validation = self.base.validation[: config.validation]
        for batch in lists(config)["batch"]:
            check(self.task(potts_config(config, first | {"learning_rate": 1.0, "batch": batch})))

    def run(self, folder: runs.RunFolder) -> Any:
        """Run all trials that are not finished yet; return the Optuna study."""
        with _storage_errors(folder.path / "study.db"):
            study = self._open(folder.path / "study.db")
            if self.config.sampler == "grid":
                for params in grid(self.config):
                    study.enqueue_trial(params, skip_if_exists=True)
            total = n_trials(self.config)
            while (done := sum(trial.state.is_finished() for trial in study.trials)) < total:
                trial = self._next(study, done)
                config = potts_config(self.config, suggest(trial, self.config))
                print(f"trial {done + 1} of {total}: {' '.join(flags(config))}", flush=True)
                self._do(study, trial, config, folder.path / "trials" / f"{trial.number:03}")
        return study

    def task(self, config: PottsConfig, judge: training.Hook = lambda step, state: {}) -> _TrialTask:
        """Return the task of one trial; all trials share the images."""
        fields = {field.name: getattr(self.base, field.name) for field in dataclasses.fields(PottsTask)}
        fields |= {"config": config, "model": build_model(config, self.base.train.shape[1:], self.base.n_classes)}
        return _TrialTask(**fields, rung=rungs(self.config)[0], judge=judge)

    def retrained(self, number: int, config: PottsConfig, folder: Path) -> tuple[PottsTask, dict]:
        """Return the task and the parameters of a complete trial, from its last checkpoint."""
        task = self.task(config)
        with runs.RunFolder.open(folder / "trials" / f"{number:03}", config) as run:
            return task, training.train(task, run).params

    def pseudo_likelihood(self, task: PottsTask, params: dict) -> float:
        """Return the mean log pseudo-likelihood of the validation images, in nats."""
        return mean_pseudo_likelihood(task.model.lattice, params, self.validation)

    def independent(self) -> float:
        """Return the score of independent pixels, in nats; without couplings the two criteria are equal."""
        lattice = gibbs.Lattice.grid(*self.validation.shape[1:], "4")
        alone = {"bias": jnp.zeros((*self.validation.shape[1:], self.config.levels)), "coupling": jnp.zeros(2)}
        return mean_pseudo_likelihood(lattice, log_marginal_init(alone, self.base.train), self.validation)

    def likelihood(self, task: PottsTask, params: dict) -> float:
        """Return the mean log p(x) of the validation images, log Z annealed from independent pixels, in nats."""
        key, base = search_key(self.config.seed, "annealing"), base_biases(params, self.base.train)
        lattice = task.model.lattice
        log_z = estimate_log_partition(key, lattice, params, base, _ANNEALED_CHAINS, _TEMPERATURES).log_z
        return float(log_likelihood(task.model, params, self.validation, log_z).mean())

    def pair_error(self, task: PottsTask, params: dict) -> float:
        """Return the mean |error| of P(x_i = a, x_j = b) of fresh chains, against the training images."""
        key_start, key_sweeps = jax.random.split(search_key(self.config.seed, "fresh samples"))
        lattice, start = task.model.lattice, noise(key_start, task.model, FRESH_CHAINS)
        drawn, _ = gibbs.sample(key_sweeps, lattice, params, start, FRESH_SWEEPS)
        errors = moment_errors(lattice, mean_statistics(lattice, params, drawn), task.data_statistics)
        return float(errors["pair_error"])

    def _open(self, path: Path) -> Any:
        """Open the Optuna study, or create it."""
        optuna, lengths = self.optuna, rungs(self.config)
        # A connection made here, because a path may hold characters that a database URL gives a meaning.
        connect = functools.partial(sqlite3.connect, path, timeout=60)
        storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
        pruner = optuna.pruners.NopPruner()
        if len(lengths) > 1:
            pruner = optuna.pruners.SuccessiveHalvingPruner(lengths[0], self.config.eta)
        return optuna.create_study(
            storage=storage, study_name="search", direction="maximize", pruner=pruner, load_if_exists=True
        )

    def _next(self, study: Any, done: int) -> Any:
        """Return the trial that was killed, or a new one, chosen by a sampler with a seed of its own."""
        optuna = self.optuna
        seed = int(np.random.SeedSequence((self.config.seed, done)).generate_state(1)[0])
        random = optuna.samplers.RandomSampler(seed)
        study.sampler = optuna.samplers.TPESampler(seed=seed) if self.config.sampler == "tpe" else random
        running = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.RUNNING]
        return optuna.trial.Trial(study, running[0]._trial_id) if running else study.ask()

    def _do(self, study: Any, trial: Any, config: PottsConfig, workdir: Path) -> None:
        """Train one trial, score it at the rungs and at the end, and report the result to the study."""
        start, score, diverged = time.perf_counter(), None, ""
        task = self.task(config)
        at_start = self.pseudo_likelihood(task, task.initial_state()[0].params)
        task = dataclasses.replace(task, judge=self._judge(task, trial, at_start))
        try:
            with runs.RunFolder.open(workdir, config) as run:
                state = training.train(task, run)
            score = self._score(task, trial, at_start, config.steps, state.params)["score"]
        except training.NonFiniteError as error:
            diverged = str(error).partition(";")[0]
        except _Ended as reason:
            diverged = str(reason)
        gaps = runs.curve(runs.read_metrics(workdir / "metrics.jsonl"), "energy_gap")
        before = [gap for step, gap in zip(*gaps, strict=True) if step < task.rung]
        seen = {"diverged": diverged, "seconds": time.perf_counter() - start, "energy_gap": (gaps[1] or [None])[-1],
                "energy_gap_before_first_rung": (before or [None])[-1]}  # fmt: skip
        for name, value in seen.items():
            trial.set_user_attr(name, value)
        state = self.optuna.trial.TrialState
        study.tell(trial, score, state.PRUNED if score is None else state.COMPLETE)

    def _judge(self, task: PottsTask, trial: Any, at_start: float) -> training.Hook:
        """Return the hook that ends a training at a rung if the pruner decides so."""
        early = rungs(self.config)[:-1]

        def judge(step: int, state: training.TrainState) -> dict[str, float]:
            if step not in early:
                return {}
            measured = self._score(task, trial, at_start, step, state.params)
            if trial.should_prune():
                raise _Ended()
            return measured

        return judge

    def _score(self, task: PottsTask, trial: Any, at_start: float, step: int, params: dict) -> dict[str, float]:
        """Measure the parameters of a trial and report the score to the study; raise _Ended if it diverged."""
        pseudo = self.pseudo_likelihood(task, params)
        diverged = verdict_of(pseudo, at_start)
        if diverged:
            raise _Ended(diverged)
        score = pseudo if self.config.criterion == "pseudo_likelihood" else self.likelihood(task, params)
        if not math.isfinite(score):
            raise _Ended(f"score is {score}")
        trial.set_user_attr(f"log_pseudo_likelihood_{step}", pseudo)
        # A trial that was killed after this step is scored here again.
        if step not in trial.study.trials[trial.number].intermediate_values:
            trial.report(score, step)
        return {"validation_log_pl": pseudo, "score": score}


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite about a damaged study.db or a full disk into a UserError."""
    import sqlalchemy.exc  # comes with optuna

    try:
        yield
    except (sqlalchemy.exc.DatabaseError, import_optuna().exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        raise UserError(
            f"{path} cannot be used: {getattr(cause, 'orig', cause)}; allowed: the SQLite file of a search, on a disk "
            "with room; free some room, or put the file's last good copy back, and run the same command again"
        ) from error


def import_optuna() -> Any:
    """Return the module optuna with its own messages silenced. UserError if it is not installed."""
    try:
        import optuna  # here, so that the library does without it
    except ImportError:
        raise UserError(
            "optuna is not installed, and the search needs it; allowed: version 5; "
            'run pip install "jaxgen[search]", or pip install -r requirements.txt in a checkout'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def flags(config: PottsConfig) -> list[str]:
    """Return the fields that differ from the defaults of experiments.ebm_cd, as flags."""
    default, lines = dataclasses.asdict(PottsConfig()), runs.to_flagfile(config).splitlines()
    fields = dataclasses.asdict(config).items()
    return [line for line, (name, value) in zip(lines, fields, strict=True) if value != default[name]]


@functools.partial(jax.jit, static_argnums=0)
def _scores(lattice: gibbs.Lattice, params: dict, x: Array) -> Array:
    return gibbs.log_pseudo_likelihood(lattice, params, x)


def mean_pseudo_likelihood(lattice: gibbs.Lattice, params: dict, x: UInt8[Array, "n H W"]) -> float:
    """Return the mean log pseudo-likelihood of images, in nats."""
    pieces = [np.asarray(_scores(lattice, params, x[i : i + _CHUNK]), np.float64) for i in range(0, len(x), _CHUNK)]
    return float(np.concatenate(pieces).mean())
