"""Train a class-conditional diffusion model of MNIST, draw its digits, bound its likelihood and judge it.

  python -m experiments.diffusion --flagfile=experiments/flags/diffusion_tiny.flags --workdir=runs/tiny

The run folder then holds figures/samples.png (training images beside samples, one class a column), figures/curves.png,
samples/final.npz for experiments.evaluate, checkpoints with the moving average, metrics.jsonl, tensorboard/ and
result.json. The same command again resumes a run that was stopped.
"""

import time
from pathlib import Path

import jax
import numpy as np

from jaxgen import data, diffusion, evaluation, runs, training, visualization


def run(config: diffusion.DiffusionConfig, workdir: Path) -> None:
    """Train, then draw, measure and judge."""
    start = time.perf_counter()
    runs.configure()
    task = diffusion.DiffusionTask.load(config)
    state, tx = task.initial_state()
    key_order, key_samples = jax.random.split(jax.random.fold_in(state.key, 2**31))
    step = training.parallel_step(task.grad_fn(), tx, config.ema_decay)
    order = data.EpochOrder(key_order, len(task.train), config.batch_size)
    with runs.RunFolder.open(workdir, config) as folder:
        folder.log.text(0, "config", f"```\n{runs.to_flagfile(config)}```")
        hooks = [diffusion.evaluation_hook(task, folder.log)]
        begin = time.perf_counter()
        state = training.fit(state, step, task.arrays(), order, folder, task.fit_options(), hooks)
        trained = time.perf_counter() - begin
        rows = finish(task, state.ema_params, key_samples, folder, trained)
        runs.write_record(
            folder.path / "result.json",
            title=f"{config.dataset}, {config.size} U-Net, {config.prediction}, {config.epochs:g} epochs",
            family="Diffusion",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"samples: {folder.figures / 'samples.png'}")


def finish(task: diffusion.DiffusionTask, params, key, folder: runs.RunFolder, trained: float) -> list[runs.Row]:
    """Samples, figures and the numbers of the record."""
    config = task.config
    settings = diffusion.final_settings(task)
    label = diffusion.classes_in_turn(config.samples)
    begin = time.perf_counter()
    images = diffusion.draw_images(key, task.diffusion, params, label, settings)
    seconds = time.perf_counter() - begin
    with runs.atomic_write(folder.samples / "final.npz") as temporary:
        np.savez_compressed(temporary, images=images, labels=label.astype(np.uint8))
    figures(task, images[:80], folder)
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    how = f"{settings.sampler}, {settings.steps} steps, w = {settings.w:g}"
    rows = diffusion.final_rows(task, params, records, trained)
    rows.append(runs.Row("time to draw the samples", seconds, "s", note=f"{len(images)} images, {how}, with compiling"))
    return rows + judged(config, images, label, how)


def judged(config: diffusion.DiffusionConfig, images, label, how: str) -> list[runs.Row]:
    """The panel's figures; none for too few samples, or for a dataset whose judges are not in the package."""
    if len(images) < evaluation.MIN_SAMPLES or config.dataset != "mnist":
        return []
    result = evaluation.evaluate(images, label, evaluation.load_reference(config.dataset))
    print(evaluation.table(result))
    accuracy = result.accuracy.overall
    target = ">= 0.95" if config.size == "tiny" else ">= 0.99"
    first = runs.Row(
        f"conditional accuracy at w = {config.guidance:g}",
        accuracy.value,
        target=target,
        note=f"95 % interval {accuracy.low:.4f} to {accuracy.high:.4f}; {how}",
    )
    return [first, *(row for row in evaluation.rows(result) if not row.quantity.startswith("conditional"))]


def figures(task: diffusion.DiffusionTask, images: np.ndarray, folder: runs.RunFolder) -> None:
    """samples.png and curves.png."""
    config = task.config
    label = diffusion.classes_in_turn(len(images))
    found = [np.flatnonzero(task.train_label == digit) for digit in range(10)]
    real = task.train[[found[digit][place // 10] for place, digit in enumerate(label)]]
    title = f"samples, {config.sampler}, {config.sample_steps} steps, w = {config.guidance:g}"
    panels = [("training images", real), (title, images)]
    visualization.samples_figure(folder.figures / "samples.png", panels, columns=10)
    records = runs.read_metrics(folder.path / "metrics.jsonl")

    def curve(name: str) -> tuple[list, list]:
        kept = [(record["step"], record[name]) for record in records if name in record]
        return [step for step, _ in kept], [value for _, value in kept]

    panels = {
        "mean squared error": {"training": curve("mse"), "held out, moving average": curve("held_out_loss")},
        "gradient norm before clipping": {"": curve("grad_norm")},
        "images a second": {"": curve("images_per_s")},
    }
    log = ["mean squared error", "gradient norm before clipping"]
    visualization.curves_figure(folder.figures / "curves.png", panels, xlabel="step", log=log)


if __name__ == "__main__":
    runs.main(diffusion.DiffusionConfig, run, distributed=True)
