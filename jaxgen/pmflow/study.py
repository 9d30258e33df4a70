"""A whole comparison: every model with every seed in a run folder of its own, then figures, ranking and record.

WORKDIR/models/NAME_seedS/        the run folder of one model
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import PyTree

from jaxgen import runs, training
from jaxgen.pmflow.comparison import faithful_rows, ranking, record_rows
from jaxgen.pmflow.config import ModelConfig, PMFlowConfig, model_configs
from jaxgen.pmflow.evaluate import FAMILY, Trained, collect
from jaxgen.pmflow.models import find_model
from jaxgen.pmflow.progress import Display
from jaxgen.pmflow.task import PMFlowTask
from jaxgen.runs.tables import aligned
from jaxgen.training.task import check


def prepare(config: PMFlowConfig) -> runs.Job:
    """Check every run of a comparison; return the job of `runs.execute` that trains, compares, draws and measures."""
    configs = model_configs(config)
    for model_config in configs:
        check(PMFlowTask.load(model_config))

    def job(folder: runs.RunFolder) -> runs.Report:
        folders = {run: folder.path / "models" / run.folder for run in configs}
        params = _train_all(folders, config.epochs)
        return _report(config, collect(folders), params, folder)

    return job


def _train_all(folders: Mapping[ModelConfig, Path], epochs: int) -> dict[ModelConfig, PyTree]:
    """Train every run to its end in its folder; return the parameters by run."""
    params = {}
    with Display(len(folders), epochs) as display:
        for config, path in folders.items():
            label = find_model(config.model, config.faithful).label
            display.begin(label if config.seeds > 1 else f"{label}, seed {config.first_seed}")
            task = PMFlowTask.load(config, display.epoch)
            with runs.RunFolder.open(path, config) as folder:
                params[config] = training.train(task, folder).params
            (trained,) = collect({config: path})
            display.end(trained.accuracy.mean(0), trained.seconds)
    return params


def _report(
    config: PMFlowConfig, models: Sequence[Trained], params: Mapping[ModelConfig, PyTree], folder: runs.RunFolder
) -> runs.Report:
    from jaxgen.pmflow.figures import accuracy_figure, comparison_figure  # here, because they need matplotlib

    accuracy_figure(folder.figures / "accuracy.png", models, original=config.faithful)
    comparison_figure(folder.figures / "comparison.png", models)
    rows = faithful_rows(models) if config.faithful else record_rows(models)
    rows += _diagnose(params, folder) if config.faithful else []
    table = aligned(ranking(models), list(ranking(models)[0]))
    with runs.atomic_write(folder.path / "ranking.txt") as temporary:
        temporary.write_text(table + "\n")
    labels = [model.label for model in models]
    named = " and ".join(labels) if len(labels) < 3 else f"{len(labels)} models"
    return runs.Report(
        title="forms of the original notebook" if config.faithful else f"{named}, {config.epochs} epochs",
        family=FAMILY,
        rows=rows,
        files=sorted(folder.figures.glob("*.png")),
        table="\n".join([table, *map(str, rows)]),
        # Includes what earlier processes of a resumed comparison did.
        seconds=sum(model.span for model in models),
    )


def _diagnose(params: Mapping[ModelConfig, PyTree], folder: runs.RunFolder) -> list[runs.Row]:
    """Measure how the coupling of the batch affects the BNN, if it was trained; draw the figure, return the rows."""
    from jaxgen.pmflow.diagnosis import diagnose, diagnosis_rows
    from jaxgen.pmflow.figures import diagnosis_figure

    coupled = [config for config in params if config.model == "pmflow_bnn"]
    if not coupled:
        return []
    diagnosis = diagnose(PMFlowTask.load(coupled[0]), params[coupled[0]])
    diagnosis_figure(folder.figures / "diagnosis.png", diagnosis)
    return diagnosis_rows(diagnosis)
