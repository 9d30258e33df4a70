"""How many times an epoch of backprop does an epoch of each local learning scheme cost, on the same network?

  python -m benchmarks.local_learning_cost --json=cost.json
  python -m benchmarks.local_learning_cost --json=cost.json --write

784-256-256-10 on MNIST, batches of 128, Adam, the settings of experiments/flags. Every scheme takes whole training
steps (gather, gradient, update) in one process, round after round through all schemes. A scheme is timed only if its
gradient points the way of the exact one: the cosine with recurrent backprop or backprop, over all weights, is stated
and must be positive. `--write` puts the table into benchmarks/README.md.
"""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from jaxgen import data, energy_learning, runs, training
from jaxgen.errors import UserError
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

NAME = "local_learning_cost"
README = Path(__file__).with_name("README.md")
COLUMNS = ("scheme", "energy", "sweeps", "s an epoch", "range", "x backprop", "target", "cosine to exact", "compile s")
# Schemes with the energy, the free and the nudged sweeps that experiments/flags train with.
CASES = (
    ("backprop", "predictive_coding", 0, 0, ""),
    ("ep_centred", "clipped", 8, 4, "<= 10"),
    ("ep_positive", "clipped", 8, 4, "<= 10"),
    ("first_step", "clipped", 8, 1, ""),
    ("contrastive_hebbian", "clipped", 8, 8, ""),
    ("recurrent_backprop", "clipped", 8, 8, ""),
    ("pc_soft_nudge", "predictive_coding", 0, 6, "<= 5"),
    ("pc_equilibrium", "predictive_coding", 0, 6, "<= 5"),
    ("fixed_prediction", "predictive_coding", 0, 6, ""),
    ("z_il", "predictive_coding", 0, 2, ""),
)


@dataclasses.dataclass(frozen=True)
class CostConfig:
    """What is timed."""

    widths: str = option("256,256", "units of the hidden layers", group="benchmark")
    batch_size: int = option(128, "examples a step", group="benchmark", low=1, high=60_000)
    steps: int = option(20, "training steps a timed call", group="benchmark", low=1, high=2**31 - 1)
    repeats: int = option(timing.LEAST_REPEATS, "rounds", group="benchmark", low=timing.LEAST_REPEATS, high=1000)
    json: str = option("", "file for the rows", group="benchmark")
    write: bool = option(False, "write the table into benchmarks/README.md", group="benchmark")


class Runner:
    """Training steps of one scheme: `runner(seed)` takes `steps` of them from where the last call ended."""

    def __init__(self, config: CostConfig, case: tuple, train: dict):
        scheme, energy, free, nudged, self.target = case
        setting = energy_learning.EnergyLearningConfig(
            dataset="mnist", seeds=1, scheme=scheme, energy=energy, widths=config.widths, weight_scale=0.5,
            activation="relu", beta=0.05 if energy == "predictive_coding" else 0.5, free_sweeps=free,
            nudged_sweeps=nudged, step_size=0.25, batch_size=config.batch_size,
        )  # fmt: skip
        self.config, self.setting, self.train = config, setting, train
        self.model = energy_learning.build_model(setting, train["y"].shape[1])
        settings = energy_learning.build_settings(setting)
        self.grad_fn = energy_learning.build_scheme(scheme, self.model, settings)
        self.params = self.model.network.init(jax.random.key(0), train["x"][:1])
        tx = optax.adam(1e-3)
        step = training.make_train_step(self.grad_fn, tx)
        compiled = jax.jit(
            lambda state, train, index: step(state, {name: array[index] for name, array in train.items()}),
            donate_argnums=0,
        )
        self.state = training.create(jax.random.key(1), jax.tree.map(jnp.copy, self.params), tx)
        begin = time.perf_counter()
        self.step = compiled.lower(self.state, train, jnp.zeros(config.batch_size, jnp.int32)).compile()
        self.compile_s = time.perf_counter() - begin

    def __call__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(self.config.steps):
            index = rng.integers(0, len(self.train["x"]), self.config.batch_size).astype(np.int32)
            self.state, _ = self.step(self.state, self.train, index)
        jax.block_until_ready(self.state.params)

    def cosine(self) -> float:
        """Of the gradient at the start with the exact one, all weights and biases."""
        batch = {name: array[: self.config.batch_size] for name, array in self.train.items()}
        exact = energy_learning.backprop(self.model)
        if energy_learning.SCHEMES[self.setting.scheme].feedback:
            relaxed = energy_learning.Minimiser(200, 1e-5)
            exact = energy_learning.recurrent_backprop(self.model, energy_learning.Phases(relaxed, relaxed))
        a, b = (
            np.concatenate(
                [np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(one)(self.params, None, None, batch)[0])]
            )
            for one in (self.grad_fn, exact)
        )
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def run(config: CostConfig, workdir: Path) -> None:
    """Check, time, print and write."""
    timing.disable_compilation_cache()
    images, labels = data.split(data.load("mnist"), "train")
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    train = {"x": jnp.asarray(flat), "y": jnp.asarray(np.eye(10, dtype=np.float32)[labels])}
    runners = [Runner(config, case, train) for case in CASES]
    cosines = [runner.cosine() for runner in runners]
    wrong = [runner.setting.scheme for runner, cosine in zip(runners, cosines, strict=True) if not cosine > 0]
    if wrong:
        raise UserError(f"the gradient of {', '.join(wrong)} does not point downhill; allowed: a positive cosine")
    times = timing.interleaved(runners, [1] * len(runners), config.repeats)
    rows = table(config, runners, cosines, times, len(images))
    print(aligned(rows, COLUMNS))
    if config.json:
        write_json(config.json, timing.environment() | {"rows": rows})
    if config.write:
        there = timing.environment()
        where = f"{there['device']}, load {there['load_at_start']} at the start, jax {jax.__version__}"
        line = f"`{there['command']}` on {where}."
        write_between(README, NAME, f"{line}\n\n{markdown(rows, COLUMNS)}")


def table(config: CostConfig, runners: list[Runner], cosines: list[float], times: np.ndarray, n: int) -> list[dict]:
    """Medians over the rounds; ratios within a round, because a slow spell of the machine hits all alike."""
    epoch = times * n / (config.steps * config.batch_size)
    ratio = np.median(times / times[:, :1], axis=0)
    rows = []
    for k, (runner, cosine) in enumerate(zip(runners, cosines, strict=True)):
        setting = runner.setting
        rows.append(
            {
                "scheme": setting.scheme,
                "energy": setting.energy,
                "sweeps": f"{setting.free_sweeps} + {setting.nudged_sweeps}",
                "s an epoch": float(np.median(epoch[:, k])),
                "range": f"{epoch[:, k].min():.2g}-{epoch[:, k].max():.2g}",
                "x backprop": float(ratio[k]),
                "target": runner.target,
                "cosine to exact": cosine,
                "compile s": runner.compile_s,
            }
        )
    return rows


if __name__ == "__main__":
    runs.main(CostConfig, run)
