"""Evaluate the samples of any generator in one table, with floor and ceilings beside every measure.

  python -m experiments.evaluate --samples=samples.npz --workdir=runs/judged
  python -m experiments.evaluate --samples=runs/digits/samples/final.npz --levels=4 --workdir=runs/judged_levels
  python -m experiments.evaluate --samples=samples.npz --labels --cas --workdir=runs/judged_score
  python -m experiments.evaluate --samples=samples.npz --images=my_images.npz --workdir=runs/judged_own

An NPZ file holds `images`, uint8 (n, height, width) or floats in [0, 1], or `states`, 0 to levels - 1, with `levels`;
and optionally `labels`, the class that each sample should show. At least 2,000 samples are needed, or 256 for images of
your own; of more than 10,000 a fixed random choice is evaluated. Samples coded with few levels are compared with real
images coded likewise. The run folder holds evaluation.json, result.json and figures/summary.png. The same command again
resumes one that was stopped.
"""

import dataclasses
from pathlib import Path

from jaxgen import data, evaluation, runs
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS
from jaxgen.runs.processes import fingerprints
from jaxgen.runs.tables import write_json


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """The samples to evaluate, the reference, and the optional score."""

    samples: str = option("", "NPZ file to evaluate", group="samples")
    labels: bool | None = option(
        None, "true requires labels, false ignores them, none uses them if the file has some", group="samples"
    )
    levels: int | None = option(
        None,
        "grey levels the samples are coded with, if the file does not say",
        group="samples",
        low=data.FEWEST_LEVELS,
        high=data.MOST_LEVELS,
    )
    dataset: str = data.dataset_option("images that the samples imitate", "reference")
    images: str = data.images_option(group="reference")
    data_dir: str = data.data_dir_option("reference")
    reference: str = option("", "weights folder of experiments.evaluation_reference", group="reference")
    cas: bool = option(
        False, "also measure the classification accuracy score, by two trainings that take minutes", group="score"
    )
    cas_steps: int = option(
        evaluation.SCORE_STEPS, "parameter updates of each training", group="score", low=1, high=MOST_STEPS
    )
    seed: int = seed_option("seed of the two trainings", group="score")


def prepare(config: EvaluateConfig) -> runs.Job:
    """Read and check samples and reference; return the job that measures. UserError if they do not go together."""
    if config.images and (config.reference or config.cas):
        raise UserError("images is given with reference or cas; allowed: images alone, whose reference is made here")
    own = data.open(config.dataset, config.images, config.data_dir) if config.images else None
    rules = evaluation.own_rules(own) if own else evaluation.STANDARD
    samples = evaluation.load_samples(config.samples, config.levels, config.labels, rules)
    if config.cas and samples.labels is None:
        raise UserError("cas is true, but the samples have no labels to use; allowed: samples with labels")
    reference = (
        evaluation.build_reference(own, samples.levels)
        if own
        else evaluation.load_reference(
            config.dataset, samples.levels, folder=config.reference or None, data_dir=config.data_dir or None
        )
    )

    def job(folder: runs.RunFolder) -> runs.Report:
        return measure(config, samples, reference, folder)

    return job


def measure(
    config: EvaluateConfig, samples: evaluation.Samples, reference: evaluation.Reference, folder: runs.RunFolder
) -> runs.Report:
    """Measure the samples, saving every finished part, and write the figure and evaluation.json."""
    depends_on = {"images": samples.images, "reference": reference.test_features}
    depends_on |= {} if samples.labels is None else {"labels": samples.labels}
    pieces = runs.Pieces(folder.path / ".evaluate", fingerprints(depends_on))
    result = evaluation.evaluate(samples.images, samples.labels, reference, pieces)
    rows, text = evaluation.rows(result), evaluation.table(result)
    summary = folder.figures / "summary.png"
    evaluation.summary_figure(summary, samples, result, reference)
    content = evaluation.to_json(result)
    if config.cas:
        print(text, flush=True)  # now, because the two trainings take minutes
        score = evaluation.classification_accuracy_score(
            samples.images, samples.labels, reference, folder.path / "cas", config.seed, config.cas_steps
        )
        rows += evaluation.score_rows(score)
        content["classification_accuracy_score"] = score._asdict()
        text = str(rows[-1])
    write_json(folder.path / "evaluation.json", content)
    pieces.clear()
    title = f"{Path(config.samples).stem}, {reference.dataset}, {content['coding']}"
    return runs.Report(title, "Evaluation panel", rows, [summary], text)


def run(config: EvaluateConfig, workdir: Path) -> None:
    """Check, measure, print, write."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(EvaluateConfig, run)
