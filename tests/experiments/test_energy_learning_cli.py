"""The commands as a user runs them, on small settings, and the notebook."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import energy_learning as experiment
from experiments import energy_learning_gradients, energy_learning_schemes
from jaxgen import energy_learning, runs, training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(monkeypatch, capsys):
    """A script's main in this process, with its exit code and what it printed; JAX's settings stay as they are."""
    monkeypatch.setattr(training, "configure", lambda: None)

    def run(config_type, program, *flags):
        code = 0
        try:
            runs.main(config_type, program, ["program", *map(str, flags)])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def drawn(path):
    return np.asarray(Image.open(path).convert("L")).std() > 10


def test_xor_leaves_all_that_is_promised_and_resumes(call, tmp_path):
    flags = [f"--flagfile={ROOT}/experiments/flags/xor.flags", "--seeds=2", "--epochs=20", "--eval_every=10"]
    flags += ["--persistent", f"--workdir={tmp_path}/run"]
    code, out, err = call(energy_learning.EnergyLearningConfig, experiment.run, *flags)
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    rows = {row["quantity"]: row for row in record["rows"]}
    assert rows["networks that solve it label-free, cold start"]["value"].endswith("of 2")
    assert {"label-free accuracy, cold start", "label-free accuracy, warm start", "free residual"} <= set(rows)
    assert all(drawn(tmp_path / "run" / "figures" / f"{name}.png") for name in ("curves", "xor", "network"))
    metrics = runs.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert {"cold_error", "warm_error", "cold_energy", "loss", "energy"} <= set(metrics[-1])
    assert "networks that solve it" in out
    # The same command again takes up where the run is, at its end, and finds the same.
    code, _, err = call(energy_learning.EnergyLearningConfig, experiment.run, *flags)
    assert code == 0, err
    again = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [row["value"] for row in again["rows"]] == [row["value"] for row in record["rows"]]


@pytest.mark.parametrize("name", ["mnist_ep", "mnist_pc", "mnist_chl"])
def test_the_mnist_flag_files_learn_something_in_a_few_updates(call, tmp_path, monkeypatch, name):
    load = energy_learning.EnergyTask.load.__func__

    def small(cls, config):
        task = load(cls, config)
        for part in (task.train, task.validation, task.test):
            part.x, part.y = part.x[:640], part.y[:640]
        return task

    monkeypatch.setattr(energy_learning.EnergyTask, "load", classmethod(small))
    flags = [f"--flagfile={ROOT}/experiments/flags/{name}.flags", "--epochs=6", "--widths=32,32"]
    code, _, err = call(energy_learning.EnergyLearningConfig, experiment.run, *flags, f"--workdir={tmp_path}/run")
    assert code == 0, err
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "run" / "result.json").read_text())["rows"]}
    assert rows["label-free accuracy, cold start"]["value"] > 30


def test_faithful(call, tmp_path):
    flags = ["--faithful", "--seeds=1", f"--workdir={tmp_path}/run"]
    code, out, err = call(energy_learning.EnergyLearningConfig, experiment.run, *flags)
    assert code == 0, err
    assert "CHL, 2-8-2, 2000 epochs: error reported: 0 %  label-free truth: warm 0.0" in out
    assert "first step, 2-2-1-2, 20 epochs: error reported: does not run" in out


def test_gradients_and_schemes(call, tmp_path, monkeypatch):
    kept = {name: energy_learning_gradients.SCHEMES[name] for name in ("Z-IL, with backprop",)}
    monkeypatch.setattr(energy_learning_gradients, "SCHEMES", kept)
    flags = ["--halvings=4", "--width=8", "--steps=2", "--every=1", f"--workdir={tmp_path}/gradients"]
    code, _, err = call(energy_learning_gradients.GradientsConfig, energy_learning_gradients.run, *flags)
    assert code == 0, err
    rows = {
        row["quantity"]: row["value"]
        for row in json.loads((tmp_path / "gradients" / "result.json").read_text())["rows"]
    }
    assert rows["slope, EP centred"] == pytest.approx(2, abs=0.01)
    assert rows["slope, PC hard nudge against S^-1 delta"] == pytest.approx(1, abs=0.1)
    assert rows["cosine after 1 updates, Z-IL, with backprop"] == pytest.approx(1, abs=1e-5)
    assert all(drawn(tmp_path / "gradients" / "figures" / f"{name}.png") for name in ("slopes", "cosines"))
    only = {name: energy_learning.SCHEMES[name] for name in ("z_il", "backprop")}
    monkeypatch.setattr(energy_learning, "SCHEMES", only)
    flags = ["--seeds=1", "--epochs=100", f"--workdir={tmp_path}/schemes"]
    code, out, err = call(energy_learning_schemes.SchemesConfig, energy_learning_schemes.run, *flags)
    assert code == 0 and "z_il: " in out, err


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--scheme=hope", "--scheme=hope: allowed: one of ep_positive"),
        ("--beta=0", "beta is 0.0; allowed: a number above 0"),
        ("--tolerance=0", "tolerance is 0.0; allowed: a number above 0, or None"),
        ("--widths=8,0", "widths is '8,0'; allowed: integers, each 1 or more"),
        ("--points=1", "--points=1: allowed: an integer, 2 or more"),
        ("--scheme=z_il", "scheme is z_il; allowed with the energy Hopfield"),
        ("--dataset=digits", "allowed: one of xor, mnist, fashion_mnist"),
    ],
)
def test_bad_flags_are_refused_in_one_line(call, tmp_path, flag, message):
    flags = (flag, f"--workdir={tmp_path / 'new'}")
    code, _, err = call(energy_learning.EnergyLearningConfig, experiment.run, *flags)
    assert code == 2 and message in err and not (tmp_path / "new" / "result.json").exists()


def test_the_notebook_runs():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipywidgets")
    notebook = nbformat.read(ROOT / "experiments" / "notebooks" / "xor_playground.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(ROOT)}}).execute()
    views = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in views if output["output_type"] == "error"]
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in views)
