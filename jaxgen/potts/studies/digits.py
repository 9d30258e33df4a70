"""Models of all digits: a mixture of single-digit models, or one class-conditional model, for one or more seeds.

    p(x) = sum_y pi_y p(x | y),   p(x | y) ~ exp(-beta E(x; theta_y)),   theta_y separate, or b + U[:, y] and shared W

All models of all seeds are trained together as one ensemble (`training.ensemble`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, UInt8

from jaxgen import gibbs, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig, classes, coded_part, open_data
from jaxgen.potts.keys import digit_order_key
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.model import PottsEBM, label_field
from jaxgen.potts.task import PottsTask
from jaxgen.runs import option

_EVAL_IMAGES = 256


@dataclasses.dataclass(frozen=True)
class DigitsConfig(PottsConfig):
    """The settings that all models share: one model per seed with `labels`, else one per digit and seed."""

    seeds: int = option(1, "number of trainings, with seed, seed + 1, ...", group="run", low=1, high=1000)
    quick: bool = option(False, "60 updates, 1 seed and few sweeps, to check that everything runs", group="run")
    fresh_chains: int = option(
        1000, "chains of the final samples per digit and seed, from noise", group="final samples", low=2, high=1_000_000
    )
    fresh_sweeps: int = option(
        2000, "sweeps of the final samples, from noise", group="final samples", low=1, high=10**9
    )
    temperatures: int = option(
        2000, "temperatures per estimate of a partition function", group="likelihood", low=1, high=10_000_000
    )
    annealed_chains: int = option(
        128, "chains per estimate, at most fresh_chains", group="likelihood", low=2, high=1_000_000
    )


def with_quick(config: DigitsConfig) -> DigitsConfig:
    """Return the config with the overrides of `quick` applied if it is set."""
    if not config.quick:
        return config
    small = {"steps": 60, "seeds": 1, "fresh_chains": 200, "fresh_sweeps": 50, "temperatures": 100}
    return dataclasses.replace(config, **small, annealed_chains=64, eval_every=30, checkpoint_every=30, log_every=10)


@dataclasses.dataclass(frozen=True, eq=False)
class DigitsTask:
    """An ensemble of tasks, ordered by seed and, within a seed, by digit.

    Attributes:
        config: the settings, without those of `quick`.
        tasks: one per model.
        train: the training images of all digits.
        train_label: digits of the training images.
    """

    config: DigitsConfig
    tasks: list[PottsTask]
    train: UInt8[Array, "n H W"]
    train_label: UInt8[np.ndarray, "n"]

    @classmethod
    def load(cls, config: DigitsConfig) -> "DigitsTask":
        """Read the images. UserError naming the field that does not fit."""
        runs.validate(config)
        if config.centring:
            raise UserError("centring is true; allowed: false, because the models of an ensemble share no centre")
        config = with_quick(config)
        shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(PottsConfig)}
        whole = PottsTask.load(PottsConfig(**shared | {"labels": True}))
        train_label, validation_label = np.asarray(whole.train_label), np.asarray(whole.validation_label)
        tasks = []
        for seed in range(config.seed, config.seed + config.seeds):
            single = PottsConfig(**shared | {"seed": seed})
            if config.labels:
                tasks.append(dataclasses.replace(whole, config=single))
                continue
            for digit in whole.classes:
                own = PottsConfig(**shared | {"seed": seed, "classes": str(digit)})
                alone = dataclasses.replace(whole.model, n_classes=0)
                parts = whole.train[train_label == digit], whole.validation[validation_label == digit]
                tasks.append(PottsTask(own, alone, *parts, None, None, n_classes=whole.n_classes))
        return cls(config, tasks, whole.train, train_label)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        config = self.config
        kind = "one class-conditional model" if config.labels else "one model per digit"
        title = (
            f"{self.tasks[0].name} {config.classes}, {kind}, neighbourhood {config.neighbourhood}, {config.coupling}"
        )
        return title + ", quick" * config.quick

    @property
    def digits(self) -> list[int]:
        """Return the digits that are learned."""
        return classes(self.config, self.tasks[0].n_classes)

    @property
    def seeds(self) -> range:
        """Return the seeds of the trainings."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def single_model(self) -> PottsEBM:
        """Return the model of one digit, without labels."""
        return dataclasses.replace(self.tasks[0].model, n_classes=0)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the ensemble and its optimiser before the first step; each model starts as it would alone."""
        starts = [task.initial_state() for task in self.tasks]
        params, carry = training.stack_models(*zip(*((state.params, state.carry) for state, _ in starts), strict=True))
        state, tx = starts[0]
        return training.create(state.key, params, tx, carry), tx

    def grad_fn(self) -> training.step.GradFn:
        """Return the contrastive-divergence gradient of the ensemble."""
        return training.ensemble_grad_fn(self.tasks[0].grad_fn(), len(self.tasks))

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that training batches are gathered from."""
        labels = {"label": jnp.asarray(self.train_label)} if self.config.labels else {}
        return {"image": self.train} | labels

    def order(self) -> training.EnsembleOrder:
        """Return batches of every model's own images, in an order of its own."""
        keys, rows = [], []
        for number, task in enumerate(self.tasks):
            keys.append(digit_order_key(task.config.seed, number))
            own = np.ones(len(self.train), bool) if self.config.labels else self.train_label == int(task.config.classes)
            rows.append(np.flatnonzero(own))
        return training.EnsembleOrder(keys, rows, self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Return the options of one model, with the site updates of all."""
        options = self.tasks[0].fit_options()
        return dataclasses.replace(options, work={k: v * len(self.tasks) for k, v in options.work.items()})

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return the evaluation during training: the mean over models of the validation log pseudo-likelihood."""
        score = jax.jit(
            lambda params, x, field: gibbs.log_pseudo_likelihood(
                self.tasks[0].model.lattice, params, x, field, self.config.beta
            ).mean()
        )

        def hook(step: int, state: training.TrainState) -> dict[str, float]:
            scores = []
            for number, task in enumerate(self.tasks):
                params, label = training.member(state.params, number), task.validation_label
                field = None if label is None else label_field(params, label[:_EVAL_IMAGES])
                x = jnp.resize(task.validation, (_EVAL_IMAGES, *task.validation.shape[1:]))
                scores.append(float(score(params, x, field)))
            return {"validation_log_pl": float(np.mean(scores))}

        return [hook]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw and plot samples of every digit and seed; measure samples, likelihood and classification."""
        from jaxgen.potts.studies.digits_measure import report  # it measures a DigitsTask

        return report(self, state, folder)

    def single_models(self, params: dict) -> dict[tuple[int, int], dict]:
        """Return {(seed, digit): {"bias", "coupling"}} of a trained ensemble."""
        models = {}
        for number, task in enumerate(self.tasks):
            own = training.member(params, number)
            if self.config.labels:
                models |= {(task.config.seed, y): class_params(own, y) for y in self.digits}
            else:
                models[task.config.seed, int(task.config.classes)] = own
        return models


def test_images(config: PottsConfig) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"]]:
    """Return the coded test images of the selected classes, and their labels."""
    return coded_part(config, open_data(config), "test")
