"""The commands as a user runs them, on small settings, and the notebook."""

import json
import re
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

from jaxgen import energy_learning, runs
from jaxgen.energy_learning import schemes_study

ROOT = Path(__file__).resolve().parents[2]


def small(task_type):
    """The task's `load`, on 640 examples of each part."""
    load = task_type.load.__func__

    def loaded(cls, config):
        task = load(cls, config)
        for part in (task.train, task.validation, task.test):
            part.x, part.y = part.x[:640], part.y[:640]
        return task

    return loaded


def drawn(path):
    return np.asarray(Image.open(path).convert("L")).std() > 10


@pytest.mark.slow
def test_xor_leaves_all_that_is_promised_and_resumes(tmp_path):
    flags = [f"--flagfile={ROOT}/experiments/flags/xor.flags", "--seeds=2", "--epochs=20", "--eval_every=10"]
    flags += ["--persistent", f"--workdir={tmp_path}/run"]
    code, out, err = commands.run("experiments.energy_learning", *flags)
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    rows = {row["quantity"]: row for row in record["rows"]}
    assert rows["networks that solve it label-free, cold start"]["value"].endswith("of 2")
    assert {"label-free accuracy, cold start", "label-free accuracy, warm start", "free residual"} <= set(rows)
    assert all(drawn(tmp_path / "run" / "figures" / f"{name}.png") for name in ("curves", "xor", "network"))
    metrics = runs.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert {"cold_error", "warm_error", "cold_energy", "loss", "energy"} <= set(metrics[-1])
    assert "networks that solve it" in out
    assert rows["networks that solve it label-free, cold start"]["note"].startswith("at the last of 2 evaluations; ")
    # The same command again takes up where the run is, at its end, and finds the same.
    code, _, err = commands.run("experiments.energy_learning", *flags)
    assert code == 0, err
    again = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [row["value"] for row in again["rows"]] == [row["value"] for row in record["rows"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_ep", "mnist_pc", "mnist_chl", "mnist_ep_conv"])
def test_the_mnist_flag_files_learn_something_in_a_few_updates(tmp_path, monkeypatch, name):
    monkeypatch.setattr(energy_learning.EnergyTask, "load", classmethod(small(energy_learning.EnergyTask)))
    size = "--convolutions=4x5,8x3" if name == "mnist_ep_conv" else "--widths=32,32"
    flags = [f"--flagfile={ROOT}/experiments/flags/{name}.flags", "--epochs=6", size]
    code, _, err = commands.run("experiments.energy_learning", *flags, f"--workdir={tmp_path}/run")
    assert code == 0, err
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "run" / "result.json").read_text())["rows"]}
    assert rows["label-free accuracy, cold start"]["value"] > 30


@pytest.mark.slow
def test_faithful(tmp_path):
    flags = ["--faithful", "--seeds=1", f"--workdir={tmp_path}/run"]
    code, out, err = commands.run("experiments.energy_learning", *flags)
    assert code == 0, err
    assert "CHL, 2-8-2, 2000 epochs: error reported: 0 %  label-free error: warm 0.0" in out
    assert "first step, 2-2-1-2, 20 epochs: error reported: does not run" in out


@pytest.mark.slow
def test_gradients(tmp_path):
    flags = ["--halvings=4", "--width=8", "--steps=2", "--every=1", f"--workdir={tmp_path}/gradients"]
    code, _, err = commands.run("experiments.energy_learning_gradients", *flags)
    assert code == 0, err
    record = json.loads((tmp_path / "gradients" / "result.json").read_text())
    rows = {row["quantity"]: row["value"] for row in record["rows"]}
    assert rows["slope, EP centred"] == pytest.approx(2, abs=0.01)
    assert rows["slope, PC hard nudge against S^-1 delta"] == pytest.approx(1, abs=0.1)
    assert rows["cosine after 1 updates, Z-IL, with backprop"] == pytest.approx(1, abs=1e-5)
    assert all(drawn(tmp_path / "gradients" / "figures" / f"{name}.png") for name in ("slopes", "cosines"))


