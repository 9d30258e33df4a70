"""The task of training a restricted machine: data, machine, initial state, gradient function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer, Key, UInt8

from jaxgen import data, runs, training
from jaxgen.gibbs.bipartite import uniform
from jaxgen.potts.restricted.config import RestrictedConfig
from jaxgen.potts.restricted.contrastive import restricted_divergence
from jaxgen.potts.restricted.evaluate import evaluation_hook, report
from jaxgen.potts.restricted.machine import RestrictedPotts

_USES = ("steps", "init", "order", "chains", "validation", "test", "samples")


@dataclasses.dataclass(frozen=True, eq=False)
class RestrictedTask:
    """A machine with its data.

    Attributes:
        config: the settings.
        machine: the model.
        mean: mu, the frequency of levels 1 .. L-1 of each pixel in the training images.
        shape: height and width of an image.
        train: greys (2 levels) or levels of the training images, one row per image.
        grey: the images of the other parts of the dataset by name, as greys.
    """

    config: RestrictedConfig
    machine: RestrictedPotts
    mean: Float[Array, "V L1"]
    shape: tuple[int, int]
    train: UInt8[np.ndarray, "n V"]
    grey: dict[str, UInt8[np.ndarray, "m H W"]]

    @classmethod
    def load(cls, config: RestrictedConfig) -> "RestrictedTask":
        """Read and encode the images.

        Raises:
            UserError: the images cannot be used; names the field.
        """
        dataset = data.open(config.dataset, config.images, config.data_dir).grey()
        images = data.split(dataset, "train")[0]
        coded = images if config.levels == 2 else data.encode(images, config.levels)
        train = np.ascontiguousarray(coded.reshape(len(coded), -1))
        machine = RestrictedPotts(train.shape[1], config.levels, config.hidden)
        grey = {part: data.split(dataset, part)[0] for part in ("validation", "test")}
        return cls(config, machine, jnp.asarray(frequencies(train, config.levels)), images.shape[1:], train, grey)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        config = self.config
        coding = "binarised" if config.levels == 2 else f"{config.levels} levels"
        name = data.name_of(config.dataset, config.images)
        return f"{name}, {coding}, restricted machine, {config.hidden} hidden units, {config.steps:,} updates"

    @functools.cached_property
    def fixed(self) -> tuple[Float[Array, "V L1"], Float[Array, "V L1"]]:
        """Return mu, and the log-odds of the independent pixels at which annealing starts."""
        return self.mean, jnp.log(self.mean / (1 - self.mean.sum(1, keepdims=True)))

    def key(self, use: str) -> Key[Array, ""]:
        """Return the random key of one use in this run, one of `_USES`."""
        return training.stream(self.config.seed, use, _USES)

    def states(self, part: str) -> UInt8[np.ndarray, "m V"]:
        """Return the states of a part of the dataset for likelihoods; for 2 levels a fixed binarisation."""
        grey, levels = self.grey[part], self.config.levels
        coded = data.fixed_binarization(grey, part) if levels == 2 else data.encode(grey, levels)
        return coded.reshape(len(coded), -1)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return parameters, optimiser, chains and moving average before the first step."""
        config = self.config
        init = jax.jit(self.machine.init)
        params = init(self.key("init"), self.mean, jnp.zeros((1, self.machine.n_visible), jnp.uint8))["params"]
        params = {**params, "visible_bias": self.fixed[1]}
        peak, rise = config.learning_rate, training.warmup_steps(config.warmup, config.steps)
        rate = optax.warmup_cosine_decay_schedule(0.0, peak, rise, config.steps, config.final_rate * peak)
        # Adam without momentum, and without the copy of the gradient that it would keep for it.
        adam = optax.inject_hyperparams(optax.rmsprop)
        tx = adam(rate, decay=0.999, eps=1e-7, eps_in_sqrt=False, bias_correction=True)
        return training.create(self.key("steps"), params, tx, self._chains(), ema=True), tx

    def _chains(self) -> dict[str, Array] | None:
        config = self.config
        if not config.persistent:
            return None
        key_choice, key_code = jax.random.split(self.key("chains"))
        ids = jnp.arange(config.chains, dtype=jnp.uint32)
        chosen = jax.random.choice(key_choice, len(self.train), (config.chains,), config.chains > len(self.train))
        return {"chains": self.encode(key_code, jnp.asarray(self.train[np.asarray(chosen)]), ids), "chain_id": ids}

    def grad_fn(self) -> training.step.GradFn:
        """Return the gradient function of contrastive divergence."""
        return restricted_divergence(self.machine, self.mean, self.config.sweeps, self.encode)

    def encode(self, key: Key[Array, ""], image: UInt8[Array, "n V"], ids: Integer[Array, " n"]) -> UInt8[Array, "n V"]:
        """Return states of rows of `train`; for 2 levels x ~ Bernoulli(grey / 255), drawn anew at every step."""
        if self.config.levels > 2:
            return image
        return (255 * uniform(key, ids, image.shape[1]) < image).astype(jnp.uint8)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that batches are gathered from."""
        return {"image": self.train}

    def order(self) -> data.EpochOrder:
        """Return which images each step sees."""
        return data.EpochOrder(self.key("order"), len(self.train), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs, evaluates and saves, and the unit updates per step that it reports the speed of."""
        config = self.config
        chains = config.chains if config.persistent else config.batch_size
        return training.FitOptions(
            config.steps,
            config.log_every,
            config.eval_every,
            config.checkpoint_every,
            work={"unit_updates": chains * config.sweeps * (self.machine.n_visible + self.machine.n_hidden)},
            ema_decay=training.average_decay(config.ema_decay, config.steps),
        )

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return the evaluation during training."""
        return [evaluation_hook(self, log)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Estimate the likelihood of the test images; draw samples, plot them and evaluate them."""
        return report(self, state, folder)

    def images(self, v: UInt8[np.ndarray, "n V"]) -> UInt8[np.ndarray, "n H W"]:
        """Return states as images."""
        return np.asarray(v).reshape(-1, *self.shape)


def frequencies(rows: UInt8[np.ndarray, "n V"], levels: int) -> Float[np.ndarray, "V L1"]:
    """Return how often each pixel shows each of levels 1 .. L-1.

    One image of every level is added to the counts, so that no frequency is 0.
    For 2 levels, rows are greys: the probability of white times 255.
    """
    if levels == 2:
        counts = rows.sum(0, dtype=np.float64)[:, None] / 255
    else:
        counts = np.stack([(rows == level).sum(0) for level in range(1, levels)], axis=-1)
    return ((counts + 1) / (len(rows) + levels)).astype(np.float32)
