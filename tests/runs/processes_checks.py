"""What one of two processes of test_training_processes.py does; prints what it saw as JSON."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import runs, training
from jaxgen.runs import option, processes
from jaxgen.training.parallel import any_process


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = option(0.1, "anything", group="run")


def refusal(what, values):
    try:
        processes.require_same(what, values)
    except ValueError as error:
        return str(error)


def run(config, workdir):
    me = jax.process_index()
    tree = {"key": jax.random.key(me), "w": jnp.asarray([-0.0, 1.0 + me, jnp.nan]), "b": jnp.asarray([me], jnp.uint8)}
    got = training.parallel.tree_from_first(tree)
    data = {"x": np.arange(6.0).reshape(2, 3)}
    other = {"x": data["x"] + 1e-12 * me}
    index = training.shard_index(np.arange(8))
    asked = any_process()
    carry = np.arange(16).reshape(8, 2)
    stacked = training.replicate_state(training.TrainState(0, {}, None, (), {"x": carry}, jax.random.key(0)))
    log = runs.Logger(workdir)
    log.rewind(0)
    if me == 0:
        log.scalars(1, {"loss": 0.5})
    log.rewind(1)
    seen = {
        "key": int(jax.random.key_data(got["key"])[1]),
        "bytes": [np.asarray(got[name]).tobytes().hex() for name in ("w", "b")],
        "agree": [refusal("data", processes.fingerprints(data)), refusal("data", processes.fingerprints(other))],
        "index": index.tolist(),
        "asked": [int(asked(False)), int(asked(me == 1))],
        "carry": np.asarray(stacked.carry["x"]).tolist(),
        "whole": bool((training.unreplicate_state(stacked).carry["x"] == carry).all()),
        "records": runs.read_metrics(workdir / "metrics.jsonl")[0]["loss"],
        "workdir": str(workdir),
    }
    processes.require_same("checks", {})
    print("SEEN " + json.dumps(seen), file=sys.stderr, flush=True)


if __name__ == "__main__":
    runs.main(Config, run, distributed=True)
    # The processes have joined; a second program of theirs finds its flags to differ.
    runs.main(Config, run, ["again", f"--rate={0.1 * (1 + jax.process_index())}"], distributed=True)
