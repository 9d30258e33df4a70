"""A blind sheet of generated and real digits: how it is made and scored."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgen import data, evaluation, runs
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig, classes
from jaxgen.runs import option, seed_option

FILES = ("sheet.png", "answers.csv", "key.json")


@dataclasses.dataclass(frozen=True)
class BlindConfig:
    """The settings of a sheet, or the files to score."""

    samples: str = option("", "NPZ file as for experiments.evaluate", group="sheet")
    levels: int | None = option(
        None, "grey levels of the samples, if the file does not say", group="sheet", choices=data.ALLOWED_LEVELS
    )
    classes: str = option(
        "all",
        "classes that samples without labels may show: 'all', or numbers such as '3' or '0,1'",
        group="sheet",
        former="digits",
    )
    each: int = option(40, "generated images, and as many real ones", group="sheet", low=1, high=500)
    seed: int = seed_option("seed of the choice and of the order", group="sheet")
    dataset: str = data.dataset_option("dataset that the samples imitate", "sheet")
    data_dir: str = data.data_dir_option("sheet")
    score: str = option("", "file answers.csv to score", group="score")
    key: str = option("", "its key.json", group="score")


def check(config: BlindConfig) -> None:
    """Raise UserError for flags that do not go together."""
    if bool(config.samples) == bool(config.score) or bool(config.score) != bool(config.key):
        raise UserError("samples, score and key do not fit together; allowed: --samples, or --score with --key")


def score_sheet(config: BlindConfig) -> runs.Report:
    """Score the answers to a sheet."""
    key = evaluation.read_key(config.key)
    rows = evaluation.blind_rows(key, evaluation.read_answers(config.score, list(key)))
    return runs.Report(f"blind sheet, {Path(config.score).stem}", "Potts energy-based model", rows)


def make_sheet(config: BlindConfig, workdir: Path) -> Sequence[Path]:
    """Choose, shuffle and write the images; return the files written. UserError if one of them would be overwritten."""
    files = [workdir / name for name in FILES]
    present = [file.name for file in files if file.exists()]
    if present:
        raise UserError(f"workdir is {workdir}, which holds a {present[-1]}; allowed: a folder without one")
    samples = evaluation.load_samples(config.samples, config.levels)
    images, labels = data.split(data.load(config.dataset, data_dir=config.data_dir or None), "test")
    if samples.levels is not None:
        images = data.decode(data.encode(images, samples.levels), samples.levels)
    digits = samples.labels
    if digits is None:
        reference = evaluation.load_reference(config.dataset, samples.levels, data_dir=config.data_dir or None)
        logits, _ = evaluation.apply_network("accuracy", reference.params["accuracy"], samples.images)
        selected = classes(PottsConfig(classes=config.classes))
        digits = np.asarray(selected)[np.asarray(logits)[:, selected].argmax(1)]
    sheet = evaluation.mixed((samples.images, digits), (images, labels), config.each, config.seed)
    evaluation.write_sheet(workdir, sheet, {"samples": Path(config.samples).name, "seed": config.seed})
    return files
