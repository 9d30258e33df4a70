"""Compare classifiers with a pushing-medium flow, their controls and their variants on MNIST, over several seeds.

  python -m experiments.pmflow --flagfile=experiments/flags/pmflow.flags --workdir=runs/pmflow
  python -m experiments.pmflow --flagfile=experiments/flags/pmflow_cnn.flags --workdir=runs/pmflow_cnn
  python -m experiments.pmflow --faithful --models=all --workdir=runs/pmflow_faithful

The run folder then holds figures/accuracy.png and figures/comparison.png (with --faithful figures/diagnosis.png),
ranking.txt, result.json, and under models/ one run folder a model, each with its tensorboard/. The same command again
goes on where it was stopped. Live curves: tensorboard --logdir runs/pmflow
"""

import time
from pathlib import Path

from jaxgen import pmflow, runs
from jaxgen.runs.tables import aligned


def run(config: pmflow.PMFlowConfig, workdir: Path) -> None:
    """Train every model with every seed, compare, draw, record."""
    start = time.perf_counter()
    runs.configure()
    folders = {one: workdir / "models" / one.folder for one in pmflow.model_configs(config)}
    with runs.RunFolder.open(workdir, config) as folder:
        params = train_all(folders, config.epochs)
        found = pmflow.collect(folders)
        pmflow.accuracy_figure(folder.figures / "accuracy.png", found, sources=config.faithful)
        pmflow.comparison_figure(folder.figures / "comparison.png", found)
        rows = pmflow.faithful_rows(found) if config.faithful else pmflow.record_rows(found)
        rows += diagnose(config, params, folder) if config.faithful else []
        table = aligned(pmflow.ranking(found), list(pmflow.ranking(found)[0]))
        with runs.atomic_write(folder.path / "ranking.txt") as temporary:
            temporary.write_text(table + "\n")
        runs.write_record(
            folder.path / "result.json",
            title="source's form" if config.faithful else f"{_models(found)}, {config.epochs} epochs",
            family="Pushing-medium flow",
            rows=rows,
            config=config,
            # What earlier processes of a comparison that went on had already done counts as well.
            wall_time_s=max(time.perf_counter() - start, sum(model.span for model in found)),
        )
    print(table)
    print(*rows, sep="\n")
    print(f"figures: {folder.figures}")


def _models(found: list[pmflow.Trained]) -> str:
    labels = [model.label for model in found]
    return " and ".join(labels) if len(labels) < 3 else f"{len(labels)} models"


def train_all(folders: dict, epochs: int) -> dict:
    """Every run to its end, each in its folder; the parameters by run."""
    params = {}
    with pmflow.Display(len(folders), epochs) as display:
        for config, path in folders.items():
            label = pmflow.model_label(config.model, config.faithful)
            display.begin(label if config.seeds > 1 else f"{label}, seed {config.first_seed}")
            task = pmflow.PMFlowTask.load(config)
            with runs.RunFolder.open(path, config) as folder:
                hook = pmflow.evaluation_hook(task, display.epoch)
                params[config] = pmflow.train(task, folder, [hook])
            (one,) = pmflow.collect({config: path})
            display.end(one.accuracy.mean(0), one.seconds)
    return params


def diagnose(config: pmflow.PMFlowConfig, params: dict, folder: runs.RunFolder) -> list[runs.Row]:
    """What coupling the batch does: figures/diagnosis.png and rows, if the BNN was trained."""
    coupled = [one for one in params if one.model == "pmflow_bnn"]
    if not coupled:
        return []
    diagnosis = pmflow.diagnose(pmflow.PMFlowTask.load(coupled[0]), params[coupled[0]])
    pmflow.diagnosis_figure(folder.figures / "diagnosis.png", diagnosis)
    return pmflow.diagnosis_rows(diagnosis)


if __name__ == "__main__":
    runs.main(pmflow.PMFlowConfig, run, distributed=True)
