"""A reader of the newest checkpoint beside a run that keeps writing and deleting checkpoints."""

import contextlib
import time
from pathlib import Path
from typing import Any

from benchmarks.fault_injection.damage import row
from benchmarks.fault_injection.full_disk import run_folder
from jaxgen import diffusion, energy_learning, information, pmflow, potts, runs, training, vae
from jaxgen.errors import UserError
from jaxgen.potts.restricted.config import RestrictedConfig
from jaxgen.potts.restricted.task import RestrictedTask

TASKS: dict[str, tuple[type, Any]] = {
    "ebm_cd": (potts.PottsConfig, potts.PottsTask),
    "ebm_denoising": (potts.denoising.DenoisingConfig, potts.denoising.task.DenoisingTask),
    "ebm_restricted": (RestrictedConfig, RestrictedTask),
    "vae": (vae.VAEConfig, vae.VAETask),
    "diffusion": (diffusion.DiffusionConfig, diffusion.DiffusionTask),
    "pmflow": (pmflow.ModelConfig, pmflow.PMFlowTask),
    "energy_learning": (energy_learning.EnergyLearningConfig, energy_learning.EnergyTask),
    "information_bound": (information.InformationConfig, information.InformationTask),
}


def template(command: str, workdir: Path) -> training.TrainState:
    """Return the state that a run of a command starts from, which says what its checkpoints hold."""
    config_type, task = TASKS[command]
    config = runs.read_config(config_type, run_folder(workdir) / "config.json", f"experiments.{command}")
    return task.load(config).initial_state()[0]


def reader_row(command: str, process: Any, workdir: Path, count: int) -> dict:
    """Read the newest checkpoint of a running process `count` times, by a new reader each time, as fast as it goes.

    A reading has survived if it gave a whole state, at a step that is not below that of the reading before.
    """
    like, survived, steps, running = template(command, workdir), 0, [0], True
    begin = time.perf_counter()
    for _ in range(count):
        running = running and process.poll() is None
        checkpoints = training.Checkpoints(run_folder(workdir) / "checkpoints", read_only=True)
        with contextlib.suppress(UserError):
            state = checkpoints.restore_latest(like)
            if state is not None:
                survived += int(state.step) >= steps[-1]
                steps.append(int(state.step))
        checkpoints.close()
    seconds = time.perf_counter() - begin
    note = f"{len(set(steps)) - 1} different checkpoints in {seconds:.0f} s" + "; the run had ended" * (not running)
    return row("reader beside a writing run", command, count, survived * running, note)
