"""Tests after every epoch: accuracy of every seed, and how far the flow moves the latents."""

import functools
import itertools
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgen import data, runs, training
from jaxgen.pmflow.classifiers import logits
from jaxgen.pmflow.config import ModelConfig
from jaxgen.pmflow.field import displacement
from jaxgen.pmflow.models import build_model, find_model, parameter_count

if typing.TYPE_CHECKING:
    from jaxgen.pmflow.task import PMFlowTask

FAMILY = "Pushing-medium flow"
SHOWN = 1000  # test images whose latents are measured


class Trained(NamedTuple):
    """A model after training, with all its seeds.

    Attributes:
        name: its key in the table of models.
        label: its name in tables and figures.
        parameters: number of parameters of one network.
        accuracy: on the test images, 0..1.
        train_accuracy: mean over each epoch and over the seeds.
        displacement: of the latents by the flow, relative to their size, mean over the seeds; None without a flow.
        latent_scale: root mean square of the latents per coordinate; None without a flow.
        seconds: training time per epoch of all seeds, without tests and compilation.
        span: seconds from the first record to the last.
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

    @property
    def kind(self) -> str:
        """Return "MLP", "BNN" or "CNN"."""
        return find_model(self.name).kind


def predictions(
    model: nn.Module,
    params: PyTree,
    images: UInt8[np.ndarray, "n 28 28"],
    batch_size: int,
    references: UInt8[np.ndarray, "m 28 28"] | None = None,
) -> Int[np.ndarray, "seeds n"]:
    """Return the most probable label of each image by each stacked network, in batches of consecutive images."""
    seeds = jax.tree.leaves(params)[0].shape[0]
    batches = [images[part] for part in data.evaluation_slices(len(images), batch_size)]
    return np.concatenate([_predict(model, seeds, params, batch, references) for batch in batches], axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(model: nn.Module, seeds: int, params: PyTree, images: Array, references: Array | None):
    return training.map_models(lambda p: logits(model, p, images, references).argmax(-1), seeds)(params)


def flow_measures(model: nn.Module, params: PyTree, images: UInt8[np.ndarray, "n 28 28"]) -> tuple[float, float] | None:
    """Return displacement and root mean square of the latents before the flow, means over the seeds.

    Where the flow is applied several times, the displacement is from before the first to after the last. None for a
    model without a flow.
    """
    seeds = jax.tree.leaves(params)[0].shape[0]
    measured = _measure(model, seeds, params, images)
    return None if measured is None else tuple(float(value.mean()) for value in measured)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(model: nn.Module, seeds: int, params: PyTree, images: Array):
    def measure(params: PyTree):
        rows = images / jnp.float32(255)
        _, seen = model.apply({"params": params}, rows, mutable=["intermediates"])
        flow = _flow_latents(seen.get("intermediates", {}))
        if flow is None:
            return None
        before, after = flow["before"][0], flow["after"][-1]
        return displacement(before, after), jnp.sqrt(jnp.square(before).mean())

    return training.map_models(measure, seeds)(params)


def _flow_latents(seen: Mapping) -> Mapping | None:
    """Return what a Flow has sown, wherever it sits in the model."""
    if "before" in seen:
        return seen
    inner = (_flow_latents(value) for value in seen.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def evaluation_hook(task: "PMFlowTask") -> training.Hook:
    """Return the hook of `fit`: test accuracy of every seed, their mean, and the measures of the flow."""

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        config = task.config
        labels = predictions(task.model, state.params, task.test["image"], config.test_batch, task.references)
        accuracy = (labels == task.test["label"]).mean(axis=1)
        record = {f"test_accuracy_seed{config.first_seed + i}": float(a) for i, a in enumerate(accuracy)}
        record["test_accuracy"] = float(accuracy.mean())
        measures = flow_measures(task.model, state.params, task.test["image"][:SHOWN])
        if measures is not None:
            record |= dict(zip(("displacement", "latent_scale"), measures, strict=True))
        task.on_test(record["test_accuracy"])
        return record

    return hook


def report(task: "PMFlowTask", folder: runs.RunFolder) -> runs.Report:
    """Report the last test accuracy of every seed of one model."""
    (model,) = collect({task.config: folder.path})
    first = task.config.first_seed
    rows = [
        runs.Row(f"{model.label}, seed {first + i}, last test accuracy", 100 * float(accuracy[-1]), "%")
        for i, accuracy in enumerate(model.accuracy)
    ]
    return runs.Report(f"{model.label}, {task.config.epochs} epochs", FAMILY, rows)


def collect(folders: Mapping[ModelConfig, Path]) -> list[Trained]:
    """Return the trained models of finished runs from their folders, all seeds of a model together, in this order."""
    names = dict.fromkeys(config.model for config in folders)
    return [_trained([(c, path) for c, path in folders.items() if c.model == name]) for name in names]


def _trained(folders: Sequence[tuple[ModelConfig, Path]]) -> Trained:
    accuracy, train, flow, seconds, span = [], [], [], [], 0.0
    for config, path in folders:
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
    config = folders[0][0]
    return Trained(
        name=config.model,
        label=find_model(config.model, config.faithful).label,
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
