"""A toy experiment written as experiments are; the tests run it in processes of its own and kill it.

TOY_SIGNAL and TOY_SIGNAL_AT make the process send itself a signal when it asks for the batch of that step.
"""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import runs, training
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    seed: int = seed_option("seed of data and noise")
    steps: int = option(60, "parameter updates", group="optimiser", low=1, high=1000, grows=True)
    learning_rate: float = option(1e-2, "Adam step size", group="optimiser", low=0.0, high=1.0)


class Order:
    def __init__(self, seed: int):
        self.seed = seed

    def indices(self, step: int) -> np.ndarray:
        if step + 1 == int(os.environ.get("TOY_SIGNAL_AT", 0)):
            os.kill(os.getpid(), getattr(signal, os.environ["TOY_SIGNAL"]))
        return np.random.default_rng((self.seed, step)).integers(0, 64, 8).astype(np.int32)


def grad_fn(params, carry, key, batch):
    """A noisy regression with a carry, so that every part of the state matters to the numbers."""

    def loss_fn(w):
        noise = jax.vmap(lambda p: jax.random.normal(jax.random.fold_in(key, p), (4,)))(batch["position"])
        return jnp.mean((jnp.tanh(batch["x"] @ w) + 0.1 * noise + 0.1 * carry[:, None] - 1.0) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(params["w"])
    return {"w": grads}, 0.9 * carry + 0.01 * batch["position"], {"loss": loss}


def run(config, workdir):
    runs.configure()
    data = {"x": np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)}
    tx = optax.adam(config.learning_rate)
    state = training.create(jax.random.key(config.seed), {"w": jnp.eye(4)}, tx, carry=jnp.zeros(8), ema=True)
    step = training.parallel_step(grad_fn, tx, ema_decay=0.9)
    options = training.FitOptions(config.steps, log_every=5, eval_every=10, checkpoint_every=10, best="norm")
    with runs.RunFolder.open(workdir, config) as folder:

        def norm(step, state):
            folder.log.images(step, "weights", np.clip(np.asarray(state.params["w"])[None], 0.0, 1.0))
            return {"norm": float(jnp.abs(state.params["w"]).sum())}

        state = training.fit(state, step, data, Order(config.seed), folder, options, [norm])
        leaves = jax.tree.leaves((state.step, state.params, state.ema_params, state.opt_state, state.carry))
        with runs.atomic_write(folder.path / "final.npy") as temporary:
            np.save(temporary, np.concatenate([np.ravel(leaf) for leaf in leaves]))


if __name__ == "__main__":
    runs.main(ToyConfig, run, distributed=True)
