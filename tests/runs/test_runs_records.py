"""Result records, the report made from them, and the compilation cache."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import report, side_by_side
from jaxgen.runs import Row, command_line, option, records, write_record

ROOT = Path(report.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = option(3, "seed", group="run", low=0)
    file: str = option("/secret/place/x.csv", "a file", group="run")


def record(path, monkeypatch, rows):
    monkeypatch.setattr(sys, "argv", ["/secret/toy.py", "--steps=3", "--workdir=/secret/run", "--workdir", "/secret/b"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    write_record(path, title="Toy", family="toys", rows=rows, config=Config(), wall_time_s=12.34)
    return json.loads(path.read_text())


def test_record_holds_what_is_needed_and_no_machine_path(tmp_path, monkeypatch):
    written = record(tmp_path / "result.json", monkeypatch, [Row("loss", np.float32(0.5), target="< 1"), Row("n", 4)])
    assert written["command"] == "python toy.py --steps=3"
    assert written["seed"] == 3 and written["config"] == {"seed": 3, "file": "x.csv"}
    assert written["rows"][0] == {"quantity": "loss", "value": 0.5, "unit": "", "target": "< 1", "note": ""}
    assert set(written["versions"]) == {"python", "jax", "jaxlib", "flax", "optax", "thrml", "numpy"}
    assert "cores" in written["device"] or "NVIDIA" in written["device"]
    assert written["wall_time_s"] == 12.3
    assert "secret" not in json.dumps(written)


def test_relative_paths_survive_in_the_command(monkeypatch):
    here = str(Path.cwd() / "experiments" / "flags" / "x.flags")
    monkeypatch.setattr(sys, "argv", ["toy.py", f"--flagfile={here}", "--verbose"])
    assert command_line().endswith("--flagfile=experiments/flags/x.flags --verbose")


def test_record_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="value of 'loss' is nan; allowed: a finite number"):
        write_record(
            tmp_path / "r", title="", family="", rows=[Row("loss", float("nan"))], config=Config(), wall_time_s=1
        )
    with pytest.raises(ValueError, match="rows is empty"):
        write_record(tmp_path / "r", title="", family="", rows=[], config=Config(), wall_time_s=1)
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_printed_with_all_it_says():
    assert str(Row("loss", 0.1234567, "nats", "< 1", "of 3")) == "loss: 0.12346 nats  (< 1)  of 3"
    assert str(Row("parameters", 27328)) == "parameters: 27,328" and str(Row("run", "failed")) == "run: failed"


def test_report_has_a_section_per_family_and_a_row_per_number(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    record(tmp_path / "results" / "toy.json", monkeypatch, [Row("loss", 0.123456, "nats", "< 1"), Row("a|b", "failed")])
    arguments = ["report", f"--folder={tmp_path}"]
    assert report.main([*arguments, "--check"]) == 1
    assert report.main(arguments) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert (
        "## toys\n" in text and "### Toy\n\n- `python toy.py --steps=3`: seed 3, " in text and ", 12 s, commit " in text
    )
    assert "| loss | 0.1235 nats | < 1 |\n" in text and "| a\\|b | failed |  |\n" in text  # no column without content
    assert "- [toys](#toys)\n  - [Toy](#toy)\n" in text
    assert report.main([*arguments, "--check"]) == 0
    (tmp_path / "RESULTS.md").write_text(text + "typed by hand")
    assert report.main([*arguments, "--check"]) == 1


def test_seeds_share_a_table_and_models_are_compared_by_their_records(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "device_name", lambda: "CPU (3 cores)")
    (tmp_path / "results").mkdir()
    for name, nats in (("potts_0", -3.0), ("potts_1", -5.0), ("vae", -2.5)):
        rows = [Row("bound", nats, "nats", note=name), Row("rate", 4.0 if "potts" in name else 1.0)]
        record(tmp_path / "results" / f"{name}.json", monkeypatch, rows)
    columns = [
        {"name": "nats", "title": "likelihood", "better": "higher", "compare": "difference"},
        {"name": "rate", "title": "samples", "better": "higher", "compare": "ratio"},
        {"name": "energy", "title": "joules"},
    ]
    models = [
        {"name": "lattice", "potts": True, "group": "2 levels", "records": "potts_*", "nats": "bound", "rate": "rate"},
        {"name": "worse lattice", "potts": True, "group": "2 levels", "records": "potts_1", "nats": "bound"},
        {"name": "VAE", "group": "2 levels", "records": "vae", "nats": "bound", "rate": ["vae", "rate"]},
    ]
    claim = {"claim": "fast", "about": "untimed", "record": "vae", "quantity": "rate", "at_most": 0.5}
    headline = {"result": "bound of the lattices", "records": "potts_*", "quantity": "bound"}
    spec = {"columns": columns, "generators": models, "claims": [claim], "headlines": {"toys": [headline]}}
    spec["figures"] = [{"file": "toy.png", "records": "potts_0", "caption": "Curves of a toy."}]
    (tmp_path / "side_by_side.json").write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=r"no file 'toy\.png' in figures/"):
        report.build(tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "toy.png").write_bytes(b"")
    text = report.build(tmp_path)
    assert "|\n\n![Curves of a toy.](figures/toy.png)\n\n*Curves of a toy.*\n" in text
    assert "| bound | -3.5 (-5 to -2.5) nats | potts_0 / potts_1 / vae |" in text and "| rate | 3 (1 to 4) |" in text
    assert "| bound of the lattices | -4 (-5 to -3) nats | 3 | [Toy](#toy) |" in text
    joules = [side_by_side.number(1000 * side_by_side.CORE_WATTS * 3 / rate) for rate in (4, 1)]  # of 3 cores
    assert f"| lattice | -4 | 4 | {joules[0]} |" in text and f"| VAE | -2.5 | 1 | {joules[1]} |" in text
    assert "| worse lattice | -5 | - | - |" in text
    assert "| likelihood (higher is better) | lattice: -4 | VAE: -2.5 | worse by 1.5 |" in text
    assert "| samples (higher is better) | lattice: 4 | VAE: 1 | better by a factor of 4 |" in text
    assert "| fast | untimed | rate: 1 | no |" in text
    (tmp_path / "side_by_side.json").write_text(json.dumps(spec | {"claims": [claim | {"quantity": "speed"}]}))
    with pytest.raises(ValueError, match=r"no quantity 'speed' in results/vae\.json"):
        report.build(tmp_path)


def test_every_committed_figure_is_shown():
    """A picture that neither README nor RESULTS shows is a file that nobody finds."""
    folder = Path(report.__file__).parent
    shown = (ROOT / "README.md").read_text() + (folder / "RESULTS.md").read_text()
    missing = [path.name for path in (folder / "figures").iterdir() if f"figures/{path.name}" not in shown]
    assert not missing, "to be named in experiments/side_by_side.json"


def test_seeds_of_one_command_share_a_line_and_their_notes_a_cell(tmp_path):
    shared = {"family": "toys", "title": "Toy", "device": "CPU", "versions": {}, "commit": "abc"}
    (tmp_path / "results").mkdir()
    for seed, value in enumerate((1.5, 2.5, 3.5)):
        row = {
            "quantity": "loss",
            "value": value,
            "unit": "",
            "target": "",
            "note": f"1,000 images; error {value / 10}; interval {value - 1} to {value + 1}",
        }
        made = {"command": f"python toy.py --seed={seed}", "seed": seed, "wall_time_s": 10.0 + seed, "rows": [row]}
        (tmp_path / "results" / f"{seed}.json").write_text(json.dumps(shared | made))
    text = report.build(tmp_path)
    assert "- `python toy.py --seed=SEED`: seeds 0 to 2, CPU, 10 to 12 s each, commit abc\n" in text
    assert "| loss | 2.5 (1.5 to 3.5) | 1,000 images; error 0.15 to 0.35; interval 0.5 to 4.5 |" in text


def test_a_run_that_was_only_drawn_again_says_how_long_it_had_trained(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    record(tmp_path / "results" / "toy.json", monkeypatch, [Row("training time", 300.4, "s")])  # in 12.34 s
    assert "12 s after 300 s of training by an earlier start, commit " in report.build(tmp_path)


def test_the_contents_lead_to_headings():
    text = (ROOT / "experiments" / "RESULTS.md").read_text()
    anchors = [report.anchor(heading) for heading in re.findall(r"^##+ (.*)$", text, re.MULTILINE)]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(#(.*?)\)", text)
    assert len(links) > 50 and set(links) <= set(anchors)


def test_report_names_a_record_that_lacks_a_field(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "bad.json").write_text('{"family": "toys"}')
    assert report.main(["report", f"--folder={tmp_path}"]) == 2
    assert "bad.json has no field 'title'" in capsys.readouterr().err
    sound = dict.fromkeys(report.FIELDS, "") | {"rows": [], "versions": {}, "wall_time_s": 1.0}
    for rows, versions in (([{"quantity": "x", "value": 1}], {}), ("abc", {}), ([3], {}), ([], [])):
        record = sound | {"rows": rows, "versions": versions}
        (tmp_path / "results" / "bad.json").write_text(json.dumps(record))
        assert report.main(["report", f"--folder={tmp_path}"]) == 2
        assert "bad.json has rows or versions of another form" in capsys.readouterr().err


def test_committed_report_is_what_the_command_makes():
    assert (ROOT / "experiments" / "RESULTS.md").read_text() == report.build(ROOT / "experiments")


def test_cache_is_filled_and_found_again_without_noise(tmp_path):
    program = "\n".join(
        [
            "import jax, jax.numpy as jnp",
            "from jaxgen import runs",
            "hits = []",
            "jax.monitoring.register_event_listener(lambda name, **kw: hits.append(name))",
            "runs.configure()",
            "jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((64, 64))).block_until_ready()",
            "print(hits.count('/jax/compilation_cache/cache_hits'))",
        ]
    )
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    hits = []
    for _ in range(2):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("jax ")
        hits.append(int(done.stdout))
    (machine,) = (tmp_path / ".cache" / "jaxgen" / "xla").iterdir()
    assert hits[0] == 0 and hits[1] > 0 and any(machine.iterdir())


def git(folder, *words):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_source_and_says_if_files_differ(tmp_path, monkeypatch):
    source = tmp_path / "jaxgen" / "runs" / "records.py"
    source.parent.mkdir(parents=True)
    source.write_text("# one")
    monkeypatch.setattr(records, "__file__", str(source))
    assert records.source_commit() is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert records.source_commit() == commit
    (tmp_path / "notes.txt").write_text("not tracked")
    assert records.source_commit() == commit
    source.write_text("# two")
    assert records.source_commit() == f"{commit}-dirty"
    inner = tmp_path / "site-packages" / "jaxgen" / "runs" / "records.py"
    monkeypatch.setattr(records, "__file__", str(inner))
    assert records.source_commit() is None


def test_a_record_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    write_record(tmp_path / "r.json", title="t", family="f", rows=[Row("q", 1.0)], wall_time_s=1.0)
    assert "commit" not in json.loads((tmp_path / "r.json").read_text())
