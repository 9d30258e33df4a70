"""Compare eight diffusion models that differ in one setting each, at four guidance weights.

  python -m experiments.diffusion_study --workdir=runs/study                    hours on a GPU; resumes where it stopped
  python -m experiments.diffusion_study --workdir=runs/study --mode=load        draw and compare the trained runs
  python -m experiments.diffusion_study --workdir=runs/study --mode=baseline    the baseline alone
  python -m experiments.diffusion_study --workdir=runs/quick --quick            everything, with tiny networks

One configuration alone is trained by experiments.diffusion with its settings; --mode=load then finds it. The cheapest
takes an hour and a half on two quiet CPU cores, at 226 images per second, and two to four hours on busy ones:

  python -m experiments.diffusion --part=all --eval_every=2000 --checkpoint_every=2000 \\
      --workdir=runs/study/runs/baseline_20ep_small_cosine_seed0

The settings are epochs, size, schedule, batch and learning rate. 16 images are drawn for every configuration, digit and
guidance weight. The folder then holds loss_comparison.png, one comparison_digitD.png per digit, summary.md with the
conclusions that the numbers allow, result.json, and a run folder for every configuration and seed under runs/.
"""

import dataclasses
from pathlib import Path

from jaxgen import diffusion, runs
from jaxgen.diffusion.studies import comparison as study
from jaxgen.diffusion.studies import runs as study_runs
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The settings of the study."""

    seed: int = seed_option("first seed", group="study")
    seeds: int = option(1, "number of seeds per configuration", group="study", low=1, high=1000)
    mode: str = option("train", "train: all; load: only trained runs; baseline: train the baseline alone",
                       group="study", choices=("train", "load", "baseline"))  # fmt: skip
    quick: bool = option(False, "tiny networks and a few updates, to check that everything runs", group="study")
    sampler: str = option("ancestral", "sampler of the images", group="samples", choices=diffusion.SAMPLERS)
    steps: int = option(300, "steps of the sampler; 20 at most with quick", group="samples", low=1, high=100_000)
    clip_x0: bool = option(True, "clip the predicted image to black and white", group="samples")
    held_out: int = option(10_000, "test images for the held-out loss", group="measures", low=2, high=10_000)
    data_dir: str = option("", "folder with MNIST's four IDX files instead of the built-in ones", group="study")


def run(config: StudyConfig, workdir: Path) -> None:
    """Train or restore, draw, compare, write."""
    runs.add_record(config, Path(workdir) / "result.json", lambda: measure(config, Path(workdir)))


def measure(config: StudyConfig, workdir: Path) -> runs.Report:
    """Return the report of the study. UserError with mode=load if there is no trained run."""
    generation = diffusion.Generation(config.sampler, config.steps, clip_x0=config.clip_x0)
    held_out = min(config.held_out, 128) if config.quick else config.held_out
    settings = study_runs.StudySettings(config.mode != "load", generation, held_out)
    runs_by_name, grids = {}, {}
    for name in study.study_configs(0):
        if config.mode == "baseline" and name != study.BASELINE:
            continue
        pairs = []
        for seed in range(config.seed, config.seed + config.seeds):
            print(f"{name}, seed {seed}")
            own = study.study_configs(seed, config.quick, config.data_dir)[name]
            pairs.append(study_runs.study_run(workdir / "runs" / f"{name}_seed{seed}", own, settings))
        pairs = [pair for pair in pairs if pair is not None]
        if pairs:
            runs_by_name[name] = [trained for trained, _ in pairs]
            grids[name] = pairs[0][1]
        else:
            print(f"{name}: not trained, left out")
    if not runs_by_name:
        raise UserError(
            f"workdir is {workdir}, which holds no trained run; allowed with mode=load: one run or more. "
            f"Train first: python -m experiments.diffusion_study --workdir={workdir}"
        )
    files = study_runs.write_figures(workdir, runs_by_name, grids)
    title = f"study of diffusion models, {len(runs_by_name)} of {len(study.NOTEBOOK_LOSSES)} configurations"
    title += f", {config.seeds} seed{'s' * (config.seeds > 1)}" + ", quick" * config.quick
    rows = study_runs.record_rows(runs_by_name, config.quick)
    return runs.Report(title, "Diffusion", rows, files, study.summary(runs_by_name))


if __name__ == "__main__":
    runs.main(StudyConfig, run)
