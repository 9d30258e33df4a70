"""The task of a Potts training run: data, model, initial state, gradient function and what is measured at the end."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8

from jaxgen import data, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.config import (
    BEST,
    N_CLASSES,
    PottsConfig,
    build_model,
    classes,
    coded_part,
    contrastive_settings,
    open_data,
)
from jaxgen.potts.contrastive import contrastive_divergence, decay_couplings, persistent_chains
from jaxgen.potts.evaluate import evaluation_hook, report
from jaxgen.potts.keys import run_keys
from jaxgen.potts.model import PottsEBM, log_marginal_init
from jaxgen.potts.statistics import mean_statistics, principal_component

_COMPONENT_IMAGES = 5000


@dataclasses.dataclass(frozen=True, eq=False)
class PottsTask:
    """A model with its data.

    Attributes:
        config: the settings.
        model: the model.
        train: states of the training images, 0 .. L-1.
        validation: states of the validation images.
        train_label: classes of the training images; None for a model without labels.
        validation_label: classes of the validation images; None for a model without labels.
        n_classes: number of classes of the dataset, whether or not the model uses them.
    """

    config: PottsConfig
    model: PottsEBM
    train: UInt8[Array, "n H W"]
    validation: UInt8[Array, "m H W"]
    train_label: UInt8[Array, "n"] | None
    validation_label: UInt8[Array, "m"] | None
    n_classes: int = dataclasses.field(default=N_CLASSES, kw_only=True)

    @classmethod
    def load(cls, config: PottsConfig) -> "PottsTask":
        """Read, select and encode the images. UserError naming the field that does not fit."""
        dataset = open_data(config)
        model = build_model(config, dataset.size, dataset.n_classes)
        parts = {}
        for part in ("train", "validation"):
            states, labels = coded_part(config, dataset, part)
            if not len(states):
                raise UserError(f"classes is {config.classes!r}, of which there are no {part} images; allowed: 'all'")
            parts[part] = jnp.asarray(states)
            parts[f"{part}_label"] = jnp.asarray(labels) if config.labels else None
        return cls(config, model, **parts, n_classes=dataset.n_classes)

    @property
    def classes(self) -> list[int]:
        """Return the classes that are learned."""
        return classes(self.config, self.n_classes)

    @property
    def name(self) -> str:
        """Return the name of the dataset, or of the file or folder of images."""
        return data.name_of(self.config.dataset, self.config.images)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        config = self.config
        return f"{self.name} {config.classes}, neighbourhood {config.neighbourhood}, {config.coupling}"

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return parameters, optimiser and chains before the first step."""
        config, keys = self.config, run_keys(self.config.seed)
        params = self.model.init(keys.init, self.train[:1], _first(self.train_label))["params"]
        if config.init == "log_marginals":
            params = log_marginal_init(params, self.train, self.train_label)
        rate = config.learning_rate
        if config.schedule == "cosine":
            rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
        tx = decay_couplings(optax.inject_hyperparams(optax.adam)(learning_rate=rate), config.l2)
        carry = None
        if config.persistent:
            carry = persistent_chains(keys.chains, self.train, config.chains, self.train_label)
        return training.create(keys.steps, params, tx, carry), tx

    def grad_fn(self):
        """Return the contrastive-divergence gradient that the config describes."""
        centre = self.data_statistics if self.config.centring else None
        return contrastive_divergence(self.model, contrastive_settings(self.config), centre)

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs, evaluates and saves, and the site updates per step, whose speed it reports."""
        config = self.config
        chains = config.chains if config.persistent else config.batch_size
        return training.FitOptions(
            config.steps,
            config.log_every,
            config.eval_every,
            config.checkpoint_every,
            *BEST,
            work={"site_updates": chains * config.cd_steps * self.model.lattice.n_sites},
        )

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that training batches are gathered from."""
        return {"image": self.train} | ({} if self.train_label is None else {"label": self.train_label})

    def order(self) -> data.EpochOrder:
        """Return which images each step sees."""
        return data.EpochOrder(run_keys(self.config.seed).order, len(self.train), self.config.batch_size)

    def key_fresh(self) -> Key[Array, ""]:
        """Return the key of the samples drawn after training."""
        return run_keys(self.config.seed).fresh

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return the evaluation during training."""
        return [evaluation_hook(self, log)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw fresh samples, plot them and measure their moments."""
        return report(self, state, folder)

    @functools.cached_property
    def data_statistics(self) -> dict:
        """Return the mean sufficient statistics of the training images."""
        init = functools.partial(self.model.init, jax.random.key(0))
        shapes = jax.eval_shape(init, self.train[:1], _first(self.train_label))["params"]
        return mean_statistics(self.model.lattice, shapes, self.train, self.train_label)

    @functools.cached_property
    def principal_component(self) -> Float[np.ndarray, "H W"]:
        """Return the unit vector along which the training images vary most."""
        return principal_component(self.train[:_COMPONENT_IMAGES])

    def chain_labels(self, n: int) -> Array | None:
        """Return labels for n chains, in the proportions of the training images as closely as n allows."""
        if self.train_label is None:
            return None
        ranks = (np.arange(n) + 0.5) / n * len(self.train_label)
        return jnp.sort(self.train_label)[ranks.astype(int)]


def restore_run(workdir: str | Path, which: str = "last") -> tuple[PottsTask, training.TrainState]:
    """Return the task of a run folder and the state of its "last" or "best" checkpoint.

    Raises:
        UserError: the folder holds no run of experiments.ebm_cd, or no checkpoint.
    """
    path = Path(workdir) / "config.json"
    task = PottsTask.load(runs.read_config(PottsConfig, path, "experiments.ebm_cd"))
    return task, training.restore_state(workdir, task.initial_state()[0], "experiments.ebm_cd", which, BEST)


def _first(label: Array | None) -> Array | None:
    return None if label is None else label[:1]
