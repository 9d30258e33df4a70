"""Trained denoising machines that the package ships: NAME.npz with float16 arrays, NAME.json with config and hash.

    model = potts.load_pretrained("denoising_digits")
    images = potts.denoising.generate(jax.random.key(0), model, np.arange(10), potts.denoising.Generation(guidance=1.4))

The arrays are the moving average of the parameters, the statistics of the training images and the pixels drawn.
`denoising_digits` was made by

    python -m experiments.ebm_denoising --flagfile=experiments/flags/denoising_digits.flags --workdir=runs/denoising
    python -m experiments.ebm_pretrained --workdir=runs/denoising --name=denoising_digits
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import runs
from jaxgen.potts.denoising.config import DenoisingConfig
from jaxgen.potts.denoising.generate import Denoiser
from jaxgen.potts.denoising.machine import DenoisingMachine, Statistics
from jaxgen.potts.denoising.task import restore_denoiser
from jaxgen.training.weights import read_model, write_model

PACKAGED = Path(__file__).parent / "weights"


def load_pretrained(name: str = "denoising_digits", folder: str | Path = PACKAGED) -> Denoiser:
    """Return a trained machine with float32 parameters, ready for `generate`.

    Args:
        name: of the files.
        folder: where they are, by default in the package.

    Raises:
        UserError: no such files, or arrays that are not those that were written.
    """
    description, arrays = read_model(Path(folder), name)
    config = runs.from_json(DenoisingConfig, json.dumps(description["config"]))
    params = jax.tree.map(jnp.asarray, arrays["params"])
    drawn, classes = arrays["drawn"]["mask"], params["hidden_label"].shape[1]
    pixels = np.flatnonzero(drawn)
    machine = DenoisingMachine(len(pixels), config.levels, config.hidden, config.noise_steps, classes)
    statistics = Statistics(*(jnp.asarray(arrays["statistics"][name]) for name in Statistics._fields))
    return Denoiser(machine, params, statistics, pixels, drawn.shape)


def write_pretrained(workdir: str | Path, name: str = "denoising_digits") -> list[Path]:
    """Write WORKDIR/weights/NAME.npz and NAME.json of a trained run; return their paths."""
    task, model = restore_denoiser(workdir)
    config = dataclasses.asdict(dataclasses.replace(task.config, data_dir="", images=""))
    drawn = model.images(np.ones((1, len(model.pixels)), np.uint8))[0]
    arrays = {"params": model.params, "statistics": model.statistics._asdict(), "drawn": {"mask": drawn}}
    return write_model(Path(workdir) / "weights", name, {"config": config}, arrays)
