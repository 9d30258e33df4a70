"""The flow benchmark: sane rows, wrong paths caught, claims that follow the numbers, wrong flags. Never the speed."""

import dataclasses
import json
from pathlib import Path

import commands
import numpy as np
import pytest

from benchmarks import flow_scaling, timing
from jaxgen import pmflow, runs

ROOT = Path(__file__).parents[2]
TINY = flow_scaling.ScalingConfig("2,3", "4", "5", "1", target_ms=0.1)


@pytest.fixture(autouse=True)
def keep_settings(monkeypatch):
    monkeypatch.setattr(timing, "disable_compilation_cache", lambda: None)
    monkeypatch.setattr(flow_scaling, "LARGE_BATCH", 8)


def test_a_tiny_run_writes_sane_rows(tmp_path, capsys):
    target = tmp_path / "rows.json"
    flags = ["--centres=2,3", "--latents=4", "--batches=5", "--devices=1", "--target_ms=0.1", f"--json={target}"]
    runs.main(flow_scaling.ScalingConfig, flow_scaling.run, ["flow_scaling", *flags])
    record = json.loads(target.read_text())
    assert not record["wrong"] and record["versions"]["torch"] and record["cores"] >= 1
    rows = record["rows"]
    assert [(r["varied"], r["centres"]) for r in rows if r["varied"] == "centres"] == [("centres", 2)] * 3 + [
        ("centres", 3)
    ] * 3
    assert sum(r["backward"] for r in rows) == 3 and {r["path"] for r in rows} == set(flow_scaling.PATHS)
    for row in rows:
        assert 0 < row["low"] <= row["us"] <= row["high"]
        if row["path"] == "PyTorch loop":
            assert row["x PyTorch loop"] == 1
    assert {claim["claim"] for claim in record["claims"]} == {"cost linear in centres, 2 to 3"}
    assert "x PyTorch loop" in capsys.readouterr().out


def test_paths_agree_with_numpy_which_agrees_with_the_library():
    case = flow_scaling.Case("base", "jaxgen", centres=3, latent=4, batch=6)
    wanted = flow_scaling.numpy_flow(case, 4)
    z, centres, mu = case.arrays()
    moved = pmflow.euler(lambda z: pmflow.log_index_gradient(z, centres, mu, flow_scaling.SOFTENING), z, 4, 0.15)
    np.testing.assert_allclose(moved, wanted, atol=1e-5)
    assert np.abs(wanted - z).max() > 0.01
    for path, prepare in flow_scaling.PATHS.items():
        for backward in (False, True):
            run, _ = prepare(case._replace(path=path, backward=backward), 4)
            np.testing.assert_allclose(run(), wanted, atol=1e-5, err_msg=path)


def test_a_wrong_path_is_left_out_and_ends_the_program_with_1(monkeypatch, capsys):
    def still(case, steps):
        return (lambda: case.arrays()[0]), 0.0

    monkeypatch.setattr(flow_scaling, "PATHS", {"jaxgen": flow_scaling.jax_run, "PyTorch loop": still})
    rows, wrong = flow_scaling.measure(TINY)
    assert {row["path"] for row in rows} == {"jaxgen"} and all("PyTorch loop" in text for text in wrong)
    assert all(row["x PyTorch loop"] is None for row in rows)
    with pytest.raises(SystemExit) as end:
        flow_scaling.run(TINY, Path("unused"))
    assert end.value.code == 1 and "not what numpy gives" in capsys.readouterr().out


def curve(field, sizes, times, **more):
    return [{"varied": field, "path": "jaxgen", field: n, "us": t} | more for n, t in zip(sizes, times, strict=True)]


def test_claims_follow_the_numbers():
    rows = curve("centres", (64, 16), (400.0, 100.0)) + curve("batch", (10, 100), (5.0, 20.0))
    rows += curve("devices", (1, 2, 4), (100.0, 52.0, 60.0), batch=8)
    verdicts = {claim["claim"]: (claim["measured"], claim["verdict"]) for claim in flow_scaling.claims(rows)}
    assert verdicts == {
        "cost linear in centres, 16 to 64": ("exponent 1.00", "confirmed"),
        "cost linear in batch, 10 to 100": ("exponent 0.60", "denied"),
        "2 devices are 2 times as fast, batch 8": ("1.92 times", "confirmed"),
        "4 devices are 4 times as fast, batch 8": ("1.67 times", "denied"),
    }


@pytest.mark.parametrize("field, text", [("centres", "4,0"), ("batches", "2,2"), ("devices", "")])
def test_bad_lists(field, text):
    with pytest.raises(ValueError, match=f"{field} is '{text}'; allowed: integers, 1 or more, each once"):
        flow_scaling.cases(dataclasses.replace(TINY, **{field: text}))


def test_bad_flags(capsys):
    with pytest.raises(SystemExit) as end:
        runs.main(flow_scaling.ScalingConfig, flow_scaling.run, ["flow_scaling", "--repeats=3"])
    assert end.value.code == 2 and "--repeats=3: allowed: an integer from 7 to 1000" in capsys.readouterr().err


@pytest.mark.slow
def test_two_devices_are_made_out_of_a_cpu():
    flags = ["--centres=2", "--latents=2", "--batches=2", "--devices=1,2", "--target_ms=0.1"]
    code, out, err = commands.run_alone("benchmarks.flow_scaling", *flags)
    assert code == 0, err
    assert "2 devices are 2 times as fast" in out
