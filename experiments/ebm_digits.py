"""All ten digits: a Potts model for each, trained together, or one class-conditional model; by seed.

  python -m experiments.ebm_digits --flagfile=experiments/flags/ebm_digits.flags --workdir=runs/digits
  python -m experiments.ebm_digits --flagfile=experiments/flags/ebm_digits_labels.flags --workdir=runs/digits_labels
  python -m experiments.ebm_digits --quick --workdir=runs/digits_quick

The folder then holds figures/samples.png, ten samples of every digit; samples/seed0.npz and so on, which
experiments.evaluate takes; result.json with conditional accuracy, Frechet distance, likelihood of the mixture and
Bayes' classifier, over the seeds. The same command again goes on with a run that was stopped.
"""

import time

import numpy as np

from jaxgen import runs, visualization
from jaxgen.potts.studies.digits import DigitsConfig, DigitsTask, effective_digits, train_digits
from jaxgen.potts.studies.digits_measure import measure_digits


def run(config: DigitsConfig, workdir) -> None:
    """Train, sample, anneal, judge."""
    start = time.perf_counter()
    runs.configure()
    task = DigitsTask.load(effective_digits(config))
    with runs.RunFolder.open(workdir, config) as folder:
        params = train_digits(task, folder)
        rows, samples = measure_digits(task, params, folder)
        figure(task, samples[config.seed], folder.figures / "samples.png")
        runs.write_record(
            folder.path / "result.json",
            title=task.title + ", quick" * config.quick,
            family="Potts energy-based model",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"{folder.path / 'result.json'}\n{folder.figures / 'samples.png'}")


def figure(task: DigitsTask, samples, path) -> None:
    """A row a digit: ten training images, ten samples of the first seed."""
    levels, (states, labels), rng = task.config.levels, samples, np.random.default_rng(task.config.seed)
    train, panels = np.asarray(task.train), []
    sources = {"training images": (train, task.train_label), "samples": (states, labels)}
    for name, (images, of) in sources.items():
        rows = [rng.choice(np.flatnonzero(of == y), 10, replace=False) for y in task.digits]
        panels.append((name, images[np.concatenate(rows)], levels))
    visualization.samples_figure(path, panels, columns=10)


if __name__ == "__main__":
    runs.main(DigitsConfig, run)
