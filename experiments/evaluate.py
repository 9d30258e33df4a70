"""Judge the samples of any generator: one table, with floor and ceilings beside every figure.

  python -m experiments.evaluate --samples=samples.npz --workdir=runs/judged
  python -m experiments.evaluate --samples=runs/digits/samples/fresh.npz --levels=4 --workdir=runs/judged_levels
  python -m experiments.evaluate --samples=samples.npz --labels --cas --workdir=runs/judged_score

An NPZ file holds `images`, uint8 (n, 28, 28) or floats in [0, 1], or `states`, 0 to levels - 1, with `levels`; and
perhaps `labels`, the class each sample should show. 2,000 samples are the least; of more than 10,000 a fixed random
choice is judged. Samples coded with few levels are compared with real images coded likewise. The run folder holds
evaluation.json, result.json and figures/summary.png.
"""

import dataclasses
import json
import time
from pathlib import Path

from jaxgen import evaluation, runs
from jaxgen.data import ALLOWED_LEVELS
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option
from jaxgen.runs.processes import fingerprints


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    samples: str = option("", "NPZ file to judge", group="samples")
    labels: bool | None = option(
        None, "true insists on labels, false ignores them, none takes those that are there", group="samples"
    )
    levels: int | None = option(
        None,
        "grey levels the samples are coded with, if the file does not say",
        group="samples",
        choices=ALLOWED_LEVELS,
    )
    dataset: str = option("mnist", "what they imitate", group="reference", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files", group="reference")
    reference: str = option("", "weights folder of experiments.evaluation_reference", group="reference")
    cas: bool = option(False, "also the classification accuracy score: two trainings, minutes", group="score")
    cas_steps: int = option(
        evaluation.SCORE_STEPS, "parameter updates of each training", group="score", low=1, high=2**31 - 1
    )
    seed: int = seed_option("seed of these trainings", group="score")


def run(config: EvaluateConfig, workdir: Path) -> None:
    """Check, measure, print, write."""
    start = time.perf_counter()
    runs.configure()
    samples = evaluation.load_samples(config.samples, config.levels, config.labels)
    if config.cas and samples.labels is None:
        raise UserError("cas is true, but the samples have no labels to use; allowed: samples with labels")
    reference = evaluation.load_reference(
        config.dataset, samples.levels, folder=config.reference or None, data_dir=config.data_dir or None
    )
    with runs.RunFolder.open(workdir, config) as folder:
        depends_on = {"images": samples.images, "reference": reference.test_features}
        depends_on |= {} if samples.labels is None else {"labels": samples.labels}
        pieces = runs.Pieces(folder.path / ".evaluate", fingerprints(depends_on))
        result = evaluation.evaluate(samples.images, samples.labels, reference, pieces)
        rows = evaluation.rows(result)
        evaluation.summary_figure(folder.figures / "summary.png", samples, result, reference)
        print(evaluation.table(result))
        content = evaluation.to_json(result)
        if config.cas:
            score = evaluation.classification_accuracy_score(
                samples.images, samples.labels, reference, folder.path / "cas", config.seed, config.cas_steps
            )
            rows += evaluation.score_rows(score)
            content["classification_accuracy_score"] = {name: value for name, value in score._asdict().items()}
            print(f"{rows[-1].quantity}: {rows[-1].value:.4f}  {rows[-1].note}")
        with runs.atomic_write(folder.path / "evaluation.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        runs.write_record(
            folder.path / "result.json",
            title=f"{Path(config.samples).stem}, {config.dataset}, {content['coding']}",
            family="Evaluation panel",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
        pieces.clear()
    print(f"figure: {folder.figures / 'summary.png'}")


if __name__ == "__main__":
    runs.main(EvaluateConfig, run)
