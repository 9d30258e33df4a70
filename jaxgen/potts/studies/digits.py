"""A model of all digits: a mixture of single-digit models trained together, or one class-conditional model; by seed.

    p(x) = sum_y pi_y p(x | y),   p(x | y) ~ exp(-beta E(x; theta_y)),   theta_y its own, or b + U[:, y] with shared W

Every seed has all its models; seeds and digits are one ensemble (`training.ensemble`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, UInt8

from jaxgen import data, gibbs, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig, classes
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.model import label_field
from jaxgen.potts.task import PottsTask
from jaxgen.runs import option

_EVAL_IMAGES = 256


@dataclasses.dataclass(frozen=True)
class DigitsConfig(PottsConfig):
    """Settings of every one of the models; with `labels` one model a seed, else one a digit and seed."""

    seeds: int = option(1, "how often all of it is trained: seed, seed + 1, ...", group="run", low=1)
    quick: bool = option(False, "60 updates, 1 seed, few sweeps: shows that everything runs", group="run")
    fresh_chains: int = option(
        1000, "chains of the final samples of each digit and seed, from noise", group="final samples", low=2
    )
    temperatures: int = option(2000, "of each estimate of a partition function", group="likelihood", low=1)
    annealed_chains: int = option(128, "chains of each, at most fresh_chains", group="likelihood", low=2)


def effective_digits(config: DigitsConfig) -> DigitsConfig:
    """The config with what `quick` stands for put in."""
    if not config.quick:
        return config
    small = {"steps": 60, "seeds": 1, "fresh_chains": 200, "fresh_sweeps": 50, "temperatures": 100}
    return dataclasses.replace(config, **small, annealed_chains=64, eval_every=30, checkpoint_every=30, log_every=10)


@dataclasses.dataclass(frozen=True, eq=False)
class DigitsTask:
    """The single tasks of a stack, seed by seed, and in each digit by digit; labels uint8 of `train`."""

    config: DigitsConfig
    tasks: list[PottsTask]
    train: UInt8[Array, "n H W"]
    train_label: UInt8[np.ndarray, "n"]

    @classmethod
    def load(cls, config: DigitsConfig) -> "DigitsTask":
        """Read the images. ValueError naming the field that does not fit."""
        runs.validate(config)
        shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(PottsConfig)}
        whole = PottsTask.load(PottsConfig(**shared | {"labels": True}))
        train_label, validation_label = np.asarray(whole.train_label), np.asarray(whole.validation_label)
        tasks = []
        for seed in range(config.seed, config.seed + config.seeds):
            single = PottsConfig(**shared | {"seed": seed})
            if config.labels:
                tasks.append(dataclasses.replace(whole, config=single))
                continue
            for digit in classes(config):
                own = PottsConfig(**shared | {"seed": seed, "digits": str(digit)})
                alone = dataclasses.replace(whole.model, n_classes=0)
                parts = whole.train[train_label == digit], whole.validation[validation_label == digit]
                tasks.append(PottsTask(own, alone, *parts, None, None))
        return cls(config, tasks, whole.train, train_label)

    @property
    def title(self) -> str:
        """What was trained, for records."""
        kind = "one class-conditional model" if self.config.labels else "a model a digit"
        config = self.config
        return f"{config.dataset} {config.digits}, {kind}, neighbourhood {config.neighbourhood}, {config.coupling}"

    @property
    def digits(self) -> list[int]:
        return classes(self.config)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """The stack and its optimiser before the first step; each model starts as it would alone."""
        starts = [task.initial_state() for task in self.tasks]
        params, carry = training.stack_models(*zip(*((state.params, state.carry) for state, _ in starts), strict=True))
        state, tx = starts[0]
        return training.create(state.key, params, tx, carry), tx

    def grad_fn(self):
        """The estimator of the stack."""
        if self.config.centring:
            raise UserError("centring is true; allowed: false, the models of a stack have no centre in common")
        return training.ensemble_grad_fn(self.tasks[0].grad_fn(), len(self.tasks))

    def arrays(self) -> dict[str, Array]:
        """What a training batch is gathered from."""
        labels = {"label": jnp.asarray(self.train_label)} if self.config.labels else {}
        return {"image": self.train} | labels

    def order(self) -> training.EnsembleOrder:
        """Batches of every model from its own images, in an order of its own."""
        keys, rows = [], []
        for number, task in enumerate(self.tasks):
            keys.append(jax.random.fold_in(jax.random.fold_in(jax.random.key(task.config.seed), 2**31), number))
            own = np.ones(len(self.train), bool) if self.config.labels else self.train_label == int(task.config.digits)
            rows.append(np.flatnonzero(own))
        return training.EnsembleOrder(keys, rows, self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """As of one model, with the site updates of all."""
        options = self.tasks[0].fit_options()
        return dataclasses.replace(options, work={k: v * len(self.tasks) for k, v in options.work.items()})

    def hook(self):
        """Mean log pseudo-likelihood of validation images over the models."""
        score = jax.jit(
            lambda params, x, field: gibbs.log_pseudo_likelihood(
                self.tasks[0].model.lattice, params, x, field, self.config.beta
            ).mean()
        )

        def hook(step: int, state: training.TrainState) -> dict[str, float]:
            found = []
            for number, task in enumerate(self.tasks):
                params, label = training.member(state.params, number), task.validation_label
                field = None if label is None else label_field(params, label[:_EVAL_IMAGES])
                x = jnp.resize(task.validation, (_EVAL_IMAGES, *task.validation.shape[1:]))
                found.append(float(score(params, x, field)))
            return {"validation_log_pl": float(np.mean(found))}

        return hook

    def single_models(self, params: dict) -> dict[tuple[int, int], dict]:
        """{(seed, digit): {"bias", "coupling"}} of a trained stack."""
        found = {}
        for number, task in enumerate(self.tasks):
            own = training.member(params, number)
            if self.config.labels:
                found |= {(task.config.seed, y): class_params(own, y) for y in self.digits}
            else:
                found[task.config.seed, int(task.config.digits)] = own
        return found


def train_digits(task: DigitsTask, folder: runs.RunFolder) -> dict:
    """Train from where the folder is to the end; the stacked parameters."""
    state, tx = task.initial_state()
    step = training.parallel_step(task.grad_fn(), tx)
    return training.fit(state, step, task.arrays(), task.order(), folder, task.fit_options(), [task.hook()]).params


def test_images(config: PottsConfig) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"]]:
    """Coded test images of the classes kept, and their labels."""
    images, labels = data.split(data.load(config.dataset, data_dir=config.data_dir or None), "test")
    images, labels = data.select(images, labels, classes(config))
    return data.encode(images, config.levels), labels
