"""Train the two classifiers of the evaluation panel, and measure floors and ceilings of every figure with them.

  python -m experiments.evaluation_reference --dataset=mnist --workdir=runs/evaluation_mnist
  python -m experiments.evaluation_reference --dataset=fashion_mnist --workdir=runs/evaluation_fashion

Training sees 54,000 training images; 6,000 are watched, and nothing is selected by them. The run folder then holds
weights/, which `experiments.evaluate --reference=...` reads; copied to jaxgen/evaluation/weights they are what the
package ships. The same command again resumes a run that was stopped.
"""

import dataclasses
import statistics
import time
from pathlib import Path

from jaxgen import data, evaluation, runs
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
    dataset: str = option("mnist", "images to judge", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    seed: int = seed_option("seed of networks, order of batches, shifts and ceilings", group="run")
    feature_steps: int = option(
        6000, "parameter updates of the feature network", group="optimiser", low=1, high=2**31 - 1
    )
    accuracy_steps: int = option(
        8000, "parameter updates of the accuracy network", group="optimiser", low=1, high=2**31 - 1
    )


def run(config: ReferenceConfig, workdir: Path) -> None:
    """Train, measure, write."""
    runs.configure()
    images = data.load(config.dataset, data_dir=config.data_dir or None)
    params, seconds = {}, {}
    with runs.RunFolder.open(workdir, config) as folder:
        for name, steps in (("features", config.feature_steps), ("accuracy", config.accuracy_steps)):
            one = evaluation.ClassifierConfig(network=name, seed=config.seed, steps=steps)
            with runs.RunFolder.open(folder.path / name, one) as inner:
                train, validation = (data.split(images, part) for part in ("train", "validation"))
                params[name] = evaluation.train_classifier(one, inner, train, validation)
                seconds[name] = training_seconds(inner, one)
        start = time.perf_counter()
        binding = evaluation.write_reference(images, params, folder.path / "weights", config.seed)
        rows = evaluation.reference_rows(binding, seconds)
        runs.write_record(
            folder.path / "result.json",
            title=f"reference of {config.dataset}",
            family="Evaluation panel",
            rows=rows,
            config=config,
            wall_time_s=sum(seconds.values()) + time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"reference: {folder.path / 'weights'}")


def training_seconds(folder: runs.RunFolder, config: evaluation.ClassifierConfig) -> float:
    """Seconds of all training steps, also of those before a stop, from the speeds that were recorded."""
    records = [record for record in runs.read_metrics(folder.path / "metrics.jsonl") if "images_per_s" in record]
    return config.steps * config.batch_size / statistics.harmonic_mean([r["images_per_s"] for r in records])


if __name__ == "__main__":
    runs.main(ReferenceConfig, run)
