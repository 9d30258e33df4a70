"""Trained models that the package ships: NAME.npz with float16 arrays, NAME.json with config and hash.

    model = potts.load_pretrained("denoising_digits")
    images = potts.denoising.generate(jax.random.key(0), model, np.arange(10), potts.denoising.Generation(guidance=1.4))

    model, params = potts.load_pretrained("digit3")
    x, _ = gibbs.sample(key, model.lattice, params, potts.noise(key_start, model, 64), n_sweeps=2000)

They were made by

    python -m experiments.ebm_denoising --flagfile=experiments/flags/denoising_digits.flags --workdir=runs/denoising
    python -m experiments.ebm_pretrained --workdir=runs/denoising --name=denoising_digits
    python -m experiments.ebm_cd --flagfile=experiments/flags/ebm_digit3.flags --workdir=runs/digit3
    python -m experiments.ebm_pretrained --workdir=runs/digit3 --name=digit3
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import runs
from jaxgen.potts.config import PottsConfig, build_model
from jaxgen.potts.denoising.config import DenoisingConfig
from jaxgen.potts.denoising.generate import Denoiser
from jaxgen.potts.denoising.machine import DenoisingMachine, Statistics
from jaxgen.potts.denoising.task import restore_denoiser
from jaxgen.potts.model import PottsEBM
from jaxgen.potts.task import restore_run
from jaxgen.training.weights import read_model, write_model

PACKAGED = Path(__file__).parent / "weights"


def load_pretrained(name: str = "denoising_digits", folder: str | Path = PACKAGED) -> Denoiser | tuple[PottsEBM, dict]:
    """Return a trained model with float32 parameters.

    Args:
        name: of the files. "denoising_digits" is a denoising machine of all digits, "digit3" the Potts model of the
            digit 3 that README trains.
        folder: where they are, by default in the package.

    Returns:
        A denoising machine as a `Denoiser`, ready for `denoising.generate`, which holds the moving average of the
        parameters, the statistics of the training images and the pixels drawn; a Potts model as the pair of model and
        parameters that `gibbs.sample` and `inpaint` take.

    Raises:
        UserError: no such files, or arrays that are not those that were written.
    """
    description, arrays = read_model(Path(folder), name)
    config = json.dumps(description["config"])
    if "noise_steps" in description["config"]:
        return _denoiser(runs.from_json(DenoisingConfig, config), arrays)
    classes = arrays["label_coupling"].shape[-1] if "label_coupling" in arrays else 0
    model = build_model(runs.from_json(PottsConfig, config), arrays["bias"].shape[:2], classes)
    return model, jax.tree.map(jnp.asarray, arrays)


def write_pretrained(workdir: str | Path, name: str) -> list[Path]:
    """Write WORKDIR/weights/NAME.npz and NAME.json of a run of ebm_cd or ebm_denoising; return their paths.

    UserError for a folder without such a run, or a name that is not 1 to 40 small letters, digits and underscores.
    """
    workdir = Path(workdir)
    path, made_by = workdir / "config.json", "a folder of experiments.ebm_cd or experiments.ebm_denoising"
    if path.exists() and "noise_steps" in runs.read_json(path, "config", made_by):
        task, model = restore_denoiser(workdir)
        drawn = model.images(np.ones((1, len(model.pixels)), np.uint8))[0]
        arrays = {"params": model.params, "statistics": model.statistics._asdict(), "drawn": {"mask": drawn}}
    else:
        task, state = restore_run(workdir)
        arrays = state.params
    config = dataclasses.asdict(dataclasses.replace(task.config, data_dir="", images=""))
    return write_model(workdir / "weights", name, {"config": config}, arrays)


def _denoiser(config: DenoisingConfig, arrays: dict) -> Denoiser:
    params = jax.tree.map(jnp.asarray, arrays["params"])
    drawn, classes = arrays["drawn"]["mask"], params["hidden_label"].shape[1]
    pixels = np.flatnonzero(drawn)
    machine = DenoisingMachine(len(pixels), config.levels, config.hidden, config.noise_steps, classes)
    statistics = Statistics(*(jnp.asarray(arrays["statistics"][name]) for name in Statistics._fields))
    return Denoiser(machine, params, statistics, pixels, drawn.shape)
