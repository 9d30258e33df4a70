"""README.md: its commands run, its example runs, its map is the tree."""

import json
import re
import shlex
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    ") and "python -m" in line]
SHORT = {
    "ebm_cd": commands.SHORT_RUN,
    "ebm_sample": ["--sweeps=4"],
    "data_exploration": [],
    "ebm_likelihood": ["--chains=16", "--temperatures=100", "--sweeps=4"],
    "ebm_convergence": [
        "--chains=4",
        "--sweeps=50",
        "--slow_sweeps=50",
        "--slow_chains=2",
        "--replicas=2",
    ],
}
MEASURED = ("likelihood", "convergence")


def module_and_flags(command):
    words = shlex.split(command.split("&&")[-1])
    return words[2], words[3:]


def test_the_two_commands_install_then_run():
    setups = [command.split("&&")[0].strip() for command in COMMANDS if "&&" in command]
    assert setups == ["pip install -r requirements.txt", "pip install -r tests/requirements.txt"]
    assert module_and_flags(COMMANDS[0])[0] == "experiments.ebm_cd"
    assert any(module_and_flags(command) == ("pytest", ["-n", "2", "--dist", "loadfile"]) for command in COMMANDS)


def name_of(command):
    return module_and_flags(command)[0].removeprefix("experiments.")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("command", [c for c in COMMANDS if name_of(c) in SHORT], ids=lambda c: c[-60:])
def test_the_commands_about_the_main_job_run(command, workdir, monkeypatch):
    """As written, in one folder and in the order of the text, with fewer steps, sweeps and neighbours."""
    module, flags = module_and_flags(command)
    flags = [flag.replace("=runs/", f"={workdir}/") for flag in flags] + SHORT[name_of(command)]
    monkeypatch.chdir(ROOT)
    code, _, err = commands.run(module, *flags)
    assert code == 0, err


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if "experiments." in c and name_of(c) not in SHORT], ids=lambda c: c[-60:]
)
def test_the_flags_of_the_other_commands_are_right(command, monkeypatch):
    """They are read, and --help keeps the rest, whose short forms the tests of each family run, from running."""
    module, flags = module_and_flags(command)
    monkeypatch.chdir(ROOT)
    code, out, _ = commands.run(module, *flags, "--help")
    assert code == 0 and f"python -m {module}" in out


def test_what_the_commands_measured(workdir):
    """After the commands above: the likelihood of 4 steps from the log marginals, and where chains were looked at."""
    records = {name: json.loads((workdir / "digit3" / f"{name}.json").read_text())["rows"] for name in MEASURED}
    likelihood, convergence = ({row["quantity"]: row for row in rows} for rows in records.values())
    log_p = likelihood["log-likelihood"]["value"]
    assert "1010 test images" in likelihood["log-likelihood"]["note"]
    assert likelihood["bits a pixel"]["value"] == pytest.approx(-log_p / 784 / np.log(2))
    assert likelihood["independent pixels on the same images"]["value"] == pytest.approx(-302.3, abs=0.2)
    assert -303 < log_p < -150
    assert convergence["sweeps from data to 0.9 of the final share"]["value"] == 0
    assert 0 <= convergence["parallel tempering: swaps taken"]["value"] <= 1
    for name in MEASURED:
        picture = Image.open(workdir / "digit3" / "figures" / f"{name}.png").convert("L")
        assert np.asarray(picture).std() > 10


def test_the_library_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example, names)
    assert names["x"].shape == (64, 28, 28) and np.isfinite(names["energy"]).all()
    assert names["info"].site_updates == 64 * 784 * 50


def test_the_map_names_every_room():
    rooms = {f"jaxgen/{path.name}" for path in (ROOT / "jaxgen").iterdir() if (path / "__init__.py").exists()}
    mapped = re.search(r"## Map\n(.*?)\n## ", README, re.DOTALL).group(1)
    assert rooms <= set(mapped.split())


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
