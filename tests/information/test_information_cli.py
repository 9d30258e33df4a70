"""The commands as a user runs them, on small settings."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

from jaxgen import information, runs
from jaxgen.information import estimators
from jaxgen.information.estimators import comparison

ROOT = Path(__file__).resolve().parents[2]
SHORT = [
    "--labels=1,2,3", "--num_samples=2000", "--epochs=2", "--width=16", "--depth=2", "--batch_size=64",
    "--learning_rate=0.1", "--eval_samples=2000", "--points_per_cell=4", "--seed=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole short run in a process of its own."""
    workdir = tmp_path_factory.mktemp("runs") / "three"
    code, out, err = commands.run_alone("experiments.information_bound", *SHORT, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.mark.slow
def test_a_run_leaves_all_that_is_promised(finished):
    workdir, out = finished
    results = json.loads((workdir / "mlp_results.json").read_text())
    bound = information.conditional_entropy(information.ten_labels().subset([1, 2, 3]))
    assert results["labels"] == [1, 2, 3] and results["analytical_loss"]["nats"] == pytest.approx(bound)
    assert results["analytical_loss"]["bits"] == pytest.approx(bound / np.log(2))
    assert results["excess_risk"]["nats"] == pytest.approx(results["mlp_loss"]["nats"] - bound)
    assert sum(results["split_nats"].values()) == pytest.approx(results["cell_average_excess"]["nats"])
    assert {len(values) for values in results["history"].values()} == {2} and len(results["classes"]) == 3
    data = np.load(workdir / "data.npz", allow_pickle=False)
    assert data["X"].shape == (2000, 5) and set(data["Y"]) == {0, 1, 2} and data["labels"].tolist() == [1, 2, 3]
    metadata = json.loads((workdir / "metadata.json").read_text())
    assert metadata["conditional_entropy"] == results["analytical_loss"] and len(metadata["coordinates"]) == 31
    assert np.asarray(Image.open(workdir / "mlp_training_analysis.png").convert("L")).std() > 10
    record = json.loads((workdir / "result.json").read_text())
    assert record["seed"] == 3 and record["family"] == "Information bound"
    rows = {row["quantity"]: row["value"] for row in record["rows"]}
    assert rows["within-cell variation of the network"] == results["split_nats"]["within_cells"]
    assert not any("approximation" in quantity for quantity in rows)
    assert str(workdir / "mlp_training_analysis.png") in out


@pytest.mark.slow
def test_training_learns(finished):
    results = json.loads((finished[0] / "mlp_results.json").read_text())
    # Guessing costs log 3 = 1.10 nats and is right in a third of the cases.
    assert results["mlp_loss"]["nats"] < 0.6 and results["mlp_accuracy"] > 0.8


@pytest.mark.slow
def test_a_comparison_of_result_files(finished, tmp_path):
    path = finished[0] / "mlp_results.json"
    flags = (f"--compare={path},{path}", f"--workdir={tmp_path}/both")
    code, _, err = commands.run("experiments.information_bound", *flags)
    assert code == 0, err
    assert np.asarray(Image.open(tmp_path / "both" / "comparison.png").convert("L")).std() > 10
    code, _, err = commands.run("experiments.information_bound", "--compare=nowhere.json", f"--workdir={tmp_path}/no")
    assert code == 2 and "compare is nowhere.json, which cannot be read (No such file or directory); allowed" in err


@pytest.mark.slow
def test_data_only_into_a_folder_of_ones_own(tmp_path):
    flags = [*SHORT, "--data_only", f"--save_results={tmp_path / 'mine'}"]
    code, _, err = commands.run("experiments.information_bound", *flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["data.npz", "metadata.json"]
    assert (tmp_path / "run" / "result.json").exists()
    # Never overwritten by another run; the same run may write its own results again.
    code, _, err = commands.run("experiments.information_bound", *flags, f"--workdir={tmp_path / 'other'}")
    assert code == 2 and "save_results is" in err and "allowed: a new folder" in err
    assert not (tmp_path / "other").exists()
    code, _, err = commands.run("experiments.information_bound", *flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, err


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--num_samples=0", "--num_samples=0: allowed: an integer from 2 to 10000000"),
        ("--labels=1,1", "labels is '1,1'; allowed: 'all', or two or more of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, each once"),
        ("--labels=0,10", "labels is '0,10'"),
        ("--base_noise=-1", "--base_noise=-1: allowed"),
        ("--uniform_mix=2", "--uniform_mix=2: allowed: a number from 0.0 to 1.0"),
        (
            "--table=nowhere.csv",
            "table is nowhere.csv, which cannot be read (No such file or directory); allowed: a CSV",
        ),
        (f"--table={__file__}", "whose first line is"),
        ("--optimiser=lion", "allowed: one of sgd, adam"),
        ("--save_results=gs://bucket/x", "save_results is 'gs://bucket/x'; allowed: a folder on this machine"),
        (f"--save_results={__file__}", "a file; allowed: a new folder"),
        (f"--save_results={__file__}/x", "cannot be written to; allowed: a folder of your own"),
    ],
)
def test_bad_flags_are_refused_in_one_line(tmp_path, flag, message):
    code, _, err = commands.run("experiments.information_bound", flag, f"--workdir={tmp_path / 'new'}")
    assert code == 2 and message in err and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_table_of_ones_own(tmp_path):
    """A channel with errors: three inputs, the right label with probability 0.9."""
    rows = [f"{y},{x},{0.9 if x == y else 0.05}" for y in range(3) for x in range(3)]
    (tmp_path / "channel.csv").write_text("label,i1,mass\n" + "\n".join(rows) + "\n")
    flags = [f"--table={tmp_path / 'channel.csv'}", *SHORT[1:], f"--workdir={tmp_path / 'run'}"]
    code, _, err = commands.run("experiments.information_bound", *flags)
    assert code == 0, err
    results = json.loads((tmp_path / "run" / "mlp_results.json").read_text())
    exact = -0.9 * np.log(0.9) - 0.1 * np.log(0.05)
    assert results["analytical_loss"]["nats"] == pytest.approx(exact) and results["labels"] == [0, 1, 2]
    assert results["bayes_accuracy"] == pytest.approx(0.9) and exact - 0.05 < results["mlp_loss"]["nats"] < 0.8
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["title"].endswith("own table") and str(tmp_path) not in json.dumps(record)


def test_the_flag_files_are_what_they_say():
    read = {}
    for name in ("source", "recommended"):
        runs.main(
            information.InformationConfig,
            lambda config, workdir, name=name: read.update({name: config}),
            ["program", f"--flagfile={ROOT}/experiments/flags/information_{name}.flags"],
        )
    assert read["source"] == information.InformationConfig()
    assert read["recommended"].optimiser == "adam" and read["recommended"].num_samples == 1_000_000


@pytest.mark.slow
def test_the_benchmark_and_its_loud_failure(tmp_path, monkeypatch):
    flags = [*SHORT, "--epochs=1", "--seeds=2"]
    code, out, err = commands.run(
        "benchmarks.mlp_vs_bound", *flags, f"--workdir={tmp_path}/a", f"--json={tmp_path}/a.json"
    )
    assert code == 0, err
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [3, 4] and rows[0]["estimate"] != rows[1]["estimate"]
    assert all(row["gap"] > 0 for row in rows) and "standard error" in out
    record = json.loads((tmp_path / "a" / "result.json").read_text())
    assert {"excess risk", "cross-entropy on fresh examples"} <= {row["quantity"] for row in record["rows"]}
    # A bound that is too high: what the estimate beats by many standard errors ends the program.
    monkeypatch.setattr("jaxgen.information.bounds.conditional_entropy", lambda distribution, axes=None: 2.0)
    code, _, err = commands.run(
        "benchmarks.mlp_vs_bound", *flags, f"--workdir={tmp_path}/a", f"--json={tmp_path}/a.json"
    )
    assert code == 2 and "standard errors below the bound 2.00000" in err


@pytest.mark.slow
def test_scaling_and_the_table(tmp_path):
    flags = ["--repeats=1", "--examples=100,5000", "--widths=8", "--depths=1", "--width=8", "--depth=1"]
    flags += ["--many=5000", "--steps=150", "--batch_size=64", f"--workdir={tmp_path / 'curves'}"]
    code, _, err = commands.run("experiments.information_scaling", *flags)
    assert code == 0, err
    curves = json.loads((tmp_path / "curves" / "scaling.json").read_text())
    assert [point["n_examples"] for point in curves["examples"]] == [100, 5000]
    assert [point["width"] for point in curves["width"]] == [8] and curves["depth"] == curves["width"]
    for name in ("excess", "table_excess"):
        assert curves["examples"][0][name] > curves["examples"][1][name] > 0
    assert np.asarray(Image.open(tmp_path / "curves" / "scaling.png").convert("L")).std() > 10
    code, _, err = commands.run("experiments.information_scaling", "--widths=8,0")
    assert code == 2 and "widths is '8,0'; allowed: integers, 1 or more, each once" in err
    code, out, err = commands.run("experiments.information_table", f"--workdir={tmp_path / 'table'}")
    assert code == 0 and "base_noise 0.0003: H(Y given X): 0.48173 bits  0.3339 nats" in out
    assert (tmp_path / "table" / "coordinates.png").exists()
    code, _, err = commands.run("experiments.information_table", "--noises=a")
    assert code == 2 and "noises has 'a'; allowed" in err


@pytest.mark.slow
def test_estimators_beside_the_exact_value(tmp_path, monkeypatch):
    labelled, roll = (estimators.all_problems()[k] for k in (1, 6))
    monkeypatch.setattr(estimators, "all_problems", lambda: [labelled, roll])
    code, out, err = commands.run("experiments.information_estimators", "--quick", f"--workdir={tmp_path / 'run'}")
    assert code == 0 and "Swiss roll, 2 + 1: InfoNCE" in out, err
    found = json.loads((tmp_path / "run" / "estimates.json").read_text())["estimates"]
    names = {p.name: {row["estimator"] for row in found if row["problem"] == p.name} for p in (labelled, roll)}
    assert names[labelled.name] == set(comparison.ESTIMATORS)
    assert names[roll.name] == set(comparison.ESTIMATORS) - {comparison.CLASSIFIER, comparison.LIMITED}
    # Without training of note, yet better than nothing: neighbours need none.
    near = [row for row in found if row["estimator"] == comparison.NEIGHBOURS]
    assert all(abs(row["value"] - row["exact"]) < 0.15 for row in near) and {row["n"] for row in found} == {300}
    assert np.asarray(Image.open(tmp_path / "run" / "estimators.png").convert("L")).std() > 10
    code, _, err = commands.run("experiments.information_estimators", "--sizes=200", f"--workdir={tmp_path / 'no'}")
    assert code == 2 and "sizes are (200,); allowed: one or more, each 300 or more" in err
