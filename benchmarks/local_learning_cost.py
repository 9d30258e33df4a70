"""How many times longer than an epoch of backprop does an epoch of each local learning scheme take, on one network?

  python -m benchmarks.local_learning_cost --json=cost.json
  python -m benchmarks.local_learning_cost --json=cost.json --write

784-256-256-10 on MNIST, batches of 128, Adam, the settings of experiments/flags. Every scheme takes whole training
steps (gather, gradient, update) in one process, round after round through all schemes. A scheme is timed only if its
gradient points in the direction of the exact one: it is trained for `--train_epochs`, then its cosine with recurrent
backprop or backprop over all weights is measured at every beta of BETAS, and the largest, which chooses beta, must
exceed 0.5. A scheme below is left out, and the exit code is 1. The cosine is not taken at the initial weights, where
the free states of clipped units hardly reach the output. `--write` puts the table into benchmarks/README.md.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

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
COLUMNS = ("scheme", "energy", "sweeps", "s per epoch", "range", "x backprop", "target", "beta", "cosine to exact")
COLUMNS += ("compile s",)
GATE = 0.5  # least cosine of a scheme that is timed
BETAS = {"clipped": (0.5, 0.2, 0.1), "predictive_coding": (0.05, 0.02)}


class Case(NamedTuple):
    """A scheme with its energy, the sweeps of its free and nudged phases, and further settings."""

    scheme: str
    energy: str
    free: int
    nudged: int
    target: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


BY_ERRORS = {"sweep": "errors", "step_size": 1.0}
# The sweeps of experiments/flags and of the comparison of schemes; of the two headline schemes also fewer ones.
CASES = (
    Case("backprop", "predictive_coding", 0, 0),
    Case("ep_centred", "clipped", 8, 4),
    Case("ep_centred", "clipped", 8, 1, "<= 2.5"),
    Case("ep_positive", "clipped", 8, 4),
    Case("first_step", "clipped", 8, 1),
    Case("contrastive_hebbian", "clipped", 8, 8),
    Case("recurrent_backprop", "clipped", 8, 8),
    Case("pc_soft_nudge", "predictive_coding", 0, 6),
    Case("pc_soft_nudge", "predictive_coding", 0, 2, "<= 2.0", BY_ERRORS),
    Case("pc_equilibrium", "predictive_coding", 0, 40, "", {"step_size": 0.1}),
    Case("fixed_prediction", "predictive_coding", 0, 6),
    Case("z_il", "predictive_coding", 0, 2),
)


@dataclasses.dataclass(frozen=True)
class CostConfig:
    """What is timed."""

    widths: str = option("256,256", "units of the hidden layers", group="benchmark")
    batch_size: int = option(128, "examples per step", group="benchmark", low=1, high=60_000)
    train_epochs: float = option(
        3.0, "epochs of training before the cosine is measured", group="benchmark", low=0.0, high=100.0
    )
    steps: int = option(20, "training steps per timed call", group="benchmark", low=1, high=2**31 - 1)
    repeats: int = option(timing.LEAST_REPEATS, "rounds", group="benchmark", low=timing.LEAST_REPEATS, high=1000)
    json: str = option("", "file for the rows", group="benchmark")
    write: bool = option(False, "write the table into benchmarks/README.md", group="benchmark")


class Runner:
    """Training steps of one scheme: `runner(seed)` takes `steps` of them from where the last call ended."""

    def __init__(self, config: CostConfig, case: Case, train: dict):
        self.target = case.target
        setting = energy_learning.EnergyLearningConfig(
            dataset="mnist", seeds=1, scheme=case.scheme, energy=case.energy, widths=config.widths, weight_scale=0.5,
            activation="relu", beta=0.05 if case.energy == "predictive_coding" else 0.5, free_sweeps=case.free,
            nudged_sweeps=case.nudged, batch_size=config.batch_size, **({"step_size": 0.25} | dict(case.options)),
        )  # fmt: skip
        self.config, self.setting, self.train, self.beta = config, setting, train, setting.beta
        self.model = energy_learning.build_model(setting, train["y"].shape[1])
        settings = energy_learning.build_settings(setting)
        self.grad_fn = energy_learning.build_scheme(case.scheme, self.model, settings)
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

    def learn(self) -> None:
        """Train for `train_epochs`."""
        calls = self.config.train_epochs * len(self.train["x"]) / (self.config.batch_size * self.config.steps)
        for seed in range(math.ceil(calls)):
            self(10_000 + seed)

    def cosine(self) -> float:
        """Return the cosine of the gradient with the exact one over all weights and biases, at the best beta, kept."""
        batch = {name: array[: self.config.batch_size] for name, array in self.train.items()}
        exact = energy_learning.backprop(self.model)
        if energy_learning.SCHEMES[self.setting.scheme].feedback:
            relaxed = energy_learning.Minimiser(200, 1e-5)
            exact = energy_learning.recurrent_backprop(self.model, energy_learning.Phases(relaxed, relaxed))
        reference = self._gradient(exact, batch)
        cosines = {}
        for beta in BETAS[self.setting.energy]:
            settings = energy_learning.build_settings(dataclasses.replace(self.setting, beta=beta))
            grad_fn = energy_learning.build_scheme(self.setting.scheme, self.model, settings)
            gradient = self._gradient(grad_fn, batch)
            norms = np.linalg.norm(gradient) * np.linalg.norm(reference)
            cosines[beta] = float(gradient @ reference / max(norms, 1e-30))
        self.beta = max(cosines, key=cosines.get)
        return cosines[self.beta]

    def _gradient(self, grad_fn, batch: dict) -> np.ndarray:
        grads = jax.jit(grad_fn)(self.state.params, None, None, batch)[0]
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])


def run(config: CostConfig, workdir: Path) -> None:
    """Check, time, print and write. UserError if the gradient of a scheme was wrong."""
    timing.disable_compilation_cache()
    images, labels = data.split(data.load("mnist"), "train")
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    train = {"x": jnp.asarray(flat), "y": jnp.asarray(np.eye(10, dtype=np.float32)[labels])}
    runners = [Runner(config, case, train) for case in CASES]
    cosines = []
    for runner in runners:
        runner.learn()
        cosines.append(runner.cosine())
    wrong = [f"{r.setting.scheme} ({c:.2f})" for r, c in zip(runners, cosines, strict=True) if not c > GATE]
    refusal = (
        f"cosine to the exact gradient of {', '.join(wrong)}; allowed: above {GATE} after {config.train_epochs} epochs"
    )
    if not cosines[0] > GATE:
        raise UserError(refusal)
    runners = [runner for runner, cosine in zip(runners, cosines, strict=True) if cosine > GATE]
    cosines = [cosine for cosine in cosines if cosine > GATE]
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
    if wrong:
        print(f"not timed: {refusal}", file=sys.stderr)
        sys.exit(1)


def table(config: CostConfig, runners: list[Runner], cosines: list[float], times: np.ndarray, n: int) -> list[dict]:
    """Return medians over the rounds; ratios are taken within a round, because slow spells hit whole rounds."""
    epoch = times * n / (config.steps * config.batch_size)
    ratio = np.median(times / times[:, :1], axis=0)
    rows = []
    for k, (runner, cosine) in enumerate(zip(runners, cosines, strict=True)):
        setting = runner.setting
        rows.append(
            {
                "scheme": setting.scheme,
                "energy": setting.energy,
                "sweeps": f"{setting.free_sweeps} + {setting.nudged_sweeps}"
                + (", by errors" if setting.sweep == "errors" else ""),
                "s per epoch": float(np.median(epoch[:, k])),
                "range": f"{epoch[:, k].min():.2g}-{epoch[:, k].max():.2g}",
                "x backprop": float(ratio[k]),
                "target": runner.target,
                "beta": runner.beta,
                "cosine to exact": cosine,
                "compile s": runner.compile_s,
            }
        )
    return rows


if __name__ == "__main__":
    runs.main(CostConfig, run)
