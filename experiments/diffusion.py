"""Train a class-conditional diffusion model, draw samples, bound its likelihood and evaluate it.

  python -m experiments.diffusion --flagfile=experiments/flags/diffusion_tiny.flags --workdir=runs/tiny

The run folder then holds figures/samples.png (training images beside samples, one class per column),
figures/curves.png, samples/final.npz for experiments.evaluate, checkpoints with the moving average, metrics.jsonl,
tensorboard/ and result.json. The same command again resumes a run that was stopped.
"""

from jaxgen import diffusion, runs, training


def run(config: diffusion.DiffusionConfig, workdir) -> None:
    """Train, then draw, measure and evaluate."""
    training.run_task(diffusion.DiffusionTask.load, diffusion.with_images(config), workdir)


if __name__ == "__main__":
    runs.main(diffusion.DiffusionConfig, run, distributed=True)
