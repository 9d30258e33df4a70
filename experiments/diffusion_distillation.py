"""Train students that draw the images of a trained flow in one or two evaluations of the network.

  python -m experiments.diffusion --flagfile=experiments/flags/diffusion_compact_long.flags --workdir=runs/teacher
  python -m experiments.diffusion_distillation --teacher=runs/teacher --workdir=runs/students
  python -m experiments.diffusion_sample --workdir=runs/students/students/1 --sampler=euler --steps=1 --guidance=1

The run folder then holds result.json, the Frechet distance of every student's samples to the held-out images beside
that of the teacher in as many steps, figures/students.png, and under students/ a run folder for every student, from
which experiments.diffusion_sample draws. The same command again resumes one that was stopped.
"""

from jaxgen import runs
from jaxgen.diffusion.studies.distillation import DistillationConfig, prepare


def run(config: DistillationConfig, workdir) -> None:
    """Draw the teacher's paths, train and compare the students, write the record."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(DistillationConfig, run)