@pytest.mark.slow
def test_schemes_on_xor_and_on_images(tmp_path, monkeypatch):
    flags = ["--seeds=1", "--epochs=100", "--schemes=z_il,backprop", f"--workdir={tmp_path}/schemes"]
    code, out, err = commands.run("experiments.energy_learning_schemes", *flags)
    assert code == 0 and "z_il, predictive_coding: " in out, err
    monkeypatch.setattr(energy_learning.EnergyTask, "load", classmethod(small(energy_learning.EnergyTask)))
    flags = ["--dataset=mnist", "--seeds=2", "--epochs=2", "--widths=16", "--schemes=ep_centred,backprop"]
    code, out, err = commands.run("experiments.energy_learning_schemes", *flags, f"--workdir={tmp_path}/images")
    assert code == 0, err
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "images" / "result.json").read_text())["rows"]}
    assert list(rows) == ["backprop, clipped", "ep_centred, clipped", "backprop, predictive_coding"]
    assert "(95 % by t); 2 networks, 2 epochs" in rows["backprop, clipped"]["note"]


def test_silent_outputs_are_counted():
    output = np.full((2, 5, 3), 0.25)
    output[0, 2, 1] = 0.5
    assert schemes_study.silent_outputs(output).tolist() == [2, 3]


def test_how_steep_predictive_coding_is_at_most():
    kernels = [np.zeros((2, 5, 4)), np.zeros((2, 4, 3)), np.zeros((2, 3, 2))]
    kernels[0][:] = 100.0  # the first layer moves no state
    kernels[1][0, 1, 2], kernels[2][1, 0, :] = 2.0, 3.0
    params = {f"layer_{number}": {"kernel": kernel} for number, kernel in enumerate(kernels, 1)}
    np.testing.assert_allclose(schemes_study.steepness(params), [5.0, 19.0])


def test_schemes_that_there_are_not_are_refused(tmp_path):
    code, _, err = commands.run("experiments.energy_learning_schemes", "--schemes=hope", f"--workdir={tmp_path}/new")
    assert (
        code == 2 and "schemes has 'hope'; allowed: 'all', or of ep_positive" in err and not (tmp_path / "new").exists()
    )
    names = [name for name, _ in schemes_study.IMAGE_SCHEMES]
    assert {"backprop", "recurrent_backprop"} <= set(names) <= set(energy_learning.SCHEMES)


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--scheme=hope", "--scheme=hope: allowed: one of ep_positive"),
        ("--beta=0", "beta is 0.0; allowed: a number above 0"),
        ("--tolerance=0", "tolerance is 0.0; allowed: a number above 0, or None"),
        ("--widths=8,0", "widths is '8,0'; allowed: integers, each 1 or more"),
        ("--points=1", "--points=1: allowed: an integer from 2 to 64"),
        ("--scheme=z_il", "scheme is z_il; allowed with the energy Hopfield"),
        ("--layer_rates=1,2,3", "layer_rates is '1,2,3'; allowed: 2 numbers from 0 to 1e6, one per layer"),
        ("--nudged_sweeps=none", "nudged_sweeps is none; allowed with energy sigmoid: an integer, 0 or more"),
        ("--dataset=digits", "allowed: one of xor, mnist, fashion_mnist"),
    ],
)
def test_bad_flags_are_refused_in_one_line(tmp_path, flag, message):
    flags = (flag, f"--workdir={tmp_path / 'new'}")
    code, _, err = commands.run("experiments.energy_learning", *flags)
    assert code == 2 and message in err and not (tmp_path / "new").exists()


def executed(name):
    """The outputs of all cells of a notebook, run from the top of the repository."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "experiments" / "notebooks" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    return outputs


@pytest.mark.slow
def test_the_playground_runs():
    pytest.importorskip("ipywidgets")
    views = executed("xor_playground")
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in views)


@pytest.mark.slow
def test_the_notebook_of_local_rules_learns_draws_and_measures():
    outputs = executed("energy_learning")
    text = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    rules = r"(equilibrium propagation|predictive coding|backprop): (\d+\.\d) % of 10,000"
    accuracies = {name: float(value) for name, value in re.findall(rules, text)}
    assert len(accuracies) == 3 and min(accuracies.values()) > 85
    small, large = re.search(r"20 layers, 20 sweeps: (\S+) with steps of 0.25, (\S+) with steps of 0.9", text).groups()
    assert float(small) < 0.1 < float(large)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
