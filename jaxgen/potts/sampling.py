"""Samples of a trained model that are independent of its training chains, and a check that they follow its law.

    theta(t) = (1 - t) theta_0 + t theta,   t = 1/K, 2/K, .. 1: one Gibbs sweep at each,   then S sweeps at theta

theta_0 are the independent pixels of the training data. Chains annealed along this path reach the modes of an image
model in about their proportions; chains that start at noise enter the nearest mode and take tens of thousands of sweeps
to leave it.

The check runs a second population of chains, which starts at training images and so with every mode in the proportions
of the data. While the rank-normalised split R-hat between the populations exceeds 1.01, in the energy or along the
first principal component of the data, both are swept on, for at most ROUNDS S sweeps. Agreement of two starts is
necessary, not sufficient, for samples of the model; R-hat is reported in any case.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from jaxgen import gibbs, runs
from jaxgen.potts.likelihood.annealed_importance import draw_independent, independent_params
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.model import label_field

if TYPE_CHECKING:
    from jaxgen.potts.task import PottsTask

R_HAT = 1.01
ROUNDS = 4
_CONTROLS = 512
_STAGE = 250


class FreshSamples(NamedTuple):
    """Samples of a model.

    Attributes:
        states: the samples.
        label: classes of the samples, for a model with labels.
        temperatures: K, the number of annealing sweeps.
        sweeps: sweeps of the model after annealing.
        r_hats: R-hat between the samples and chains from training images, by observable; empty for fewer than four
            samples.
    """

    states: UInt8[Array, "n H W"]
    label: Array | None
    temperatures: int
    sweeps: int
    r_hats: dict[str, float]

    @property
    def description(self) -> str:
        """Return in words how the samples were drawn."""
        start = f"annealed from independent pixels over {self.temperatures} sweeps, then " * bool(self.temperatures)
        return f"{start}{self.sweeps} sweeps"


def fresh_samples(task: "PottsTask", params: dict, key: Key[Array, ""], n: int, n_sweeps: int) -> FreshSamples:
    """Draw n samples by `n_sweeps` sweeps, half of them annealing, or more where R-hat requires it, with a bar.

    Raises:
        UserError: what `gibbs.sample` refuses.
    """
    key_start, key_anneal, key_control, key_sweeps = jax.random.split(key, 4)
    label = task.chain_labels(n)
    temperatures = n_sweeps // 2
    sweeps = n_sweeps - temperatures
    base = base_biases(params, task.train)
    conditions = {"engine": task.config.engine, "beta": task.config.beta}
    watched = np.linspace(0, n - 1, min(_CONTROLS, n)).astype(int)
    control, control_label = _training_images(task, key_control, label, watched)
    with runs.progress(n_sweeps, f"sampling {n} chains", "sweep") as bar:
        x = draw_independent(key_start, base, n, task.config.beta)
        field = None if label is None else label_field(params, label)
        x = annealed_sweeps(
            key_anneal, task.model.lattice, params, base, x, temperatures, field, bar.update, **conditions
        )
        x = jnp.concatenate([x, control])
        field = None if label is None else label_field(params, jnp.concatenate([label, control_label]))
        for number in range(ROUNDS):
            stages = gibbs.sample_stages(
                jax.random.fold_in(key_sweeps, number),
                task.model.lattice,
                params,
                x,
                sweeps,
                max(1, sweeps // 10),
                field=field,
                **conditions,
            )
            before = bar.n
            for done, states, _ in stages:
                x = jax.block_until_ready(states)
                bar.update(before + done - bar.n)
            r_hats = population_r_hats(task, params, (x[watched], x[n:]), control_label)
            if max(r_hats.values(), default=1.0) <= R_HAT or number == ROUNDS - 1:
                break
            bar.total += sweeps
    return FreshSamples(x[:n], label, temperatures, (number + 1) * sweeps, r_hats)


def annealed_sweeps(
    key: Key[Array, ""],
    lattice: gibbs.Lattice,
    params: dict,
    base_bias: Float[Array, "H W L"],
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    field: Float[Array, "n H W L"] | None = None,
    progress: Callable[[int], object] = lambda more: None,
    *,
    engine: str = "lattice",
    beta: float = 1.0,
) -> UInt8[Array, "n H W"]:
    """Return the states after one sweep at each of t = 1/K, .. 1 on the path from independent pixels to the model.

    Args:
        key: random key.
        lattice: the lattice.
        params: the model; a label enters as `field`.
        base_bias: the independent pixels at t = 0.
        x: samples of the independent pixels.
        n_sweeps: K, 0 or more.
        field: field of the model at t = 1; it is scaled by t.
        progress: called with the sweeps done since the last call.
        engine: a Gibbs engine.
        beta: inverse temperature.
    """
    core = {name: params[name] for name in ("bias", "coupling")}
    base = independent_params(lattice, core, base_bias)
    for first in range(0, n_sweeps, _STAGE):
        numbers = np.arange(first, min(first + _STAGE, n_sweeps), dtype=np.uint32)
        x = _anneal(key, lattice, base, core, x, numbers, (numbers + 1) / np.float32(n_sweeps), field, engine, beta)
        jax.block_until_ready(x)
        progress(len(numbers))
    return x


@functools.partial(jax.jit, static_argnames=("lattice", "engine"))
def _anneal(key, lattice, base, params, x, numbers, t, field, engine, beta):
    difference = jax.tree.map(lambda a, b: b - a, base, params)

    def sweep(x, step):
        number, t = step
        theta = jax.tree.map(lambda a, d: a + t * d, base, difference)
        scaled = None if field is None else t * field
        key_sweep = jax.random.fold_in(key, number)
        return gibbs.sample(key_sweep, lattice, theta, x, 1, engine=engine, beta=beta, field=scaled)[0], None

    return jax.lax.scan(sweep, x, (numbers, t))[0]


def population_r_hats(
    task: "PottsTask", params: dict, populations: tuple[UInt8[Array, "m H W"], UInt8[Array, "m H W"]], label
) -> dict[str, float]:
    """Return R-hat between two populations of chains, by observable; empty for populations of fewer than four.

    The m chains of a population take the place of the draws of one chain: R-hat is then 1 up to noise of order 1 / m if
    both populations have the same law, and sqrt(1 + d^2 / 3) if their means are d standard deviations apart.
    """
    if len(populations[0]) < 4:
        return {}
    direction = task.principal_component
    observables = {
        "energy": lambda x: task.model.apply({"params": params}, x, label),
        "principal component": lambda x: jnp.tensordot(x.astype(jnp.float32), direction),
    }
    series = {name: np.stack([np.asarray(f(x)) for x in populations], axis=1) for name, f in observables.items()}
    return {name: gibbs.split_r_hat(values) if np.ptp(values) else 1.0 for name, values in series.items()}


def _training_images(task: "PottsTask", key: Key[Array, ""], label: Array | None, watched: np.ndarray):
    """Return random training images of the classes of the watched samples, and these classes."""
    u = np.asarray(jax.random.uniform(key, (len(watched),)))
    if label is None:
        return task.train[(u * len(task.train)).astype(int)], None
    own = np.asarray(label)[watched]
    order = np.argsort(np.asarray(task.train_label), kind="stable")
    classes = np.asarray(task.train_label)[order]
    first, last = np.searchsorted(classes, own, "left"), np.searchsorted(classes, own, "right")
    return task.train[order[first + (u * (last - first)).astype(int)]], jnp.asarray(own)
