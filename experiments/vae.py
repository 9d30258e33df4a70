"""Train a variational autoencoder, bound its log-likelihood on the test images, draw samples and judge them.

  python -m experiments.vae --flagfile=experiments/flags/vae_binary.flags --workdir=runs/vae_binary
  python -m experiments.vae --flagfile=experiments/flags/vae_4levels_labels.flags --workdir=runs/vae_4levels
  python -m experiments.vae --flagfile=experiments/flags/vae_grey_labels.flags --workdir=runs/vae_grey

The run folder then holds samples/draws.npz (draws from the model: z from the prior, then x from p(x | z)),
samples/means.npz (the mean of p(x | z) for the same z, smoother than any sample), figures/samples.png,
figures/reconstructions.png, figures/curves.png, checkpoints, metrics.jsonl, tensorboard/ and result.json.
The same command again resumes a run that was stopped.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from jaxgen import evaluation, runs, training, vae, visualization


def run(config: vae.VAEConfig, workdir: Path) -> None:
    """Train, then bound, draw and judge."""
    start = time.perf_counter()
    runs.configure()
    task = vae.VAETask.load(config)
    state, tx = task.initial_state()
    step = training.parallel_step(task.grad_fn(), tx)
    with runs.RunFolder.open(workdir, config) as folder:
        hooks = [vae.evaluation_hook(task, folder.log)]
        state = training.fit(state, step, task.arrays(), task.order(), folder, task.fit_options(), hooks)
        drawn = vae.draw_samples(task, state.params)
        save(task, drawn, folder.samples)
        figures(task, state.params, drawn, folder)
        rows = measured(task, state.params, drawn, folder)
        print(*rows, sep="\n")
        rows += judged(task, drawn)
        runs.write_record(
            folder.path / "result.json",
            title=title(config),
            family="Variational autoencoder",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(f"samples: {folder.figures / 'samples.png'}")


def title(config: vae.VAEConfig) -> str:
    """One line about a run."""
    coding = {2: "stochastically binarised", 256: "8-bit"}.get(config.levels, f"{config.levels} levels")
    classes = ", class-conditional" if config.conditional else ""
    return f"{config.dataset} {coding}, {config.network}{classes}"


def measured(task: vae.VAETask, params: dict, drawn: vae.Drawn, folder: runs.RunFolder) -> list[runs.Row]:
    """Bounds of the test images, and what training and sampling cost."""
    found = vae.measure_bounds(task, params)
    seconds = vae.training_seconds(runs.read_metrics(folder.path / "metrics.jsonl"), task.config.batch_size)
    return vae.rows(task, params, found, drawn, seconds)


def save(task: vae.VAETask, drawn: vae.Drawn, path: Path) -> None:
    """draws.npz and means.npz."""
    levels = task.config.levels
    labels = {} if drawn.labels is None else {"labels": drawn.labels}
    draws = {"images": drawn.states} if levels == 256 else {"states": drawn.states, "levels": levels}
    for name, arrays in {"draws": draws, "means": {"images": drawn.means}}.items():
        with runs.atomic_write(path / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, **arrays, **labels)


def figures(task: vae.VAETask, params: dict, drawn: vae.Drawn, folder: runs.RunFolder) -> None:
    """samples.png, reconstructions.png and curves.png."""
    levels = task.config.levels
    columns, shown = (8, np.arange(32)) if task.test_label is None else (10, one_of_each(task.test_label, 40))
    test = vae.grey(task.test[shown], levels)
    visualization.samples_figure(
        folder.figures / "samples.png",
        [
            ("test images", test),
            ("samples: draws from p(x | z)", vae.grey(drawn.states[: len(shown)], levels)),
            ("means of p(x | z), same z", drawn.means[: len(shown)]),
        ],
        columns=columns,
    )
    visualization.samples_figure(
        folder.figures / "reconstructions.png",
        [
            ("test images", test),
            ("reconstructions: means at the mean of q(z | x)", vae.reconstructions(task, params, shown)),
        ],
        columns=columns,
    )
    records = runs.read_metrics(folder.path / "metrics.jsonl")

    def curve(name: str, sign: int = 1) -> tuple[list, list]:
        kept = [(record["step"], sign * record[name]) for record in records if name in record]
        return [step for step, _ in kept], [value for _, value in kept]

    panels = {
        "ELBO (nats)": {"training": curve("loss", -1), "validation": curve("validation_elbo")},
        "KL(q || prior) (nats)": {"training": curve("kl"), "validation": curve("validation_kl")},
        "gradient norm": {"": curve("grad_norm")},
    }
    visualization.curves_figure(folder.figures / "curves.png", panels, xlabel="step")


def one_of_each(label: np.ndarray, n: int) -> np.ndarray:
    """Indices of n test images, classes in turn as those of the samples are."""
    members = [np.flatnonzero(label == digit) for digit in range(10)]
    return np.array([members[k % 10][k // 10 % len(members[k % 10])] for k in range(n)])


def named(row: runs.Row, name: str) -> runs.Row:
    """A row of the panel that says of which images it is."""
    return dataclasses.replace(row, quantity=f"{row.quantity}, {name}")


def judged(task: vae.VAETask, drawn: vae.Drawn) -> list[runs.Row]:
    """The panel's figures of draws, in their own coding, and of means, as 8-bit images; none for too few samples."""
    config = task.config
    if len(drawn.states) < evaluation.MIN_SAMPLES:
        return []
    levels = None if config.levels == 256 else config.levels
    rows = []
    for name, images, coding in (
        ("draws", vae.grey(drawn.states, config.levels), levels),
        ("means", drawn.means, None),
    ):
        reference = evaluation.load_reference(config.dataset, coding, data_dir=config.data_dir or None)
        result = evaluation.evaluate(images, drawn.labels, reference)
        print(f"\n{name}\n{evaluation.table(result)}\n")
        rows += [named(row, name) for row in evaluation.rows(result)]
    return rows


if __name__ == "__main__":
    runs.main(vae.VAEConfig, run, distributed=True)
