"""Train a variational autoencoder, bound its log-likelihood on the test images, draw samples and evaluate them.

  python -m experiments.vae --flagfile=experiments/flags/vae_binary.flags --workdir=runs/vae_binary
  python -m experiments.vae --flagfile=experiments/flags/vae_4levels_labels.flags --workdir=runs/vae_4levels
  python -m experiments.vae --flagfile=experiments/flags/vae_grey_labels.flags --workdir=runs/vae_grey

The run folder then holds samples/draws.npz (draws from the model: z from the prior, then x from p(x | z)),
samples/means.npz (the mean of p(x | z) for the same z, smoother than any sample), figures/samples.png,
figures/reconstructions.png, figures/curves.png, checkpoints, metrics.jsonl, tensorboard/ and result.json.
The same command again resumes a run that was stopped.
"""

from jaxgen import runs, training, vae


def run(config: vae.VAEConfig, workdir) -> None:
    """Train, then bound the likelihood, draw and evaluate."""
    training.run_task(vae.VAETask.load, config, workdir)


if __name__ == "__main__":
    runs.main(vae.VAEConfig, run, distributed=True)
