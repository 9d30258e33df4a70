"""The training of the panel's two classifiers, and the reference that is measured with them."""

import dataclasses

from jaxgen import data, runs
from jaxgen.evaluation.classifier import ClassifierConfig, train_classifier
from jaxgen.evaluation.reference_build import write_reference
from jaxgen.evaluation.report import reference_rows
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
    """Dataset and trainings of a reference."""

    dataset: str = data.dataset_option("dataset of the reference")
    data_dir: str = data.data_dir_option()
    seed: int = seed_option("seed of networks, order of batches, shifts and ceilings", group="run")
    feature_steps: int = option(
        6000, "parameter updates of the feature network", group="optimiser", low=1, high=MOST_STEPS
    )
    accuracy_steps: int = option(
        8000, "parameter updates of the accuracy network", group="optimiser", low=1, high=MOST_STEPS
    )


def prepare(config: ReferenceConfig) -> runs.Job:
    """Read the dataset; return the job that trains both networks in run folders of their own and measures with them."""
    images = data.load(config.dataset, data_dir=config.data_dir or None)

    def job(folder: runs.RunFolder) -> runs.Report:
        params, seconds = {}, {}
        train, validation = (data.split(images, part) for part in ("train", "validation"))
        for name, steps in (("features", config.feature_steps), ("accuracy", config.accuracy_steps)):
            training = ClassifierConfig(network=name, seed=config.seed, steps=steps)
            with runs.RunFolder.open(folder.path / name, training) as inner:
                params[name] = train_classifier(training, inner, train, validation)
                records = runs.read_metrics(inner.path / "metrics.jsonl")
                seconds[name] = runs.training_seconds(records, training.batch_size)
        binding = write_reference(images, params, folder.path / "weights", config.seed)
        rows = reference_rows(binding, seconds)
        title = f"reference of {config.dataset}"
        return runs.Report(title, "Evaluation panel", rows, [folder.path / "weights"], seconds=sum(seconds.values()))

    return job
