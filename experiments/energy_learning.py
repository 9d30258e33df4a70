"""Train networks by a local learning scheme on XOR, MNIST or Fashion-MNIST, and read them without labels.

  python -m experiments.energy_learning --flagfile=experiments/flags/xor.flags --workdir=runs/xor
  python -m experiments.energy_learning --flagfile=experiments/flags/xor.flags --scheme=first_step --workdir=runs/first
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_ep.flags --workdir=runs/mnist_ep
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_ep_conv.flags --workdir=runs/mnist_ep_conv
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_pc.flags --workdir=runs/mnist_pc
  python -m experiments.energy_learning --flagfile=experiments/flags/mnist_pc_deep.flags --workdir=runs/mnist_pc_deep
  python -m experiments.energy_learning --faithful --workdir=runs/xor_original

The run folder then holds figures/curves.png (energy, cost, label-free error), for XOR also figures/xor.png (decision
surfaces, truth tables) and figures/network.png, checkpoints, metrics.jsonl, tensorboard/ and result.json. The same
command again resumes a run that was stopped. --faithful trains the four schemes of the original notebook as written
there, and reads them with and without the label.
"""

from jaxgen import energy_learning, runs, training
from jaxgen.energy_learning import original


def run(config: energy_learning.EnergyLearningConfig, workdir) -> None:
    """Train, then read the networks without labels."""
    if config.faithful:
        runs.execute(config, workdir, original.prepare)
    else:
        training.run_task(energy_learning.EnergyTask.load, config, workdir)


if __name__ == "__main__":
    runs.main(energy_learning.EnergyLearningConfig, run, distributed=True)
