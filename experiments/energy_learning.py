"""Train networks by a local learning scheme on XOR, MNIST or Fashion-MNIST, and read them without labels.

  python -m experiments.energy_learning --flagfile=experiments/flags/xor.flags --workdir=runs/xor
  python -m experiments.energy_learning --flagfile=experiments/flags/xor.flags --scheme=first_step --workdir=runs/first
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_ep.flags --workdir=runs/mnist_ep
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_pc.flags --workdir=runs/mnist_pc
  python -m experiments.energy_learning --faithful --workdir=runs/xor_source

The run folder then holds figures/curves.png (energy, cost, label-free error), for XOR also figures/xor.png (decision
surfaces, truth tables) and figures/network.png, checkpoints, metrics.jsonl, tensorboard/ and result.json. The same
command again resumes a run that was stopped. --faithful trains the four schemes of the notebook this family replaces,
as written there, and reads them with and without the label.
"""

import time
from pathlib import Path

from jaxgen import energy_learning, runs, training

FAMILY = "Energy-based learning"


def run(config: energy_learning.EnergyLearningConfig, workdir: Path) -> None:
    """Train, then read the networks without labels."""
    start = time.perf_counter()
    runs.configure()
    task = energy_learning.EnergyTask.load(config)
    with runs.RunFolder.open(workdir, config) as folder:
        if config.faithful:
            rows, title = energy_learning.source_rows(config), "the source's schemes as written, XOR"
        else:
            rows, title = train(task, folder), title_of(config)
        runs.write_record(
            folder.path / "result.json",
            title=title,
            family=FAMILY,
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"record: {folder.path / 'result.json'}")


def train(task: energy_learning.EnergyTask, folder: runs.RunFolder) -> list[runs.Row]:
    """Fit, draw and measure."""
    state, tx = task.initial_state()
    step = training.parallel_step(task.grad_fn(), tx)
    hooks = [energy_learning.evaluation_hook(task)]
    state = training.fit(state, step, task.train_arrays(), task.order(), folder, task.fit_options(), hooks)
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    energy_learning.curves_figure(folder.figures / "curves.png", records)
    if task.config.dataset == "xor":
        energy_learning.xor_figure(folder.figures / "xor.png", task, state.params)
        energy_learning.drawing_figure(folder.figures / "network.png", task, state.params)
    return energy_learning.result_rows(task, state, records)


def title_of(config: energy_learning.EnergyLearningConfig) -> str:
    """What was done, in a line."""
    return f"{config.dataset}, {config.scheme}, {config.energy}, hidden {config.widths}"


if __name__ == "__main__":
    runs.main(energy_learning.EnergyLearningConfig, run, distributed=True)
