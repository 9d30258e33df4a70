"""The training task of a VAE: model, data, optimiser and what is measured."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, UInt8

from jaxgen import data, runs, training
from jaxgen.training.step import GradFn
from jaxgen.vae.bounds import elbo_loss
from jaxgen.vae.config import VAEConfig, build_model, run_key
from jaxgen.vae.evaluate import evaluation_hook
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.model import VAE
from jaxgen.vae.report import report

_MADE_BY = "experiments.vae"


@dataclasses.dataclass(frozen=True, eq=False)
class VAETask:
    """A model with its data: grey training images, and validation and test states, which are coded once.

    Labels are None for a model without classes.
    """

    config: VAEConfig
    model: VAE
    likelihood: Likelihood
    train: UInt8[np.ndarray, "n H W"]
    train_label: UInt8[np.ndarray, "n"] | None
    validation: UInt8[np.ndarray, "m H W"]
    validation_label: UInt8[np.ndarray, "m"] | None
    test: UInt8[np.ndarray, "k H W"]
    test_label: UInt8[np.ndarray, "k"] | None

    @classmethod
    def load(cls, config: VAEConfig) -> "VAETask":
        """Read and code the images, and return the task.

        Raises:
            UserError: a setting that does not fit the images.
        """
        dataset = data.open(config.dataset, config.images, config.data_dir).grey()
        model, law = build_model(config, dataset.size, dataset.n_classes)
        parts = {}
        for part in ("train", "validation", "test"):
            images, labels = data.split(dataset, part)
            if part == "test":
                images, labels = images[: config.test_images], labels[: config.test_images]
            parts[part] = images if part == "train" else coded(images, config.levels, part)
            parts[f"{part}_label"] = labels if config.conditional else None
        return cls(config, model, law, **parts)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        config = self.config
        coding = {2: "stochastically binarised", 256: "8-bit"}.get(config.levels, f"{config.levels} levels")
        name = data.name_of(config.dataset, config.images)
        return f"{name} {coding}, {config.network}" + ", class-conditional" * config.conditional

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state before the first step, and the optimiser."""
        config = self.config
        params = initial_params(self.model, run_key(config, "init"), self.train.shape[1:])
        tx = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
        return training.create(run_key(config, "steps"), params, tx), tx

    def grad_fn(self) -> GradFn:
        """Return the gradient function of the negative ELBO."""
        return training.from_loss(elbo_loss(self.model, self.likelihood))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that batches are gathered from."""
        return {"image": self.train} | ({} if self.train_label is None else {"label": self.train_label})

    def order(self) -> data.EpochOrder:
        """Return which images each step uses."""
        return data.EpochOrder(run_key(self.config, "order"), len(self.train), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs, evaluates and saves."""
        config = self.config
        return training.FitOptions(config.steps, config.log_every, config.eval_every, config.checkpoint_every)

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return what is evaluated during training."""
        return [evaluation_hook(self, log)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Bound the log-likelihood of the test images, draw samples, show and evaluate them."""
        return report(self, state.params, folder)


def restore_run(workdir: str | Path) -> tuple[VAETask, training.TrainState]:
    """Return the task and the last state of a run folder.

    Raises:
        UserError: the folder holds no run of this family or no checkpoint.
    """
    task = VAETask.load(runs.read_config(VAEConfig, Path(workdir) / "config.json", _MADE_BY))
    return task, training.restore_state(workdir, task.initial_state()[0], _MADE_BY)


def coded(images: UInt8[np.ndarray, "n H W"], levels: int, part: str) -> UInt8[np.ndarray, "n H W"]:
    """Return the states on which bounds are reported; for 2 levels the fixed binarisation of that part."""
    if levels == 256:
        return images
    return data.fixed_binarization(images, part) if levels == 2 else data.encode(images, levels)


def initial_params(model: VAE, key: Key[Array, ""], shape: tuple[int, int] = (28, 28)) -> dict:
    """Return the parameters before training, for images of this height and width."""
    x = jnp.zeros((1, *shape), jnp.uint8)
    label = jnp.zeros((1,), jnp.uint8) if model.n_classes else None
    return jax.jit(model.init)(key, x, label)["params"]
