"""What is measured of a Potts EBM: during training, and afterwards from fresh samples."""

import functools
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, UInt8

from jaxgen import data, gibbs, runs, training
from jaxgen.potts.keys import evaluation_keys
from jaxgen.potts.model import PottsEBM, label_field
from jaxgen.potts.sampling import R_HAT, FreshSamples, fresh_samples
from jaxgen.potts.statistics import mean_statistics, moment_errors

if typing.TYPE_CHECKING:
    from jaxgen.potts.task import PottsTask

_EVAL_IMAGES = 512
_EVAL_SWEEPS = 500


def noise(key: PRNGKeyArray, model: PottsEBM, n: int) -> UInt8[Array, "n H W"]:
    """Return n images of independent, uniformly distributed states."""
    lattice = model.lattice
    return jax.random.randint(key, (n, lattice.height, lattice.width), 0, model.levels).astype(jnp.uint8)


def evaluation_hook(
    task: "PottsTask", log: runs.Logger
) -> Callable[[int, training.TrainState], dict[str, Float[ArrayLike, ""]]]:
    """Return a hook for `fit`.

    The hook measures the pseudo-likelihood of validation images and the moment errors of chains from noise, and logs
    pictures and histograms.
    """
    model, config = task.model, task.config
    x, label = task.validation[:_EVAL_IMAGES], task.validation_label
    label = None if label is None else label[:_EVAL_IMAGES]
    log_pl = jax.jit(functools.partial(gibbs.log_pseudo_likelihood, model.lattice, beta=config.beta))
    energy = jax.jit(lambda params, x, label: model.apply({"params": params}, x, label))

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        key_start, key_sweeps = evaluation_keys(config.seed, step)
        params = state.params
        chain_label = task.chain_labels(_EVAL_IMAGES)
        fields = [None if y is None else label_field(params, y) for y in (label, chain_label)]
        drawn, _ = gibbs.sample(
            key_sweeps,
            model.lattice,
            params,
            noise(key_start, model, _EVAL_IMAGES),
            _EVAL_SWEEPS,
            engine=config.engine,
            beta=config.beta,
            field=fields[1],
        )
        statistics = mean_statistics(model.lattice, params, drawn, chain_label)
        log.images(step, "samples", data.decode(drawn[:64], config.levels))
        log.images(step, "data", data.decode(x[:64], config.levels))
        log.histogram(step, "energy/data", energy(params, x, label))
        log.histogram(step, "energy/samples", energy(params, drawn, chain_label))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            log.histogram(step, "params" + jax.tree_util.keystr(path), leaf)
        return {
            "validation_log_pl": float(log_pl(params, x, fields[0]).mean()),
            "learning_rate": float(state.opt_state.hyperparams["learning_rate"]),
        } | jax.device_get(moment_errors(model.lattice, statistics, task.data_statistics))

    return hook


def report(task: "PottsTask", state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
    """Draw fresh samples, save and plot them, and measure their moments."""
    from jaxgen.potts.figures import training_run  # here, so that the library does without a plotting library

    config = task.config
    fresh = fresh_samples(task, state.params, task.key_fresh(), config.fresh_chains, config.fresh_sweeps)
    labels = {} if fresh.label is None else {"labels": np.asarray(fresh.label)}
    with runs.atomic_write(folder.samples / "final.npz") as temporary:
        np.savez_compressed(temporary, states=np.asarray(fresh.states), levels=config.levels, **labels)
    training_run.samples_figure(folder.figures / "samples.png", task, fresh)
    training_run.curves_figure(folder.figures / "curves.png", runs.read_metrics(folder.path / "metrics.jsonl"))
    rows = final_rows(task, state.params, fresh)
    return runs.Report(task.title, "Potts energy-based model", rows, [folder.figures / "samples.png"])


def final_rows(task: "PottsTask", params: dict, fresh: FreshSamples) -> list[runs.Row]:
    """Return the rows of a trained model: moment errors of fresh samples against the training images, and likelihoods.

    Beside them stand the errors of as many training images drawn with replacement, due to sampling noise alone.
    """
    lattice, n = task.model.lattice, len(fresh.states)
    expected = task.data_statistics
    errors = moment_errors(lattice, mean_statistics(lattice, params, fresh.states, fresh.label), expected)
    again = jax.random.choice(jax.random.key(task.config.seed), len(task.train), (n,))
    again_label = None if task.train_label is None else task.train_label[again]
    floor = moment_errors(lattice, mean_statistics(lattice, params, task.train[again], again_label), expected)
    field = None if task.validation_label is None else label_field(params, task.validation_label)
    log_pl = gibbs.log_pseudo_likelihood(lattice, params, task.validation, field, task.config.beta).mean()
    rows = [runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(params)))]
    for name, what in (("marginal_error", "P(x_i = l)"), ("pair_error", "P(x_i = a, x_j = b)")):
        note = f"{n} chains, {fresh.description}; {float(floor[name]):.1g} from sampling noise alone"
        rows.append(runs.Row(f"mean |error| of {what}", float(errors[name]), "", "<= 0.01", note))
    if fresh.r_hats:
        note = f"of {' and '.join(fresh.r_hats)}; samples against as many chains from training images, near 1 if mixed"
        rows.append(runs.Row("largest R-hat between two starts", max(fresh.r_hats.values()), "", f"<= {R_HAT}", note))
    rows.append(
        runs.Row("log pseudo-likelihood, validation", float(log_pl), "nats", "", f"{len(task.validation)} images")
    )
    return rows
