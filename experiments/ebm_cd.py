"""Train a Potts energy-based model of MNIST by contrastive divergence with block Gibbs sampling.

  python -m experiments.ebm_cd --flagfile=experiments/flags/ebm_digit3.flags --workdir=runs/digit3

The run folder then holds figures/samples.png (data beside samples), figures/curves.png, samples/fresh.npz, checkpoints,
metrics.jsonl, tensorboard/ and result.json. The same command again resumes a run that was stopped.
"""

import time

import jax
import numpy as np

from jaxgen import data, potts, training, visualization


def run(config: potts.PottsConfig, workdir) -> None:
    """Train, then draw and measure fresh samples."""
    start = time.perf_counter()
    training.configure()
    task = potts.PottsTask.load(config)
    state, tx = task.initial_state()
    key_order, key_fresh = jax.random.split(jax.random.fold_in(state.key, 2**31))
    step = training.parallel_step(task.grad_fn(), tx)
    order = data.EpochOrder(key_order, len(task.train), config.batch_size)
    with training.RunFolder.open(workdir, config) as folder:
        folder.log.text(0, "config", f"```\n{training.to_flagfile(config)}```")
        hooks = [potts.evaluation_hook(task, folder.log)]
        state = training.fit(state, step, task.arrays(), order, folder, task.fit_options(), hooks)
        rows = finish(task, state.params, key_fresh, folder)
        training.write_record(
            folder.path / "result.json",
            title=task.title,
            family="Potts energy-based model",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"samples: {folder.figures / 'samples.png'}")


def finish(task: potts.PottsTask, params: dict, key, folder: training.RunFolder) -> list[training.Row]:
    """Fresh samples, figures and the numbers of the record."""
    config = task.config
    fresh = potts.fresh_samples(task, params, key, config.fresh_chains, config.fresh_sweeps)
    with training.atomic_write(folder.samples / "fresh.npz") as temporary:
        np.savez_compressed(temporary, states=np.asarray(fresh), levels=config.levels)
    shown = np.random.default_rng(config.seed).choice(len(task.train), 64, replace=len(task.train) < 64)
    order = np.linspace(0, len(fresh) - 1, 64).astype(int)
    visualization.samples_figure(
        folder.figures / "samples.png",
        [
            ("training data", task.train[shown], config.levels),
            (f"samples, {config.fresh_sweeps} sweeps from noise", fresh[order], config.levels),
        ],
        columns=8,
    )
    curves(folder)
    return potts.final_rows(task, params, fresh)


def curves(folder: training.RunFolder) -> None:
    """figures/curves.png from metrics.jsonl."""
    records = training.read_metrics(folder.path / "metrics.jsonl")

    def curve(name):
        kept = [(record["step"], record[name]) for record in records if name in record]
        return [step for step, _ in kept], [value for _, value in kept]

    panels = {
        "energy": {"data": curve("data_energy"), "chains": curve("sample_energy")},
        "gradient norm": {"": curve("grad_norm")},
        "autocorrelation of chains over k sweeps": {"": curve("lag_autocorrelation")},
        "log pseudo-likelihood, validation (nats)": {"": curve("validation_log_pl")},
        "moment errors, 512 fresh chains": {"P(x_i)": curve("marginal_error"), "P(x_i, x_j)": curve("pair_error")},
        "learning rate": {"": curve("learning_rate")},
    }
    log = ["gradient norm", "moment errors, 512 fresh chains"]
    visualization.curves_figure(folder.figures / "curves.png", panels, xlabel="step", log=log)


if __name__ == "__main__":
    training.main(potts.PottsConfig, run, distributed=True)
