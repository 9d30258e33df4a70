"""Tests after every epoch: accuracy of every seed, and how far the flow moves the latents."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgen import data, training
from jaxgen.pmflow.config import ModelConfig
from jaxgen.pmflow.field import displacement
from jaxgen.pmflow.models import build_model, model_label, parameter_count
from jaxgen.pmflow.task import PMFlowTask, logits, over_seeds

SHOWN = 1000  # test images whose latents are measured


class Trained(NamedTuple):
    """A model after training, with all its seeds.

    accuracy: on the test images. train_accuracy: mean over each epoch and the seeds. displacement: of the latents by
    the flow, relative to their size, mean over the seeds. latent_scale: their root mean square a coordinate. Without a
    flow both are None. seconds: an epoch's training of all seeds, tests and compilation left out. span: seconds from
    the first record to the last, with everything in between.
    """

    name: str
    label: str
    parameters: int
    accuracy: Float[np.ndarray, "seeds epochs"]
    train_accuracy: Float[np.ndarray, " epochs"]
    displacement: Float[np.ndarray, " epochs"] | None
    latent_scale: Float[np.ndarray, " epochs"] | None
    seconds: float
    span: float


def predictions(
    model: nn.Module,
    params: PyTree,
    images: UInt8[np.ndarray, "n 28 28"],
    batch_size: int,
    references: UInt8[np.ndarray, "m 28 28"] | None = None,
) -> Int[np.ndarray, "seeds n"]:
    """The most probable label of each image by each of the stacked networks, in batches of consecutive images."""
    seeds = jax.tree.leaves(params)[0].shape[0]
    found = [
        _predict(model, seeds, params, images[part], references)
        for part in data.evaluation_slices(len(images), batch_size)
    ]
    return np.concatenate(found, axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(model: nn.Module, seeds: int, params: PyTree, images: Array, references: Array | None):
    return over_seeds(lambda one: logits(model, one, images, references).argmax(-1), seeds)(params)


def flow_measures(
    model: nn.Module, params: PyTree, images: UInt8[np.ndarray, "n 28 28"]
) -> tuple[Float[Array, ""], Float[Array, ""]] | None:
    """Displacement and root mean square of the latents before the flow, means over the seeds; None without a flow.

    Where the flow is applied several times, from before the first to after the last.
    """
    seeds = jax.tree.leaves(params)[0].shape[0]
    measured = _measure(model, seeds, params, images)
    return None if measured is None else tuple(float(value.mean()) for value in measured)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(model: nn.Module, seeds: int, params: PyTree, images: Array):
    def one(params: PyTree):
        rows = images / jnp.float32(255)
        _, seen = model.apply({"params": params}, rows, mutable=["intermediates"])
        seen = seen.get("intermediates", {})
        flow = seen.get("flow") or seen.get("transform")
        if flow is None:
            return None
        before, after = flow["before"][0], flow["after"][-1]
        return displacement(before, after), jnp.sqrt(jnp.square(before).mean())

    return over_seeds(one, seeds)(params)


def evaluation_hook(task: PMFlowTask, show: Callable[[float], None]) -> Callable:
    """The hook of `training.fit`: test accuracy of every seed, their mean, and the flow's measures.

    `show` is told the mean accuracy.
    """

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        config = task.config
        found = predictions(task.model, state.params, task.test["image"], config.test_batch, task.references)
        accuracy = (found == task.test["label"]).mean(axis=1)
        record = {f"test_accuracy_seed{config.first_seed + i}": float(a) for i, a in enumerate(accuracy)}
        record["test_accuracy"] = float(accuracy.mean())
        measures = flow_measures(task.model, state.params, task.test["image"][:SHOWN])
        if measures is not None:
            record |= dict(zip(("displacement", "latent_scale"), measures, strict=True))
        show(record["test_accuracy"])
        return record

    return hook


def collect(runs: dict[ModelConfig, Path]) -> list[Trained]:
    """The finished runs of a comparison from their folders, those of one model together, in the order given."""
    return [
        _trained([(c, p) for c, p in runs.items() if c.model == name]) for name in dict.fromkeys(c.model for c in runs)
    ]


def _trained(runs: list[tuple[ModelConfig, Path]]) -> Trained:
    accuracy, train, flow, seconds, span = [], [], [], [], 0.0
    for config, path in runs:
        records = runs.read_metrics(path / "metrics.jsonl")
        tests = [record for record in records if "test_accuracy" in record]
        last = config.first_seed + config.seeds
        accuracy += [[r[f"test_accuracy_seed{s}"] for r in tests] for s in range(config.first_seed, last)]
        logged = [record for record in records if "accuracy" in record]
        ends = [record["step"] for record in tests]
        train.append(
            [_mean(r["accuracy"] for r in logged if a < r["step"] <= b) for a, b in itertools.pairwise([0, *ends])]
        )
        flow.append([[record.get(name, np.nan) for name in ("displacement", "latent_scale")] for record in tests])
        speed = np.median([record["images_per_s"] for record in records if "images_per_s" in record])
        seconds.append(config.seeds * config.train_examples / speed)
        span += records[-1]["time"] - records[0]["time"]
    measures = np.mean(flow, axis=0).T
    config = runs[0][0]
    return Trained(
        name=config.model,
        label=model_label(config.model, config.faithful),
        parameters=parameter_count(build_model(config.model, config.gain, config.faithful)),
        accuracy=np.asarray(accuracy),
        train_accuracy=np.mean(train, axis=0),
        displacement=None if np.isnan(measures).any() else measures[0],
        latent_scale=None if np.isnan(measures).any() else measures[1],
        seconds=float(sum(seconds)),
        span=span,
    )


def _mean(values) -> float:
    return float(np.mean(list(values)))
