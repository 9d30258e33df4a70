"""The trainings of a search, each through `training.fit` in a run folder of its own, and what they showed."""

import dataclasses
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import UInt8

from jaxgen import data, gibbs, runs, training
from jaxgen.potts.config import PottsConfig, build_model, contrastive_settings
from jaxgen.potts.contrastive import contrastive_divergence
from jaxgen.potts.evaluate import noise
from jaxgen.potts.likelihood.annealed_importance import estimate_log_partition
from jaxgen.potts.likelihood.log_likelihood import base_biases, log_likelihood
from jaxgen.potts.model import log_marginal_init
from jaxgen.potts.statistics import mean_statistics, moment_errors
from jaxgen.potts.studies.search import (
    NUMBERS,
    SHAPES,
    Outcome,
    SearchConfig,
    adam_by_numbers,
    promoted,
    rungs,
    standing,
    trial_configs,
    verdict_of,
)
from jaxgen.potts.task import PottsTask
from jaxgen.runs import Row
from jaxgen.visualization import parallel_coordinates_figure

_FRESH, _SWEEPS = 512, 500
_ANNEALED, _TEMPERATURES = 64, 1000
_CHUNK = 250


class Search:
    """A search with its images; `run(folder)` does what is not done yet and returns all outcomes."""

    def __init__(self, config: SearchConfig):
        self.config = config
        self.trials = trial_configs(config)
        self._base = PottsTask.load(self.trials[0])
        self._steps = {}
        self.validation = self._base.validation[: config.validation]
        lattice = gibbs.Lattice.grid(*self.validation.shape[1:], "4")
        alone = {"bias": jnp.zeros((*self.validation.shape[1:], config.levels)), "coupling": jnp.zeros(2)}
        self.independent = mean_pseudo_likelihood(lattice, log_marginal_init(alone, self._base.train), self.validation)

    def run(self, folder: runs.RunFolder) -> list[Outcome]:
        """Every rung in turn. An outcome is read from its file if it is there, else made and written."""
        alive, found = list(range(len(self.trials))), []
        for rung, (n, steps) in enumerate(rungs(self.config, len(self.trials))):
            alive = promoted([one for one in found if one.rung == rung - 1], n) if rung else alive
            for place, trial in enumerate(alive):
                path = folder.path / "outcomes" / f"rung{rung}_trial{trial:03}.json"
                if path.exists():
                    found.append(Outcome(**json.loads(path.read_text())))
                    continue
                print(f"rung {rung}, trial {trial}, {place + 1} of {len(alive)}, {steps} updates", flush=True)
                one = self._train(folder.path / "runs" / path.stem, trial, rung, steps)
                with runs.atomic_write(path) as temporary:
                    temporary.write_text(json.dumps(dataclasses.asdict(one)) + "\n")
                found.append(one)
        return found

    def _train(self, workdir: Path, trial: int, rung: int, steps: int) -> Outcome:
        """Train one trial for `steps` updates and judge it."""
        start = time.perf_counter()
        config = dataclasses.replace(
            self.trials[trial], steps=steps, log_every=max(1, steps // 10), eval_every=500, checkpoint_every=500
        )
        task = dataclasses.replace(self._base, config=config, model=build_model(config))
        tx = adam_by_numbers(config.learning_rate, config.l2, steps)
        state, _ = task.initial_state()
        state = training.create(state.key, state.params, tx, state.carry)
        at_start = mean_pseudo_likelihood(task.model.lattice, state.params, self.validation)
        order = data.EpochOrder(jax.random.fold_in(state.key, 2**31), len(task.train), config.batch_size)
        options = dataclasses.replace(task.fit_options(), best=None)
        diverged = ""
        with runs.RunFolder.open(workdir, config) as folder:
            try:
                state = training.fit(state, self._step(task, tx), task.arrays(), order, folder, options)
            except training.NonFiniteError as error:
                diverged = str(error).split(";")[0]
            records = runs.read_metrics(workdir / "metrics.jsonl") if not diverged else []
        seconds = time.perf_counter() - start
        if diverged:
            return Outcome(trial, rung, None, diverged, seconds=seconds)
        pseudo = mean_pseudo_likelihood(task.model.lattice, state.params, self.validation)
        diverged = verdict_of(pseudo, at_start)
        if diverged:
            return Outcome(trial, rung, None, diverged, energy_gap=records[-1]["energy_gap"], seconds=seconds)
        score = pseudo if self.config.criterion == "pseudo_likelihood" else self._likelihood(task, state.params)
        last = rung == self.config.rungs - 1
        moments = float(self._moment_error(task, state.params)) if last else None
        return Outcome(trial, rung, score, "", pseudo, records[-1]["energy_gap"], moments, seconds)

    def _step(self, task: PottsTask, tx):
        """The compiled step that all trials of these shapes share."""
        settings = contrastive_settings(task.config)
        key = (settings, task.model.lattice, task.model.coupling)
        if key not in self._steps:
            self._steps[key] = training.parallel_step(contrastive_divergence(task.model, settings), tx)
        return self._steps[key]

    def _likelihood(self, task: PottsTask, params: dict) -> float:
        """Mean log p(x) of the validation images, log Z from below."""
        key, base = jax.random.key(self.config.seed + 2), base_biases(params, self._base.train)
        log_z = estimate_log_partition(key, task.model.lattice, params, base, _ANNEALED, _TEMPERATURES).log_z
        return float(log_likelihood(task.model, params, self.validation, log_z).mean())

    def _moment_error(self, task: PottsTask, params: dict):
        key_start, key_sweeps = jax.random.split(jax.random.key(self.config.seed + 1))
        lattice, start = task.model.lattice, noise(key_start, task.model, _FRESH)
        drawn, _ = gibbs.sample(key_sweeps, lattice, params, start, _SWEEPS)
        return moment_errors(lattice, mean_statistics(lattice, params, drawn), task.data_statistics)["pair_error"]


@functools.partial(jax.jit, static_argnums=0)
def _scores(lattice, params, x):
    return gibbs.log_pseudo_likelihood(lattice, params, x)


def mean_pseudo_likelihood(lattice: gibbs.Lattice, params: dict, x: UInt8[np.ndarray, "n H W"]) -> float:
    """Mean log pseudo-likelihood of images, in nats."""
    pieces = [np.asarray(_scores(lattice, params, x[i : i + _CHUNK]), np.float64) for i in range(0, len(x), _CHUNK)]
    return float(np.concatenate(pieces).mean())


def search_table(search: Search, outcomes: Sequence[Outcome]) -> str:
    """Every trial, best first, as Markdown."""
    names = ("learning_rate", *NUMBERS, *(name if name != "batch" else "batch_size" for name in SHAPES))
    head = ["trial", *names, "rung", "updates", "score", "log PL", "energy gap", "pair error", "s", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lengths = rungs(search.config, len(search.trials))
    for one in standing(outcomes):
        settings = [_text(getattr(search.trials[one.trial], name)) for name in names]
        cells = [one.trial, *settings, one.rung, lengths[one.rung][1], _text(one.score, "{:.2f}")]
        cells += [
            _text(one.pseudo_likelihood, "{:.2f}"),
            _text(one.energy_gap, "{:.1f}"),
            _text(one.moment_error),
            f"{one.seconds:.1f}",
        ]
        cells.append(f"diverged: {one.diverged}" if one.diverged else "")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def search_figure(path: str | Path, search: Search, outcomes: Sequence[Outcome]) -> None:
    """A line a trial through its settings to the score it ended with; the darker, the higher the rung."""
    shown = [one for one in standing(outcomes) if one.score is not None]
    configs = [search.trials[one.trial] for one in shown]
    floor = search.independent  # trials that end below it would squeeze the others together
    axes = {
        "step size": [config.learning_rate for config in configs],
        "weight decay": [f"{config.l2:g}" for config in configs],
        "start": [config.init.replace("_", "\n") for config in configs],
        "sweeps a step": [str(config.cd_steps) for config in configs],
        "chains": ["persistent" if config.persistent else "from data" for config in configs],
        "batch": [str(config.batch_size) for config in configs],
        "neighbours": [config.neighbourhood for config in configs],
        "coupling": [config.coupling for config in configs],
        "rung": [str(one.rung) for one in shown],
        f"score (nats),\nno lower than {floor:.0f}": [max(one.score, floor) for one in shown],
    }
    parallel_coordinates_figure(path, axes, log=("step size",))


def search_rows(search: Search, outcomes: Sequence[Outcome]) -> list[Row]:
    """The record of a search: the winner, its settings, what diverged, and what the energy gap would have said."""
    found = standing(outcomes)
    if found[0].diverged:
        return [Row("winner", "every trial diverged", "", "", found[0].diverged)]
    best, settings = found[0], search.trials[found[0].trial]
    note = f"trial {best.trial} of {len(search.trials)}; {len(search.validation)} images"
    name = search.config.criterion.replace("_", "-")
    rows = [
        Row(f"log {name}, validation, of the winner", best.score, "nats", "", note),
        Row("the same of independent pixels", search.independent, "nats"),
        Row("settings of the winner", " ".join(_flags(settings))),
    ]
    if len(found) > 1 and found[1].rung == best.rung and not found[1].diverged:
        second = " ".join(_flags(search.trials[found[1].trial]))
        rows.append(Row("winner less the second", best.score - found[1].score, "nats", "", second))
    if best.moment_error is not None:
        note = f"{_FRESH} chains, {_SWEEPS} sweeps from noise"
        rows.append(Row("mean |error| of P(x_i = a, x_j = b) of the winner", best.moment_error, "", "<= 0.01", note))
    rows.append(Row("trials that diverged", len({one.trial for one in outcomes if one.diverged})))
    first = [one for one in outcomes if one.rung == 0 and one.score is not None]
    if len(first) > 2:
        note = f"{len(first)} trials of the first rung; near 1 if it chose the same trials"
        for name, values in (
            ("energy gap", [one.energy_gap for one in first]),
            ("log pseudo-likelihood", [one.pseudo_likelihood for one in first]),
        ):
            rho = scipy.stats.spearmanr([one.score for one in first], values).statistic
            value = float(rho) if np.isfinite(rho) else "none"
            rows.append(Row(f"rank correlation of score and {name}", value, "", "", note))
    rows.append(Row("trainings", len(outcomes), "", "", f"{sum(one.seconds for one in outcomes):.0f} s in all"))
    return rows


def best_flags(search: Search, outcomes: Sequence[Outcome]) -> str:
    """The winner's settings as a flag file of `experiments.ebm_cd`."""
    return "\n".join(_flags(search.trials[standing(outcomes)[0].trial])) + "\n"


def _flags(config: PottsConfig) -> list[str]:
    """The fields that are not the default's, as flags."""
    default = dataclasses.asdict(PottsConfig())
    lines = runs.to_flagfile(config).splitlines()
    return [line for line, (name, value) in zip(lines, dataclasses.asdict(config).items(), strict=True)
            if value != default[name]]  # fmt: skip


def _text(value, form: str = "{:.3g}") -> str:
    if value is None:
        return ""
    return form.format(value) if isinstance(value, float) else str(value).lower()
