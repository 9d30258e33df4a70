"""The benchmark of diffusion steps: sane rows, a wrong peer caught, wrong flags refused. Speed is never tested."""

import json

import commands
import numpy as np
import pytest
import torch

from benchmarks import train_step_time as program
from jaxgen.diffusion.unet import SIZES
from tests.torch_reference import diffusion as reference


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A U-Net of base 8 with one level in place of small, and no compiler."""
    monkeypatch.setitem(SIZES, "small", {"base": 8, "multipliers": (1,)})
    monkeypatch.setattr(reference, "make_unet", lambda size: reference.UNet(8, 1, False, (1,)))
    monkeypatch.setattr(program, "compiler", lambda: None)
    monkeypatch.setattr(program.timing, "disable_compilation_cache", lambda: None)


def call(*flags):
    return commands.call(program.BenchmarkConfig, program.run, *flags)


@pytest.mark.slow
def test_rows_are_sane_and_a_wrong_peer_is_caught(tmp_path, monkeypatch):
    given, paths = [], program.torch_paths
    monkeypatch.setattr(program, "torch_paths", lambda *args: given.append(args) or paths(*args))
    flags = ["--sizes=small", "--batches=8", "--sample_steps=2", f"--json={tmp_path / 'rows.json'}"]
    code, out, err = call(*flags, f"--workdir={tmp_path}")
    assert code == 0, err
    record = json.loads((tmp_path / "rows.json").read_text())
    assert {(row["what"], row["path"]) for row in record["rows"]} == {
        (what, path) for what in ("training", "sampling") for path in ("jaxgen", "PyTorch")
    }
    for row in record["rows"]:
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"] and row["repeats"] >= 7
        assert row["path"] != "jaxgen" or row["ratio"] == 1
    assert record["absent"] == ["PyTorch compiled: no C++ compiler"] and record["versions"]["torch"]
    assert (tmp_path / "result.json").exists() and "training" in out
    plain = reference.train_step
    monkeypatch.setattr(reference, "train_step", lambda *args: plain(*args) * 1.01)
    with pytest.raises(ValueError, match=r"PyTorch: loss is .*; allowed: 0.2% apart"):
        paths(*given[0])
    monkeypatch.setattr(reference, "train_step", plain)
    betas = reference.betas
    monkeypatch.setattr(reference, "betas", lambda *args: betas(*args) * 0.9)
    with pytest.raises(ValueError, match=r"PyTorch: images differ by .* after the same noise"):
        paths(*given[0])
    model = torch.nn.Linear(10, 10)
    other = torch.nn.Linear(10, 10)
    with pytest.raises(ValueError, match="of the parameters differ after a step; allowed: 5%"):
        program.check_step("PyTorch", {"loss": 1.0}, 1.0, model, other)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--repeats=3"], "--repeats=3: allowed: an integer from 7 to 1000"),
        (["--sample_steps=0"], "allowed: an integer from 1 to 300"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    code, _, err = call(f"--workdir={tmp_path}", *flags)
    assert code == 2 and message in err


def test_bad_lists(tmp_path):
    for given, message in (
        ({"sizes": "huge"}, "sizes is 'huge'; allowed: some of small, medium, large"),
        ({"batches": "64,0"}, "batches is '64,0'; allowed: numbers, 1 or more"),
        ({"batches": "many"}, "batches is 'many'; allowed: numbers separated by commas"),
    ):
        with pytest.raises(ValueError, match=message):
            program.run(program.BenchmarkConfig(**given), tmp_path)


def test_without_torch(monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    assert program.missing(program.BenchmarkConfig()) == ["PyTorch: not installed"]
    assert program.missing(program.BenchmarkConfig(torch=False)) == ["PyTorch: left out by --notorch"]


def test_time_of_64_images():
    case = program.Case("small", 64, None, None, None, None)
    row = program.row(case, program.Timed("sampling", "jaxgen", None, 1.0), np.array([0.02, 0.01, 0.03]))
    assert row["s_for_64_images"] == pytest.approx(6.0) and row["median_ms"] == pytest.approx(20)
