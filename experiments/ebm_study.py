"""Run the whole study of Potts energy-based models: its commands in turn, each in a folder of its own.

  python -m experiments.ebm_study --workdir=runs/ebm              about two hours on 2 CPU cores
  python -m experiments.ebm_study --quick --workdir=runs/quick    about ten minutes, to check that everything runs

The parts are: models of one digit with likelihood, convergence, energy, pictures and blind test; the search; all
digits; the lattices. The same command resumes a study that was stopped, and a part that fails does not stop the
others. summary.md names every part with its time and its record.
"""

import dataclasses

from jaxgen import runs
from jaxgen.potts.studies import commands
from jaxgen.potts.studies.commands import Part
from jaxgen.runs import option

FLAGS = "--flagfile=experiments/flags/"


def parts() -> list[Part]:
    """Return the parts in order: what reads a trained model comes after its training."""
    fresh = ("--steps=60", "--eval_every=60", "--checkpoint_every=60", "--fresh_chains=2000", "--fresh_sweeps=50")
    annealing = ("--temperatures=200", "--chains=32", "--sweeps=50")
    chains = ("--chains=4", "--sweeps=100", "--slow_chains=2", "--slow_sweeps=50", "--replicas=2")
    chosen = []
    for seed in range(3):
        digit = f"digit3_seed{seed}"
        chosen.append(Part("ebm_cd", digit, "result.json", (f"{FLAGS}ebm_digit3.flags", f"--seed={seed}"), fresh))
        chosen.append(Part("ebm_likelihood", digit, "likelihood.json", (), annealing))
    chosen += [
        Part("ebm_convergence", "digit3_seed0", "convergence.json", (), chains),
        Part("ebm_energy", "digit3_seed0", "energy.json", (), ("--seconds=0.2",)),
        Part("ebm_pictures", "digit3_seed0", "figures/dynamics.gif", (), ("--images=100", "--sweeps=100")),
        Part("ebm_blind", "blind", "sheet.png", ("--samples={study}/digit3_seed0/samples/final.npz", "--classes=3")),
        Part("ebm_cd", "nearest", "result.json", (f"{FLAGS}ebm_digit3_nearest.flags",), fresh),
        Part("ebm_convergence", "nearest", "convergence.json", ("--columns",), chains),
        Part("ebm_search", "search", "result.json", (f"{FLAGS}ebm_search.flags",), ("--quick",)),
        Part("ebm_digits", "digits", "result.json", (f"{FLAGS}ebm_digits.flags",), ("--quick",)),
        Part("ebm_digits", "digits_labels", "result.json", (f"{FLAGS}ebm_digits_labels.flags",), ("--quick",)),
        Part("ebm_lattices", "lattices", "result.json", (), ("--quick",)),
    ]
    return chosen


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Whether the study is a short one."""

    quick: bool = option(False, "few updates, chains and sweeps in every part", group="study")


def run(config: StudyConfig, workdir) -> None:
    """Run the parts that are not done yet, then print the summary."""
    with runs.RunFolder.open(workdir, config) as folder:
        print(commands.run_parts(parts(), folder.path, config.quick), end="")


if __name__ == "__main__":
    runs.main(StudyConfig, run)
