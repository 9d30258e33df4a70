"""Train a classifier on examples whose information content is known exactly, and compare it with the bound.

  python -m experiments.information_bound --flagfile=experiments/flags/information_source.flags --workdir=runs/bound
  python -m experiments.information_bound --flagfile=experiments/flags/information_recommended.flags --workdir=runs/best
  python -m experiments.information_bound --data_only --num_samples=10000 --labels=0,1,2 --workdir=runs/data
  python -m experiments.information_bound --compare=runs/bound/mlp_results.json,runs/best/mlp_results.json

The run folder, or the folder --save_results names, then holds mlp_results.json, mlp_training_analysis.png, data.npz and
metadata.json; a comparison writes comparison.png there. The same command again resumes a run that was stopped.
"""

import json
import time
from pathlib import Path

import numpy as np

from jaxgen import information, runs
from jaxgen.errors import UserError


def run(config: information.InformationConfig, workdir: Path) -> None:
    """Compare finished runs, or draw the examples, train and measure."""
    start = time.perf_counter()
    runs.configure()
    if config.compare:
        compare(config, workdir)
        return
    task = information.InformationTask.load(config)
    with runs.RunFolder.open(workdir, config) as folder:
        target = results_folder(config, folder)
        save_data(task, target)
        if config.data_only:
            print(f"data: {target / 'data.npz'}")
            return
        params = information.train(task, folder, [information.evaluation_hook(task)])
        found = information.evaluate(task, params)
        history = information.history(runs.read_metrics(folder.path / "metrics.jsonl"))
        results = information.results(task, found, history)
        write_json(target / "mlp_results.json", results)
        information.analysis_figure(target / "mlp_training_analysis.png", results)
        rows = information.rows(task, found)
        runs.write_record(
            folder.path / "result.json",
            title=f"MLP, {config.optimiser}, {config.epochs} epochs of {task.n_train} examples, labels {config.labels}",
            family="Information bound",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"figure: {target / 'mlp_training_analysis.png'}")


def results_folder(config: information.InformationConfig, folder: runs.RunFolder) -> Path:
    """Where results go. ValueError if --save_results names a folder with the results of another run."""
    if not config.save_results or not runs.is_first():
        return folder.path
    target = Path(config.save_results)
    if (target / "metadata.json").exists() and not folder.resumed:
        raise UserError(f"save_results is {target}, which holds results; allowed: a new folder")
    return target


def save_data(task: information.InformationTask, target: Path) -> None:
    """data.npz with X and Y (numbered as in `labels`), and metadata.json."""
    with runs.atomic_write(target / "data.npz") as temporary:
        np.savez(temporary, X=np.asarray(task.x), Y=np.asarray(task.y), labels=task.distribution.labels)
    write_json(target / "metadata.json", information.metadata(task.distribution, len(task.x)))


def compare(config: information.InformationConfig, workdir: Path) -> None:
    """comparison.png of several result files, each named after its folder."""
    paths = [Path(word.strip()) for word in config.compare.split(",")]
    named = {}
    for path in paths:
        if not path.is_file():
            raise UserError(f"compare names {path}, no file; allowed: mlp_results.json files, separated by commas")
        name = path.parent.name
        named[name if name not in named else f"{name} {len(named) + 1}"] = json.loads(path.read_text())
    with runs.RunFolder.open(workdir, config) as folder:
        information.comparison_figure(folder.path / "comparison.png", named)
        print(f"figure: {folder.path / 'comparison.png'}")


def write_json(path: Path, content: dict) -> None:
    with runs.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    runs.main(information.InformationConfig, run, distributed=True)
