"""README.md: its commands run, its example runs, its links lead somewhere, its map is the tree."""

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
    "ebm_inpaint": ["--sweeps=4", "--n=2"],
    "ebm_likelihood": ["--chains=16", "--temperatures=100", "--sweeps=4"],
    "ebm_denoising": [
        "--steps=4",
        "--warmup=1",
        "--batch_size=8",
        "--hidden=16",
        "--sweeps=1",
        "--samples=20",
        "--log_every=2",
        "--eval_every=2",
        "--checkpoint_every=2",
    ],
}


def module_and_flags(command):
    words = shlex.split(command.split("&&")[-1], comments=True)
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


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if name_of(c) in SHORT], ids=lambda c: c[-60:])
def test_the_commands_about_the_main_job_run(command, workdir, monkeypatch):
    """Each command runs as written, in one folder and in the order of the text, with fewer steps and sweeps."""
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


@pytest.mark.slow
def test_what_the_commands_measured(workdir):
    """After the commands above: the likelihood of 4 steps from the log marginals."""
    record = json.loads((workdir / "digit3" / "likelihood.json").read_text())["rows"]
    rows = {row["quantity"]: row for row in record}
    log_p = rows["log-likelihood"]["value"]
    assert "1010 test images" in rows["log-likelihood"]["note"]
    assert rows["bits per pixel"]["value"] == pytest.approx(-log_p / 784 / np.log(2))
    assert rows["independent pixels on the same images"]["value"] == pytest.approx(-302.3, abs=0.2)
    assert -303 < log_p < -150
    picture = Image.open(workdir / "digit3" / "figures" / "likelihood.png").convert("L")
    assert np.asarray(picture).std() > 10


@pytest.mark.slow
def test_the_library_example_runs(tmp_path, monkeypatch):
    """Run it with fewer steps and sweeps; the upper half of the completed images is the given one."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for long, short in {"steps=1000": "steps=4", "n_sweeps=1000": "n_sweeps=2", "n_sweeps=200": "n_sweeps=2"}.items():
        assert long in example
        example = example.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    assert names["x"].shape == (64, 28, 28) and names["info"].site_updates == 64 * 784 * 2
    completed, given = (np.asarray(array) for array in (names["completed"], names["task"].train[:16]))
    np.testing.assert_array_equal(completed[:, :14], given[:, :14])
    assert (completed[:, 14:] != given[:, 14:]).any()


def test_the_map_names_every_room():
    rooms = {f"jaxgen/{path.name}" for path in (ROOT / "jaxgen").iterdir() if (path / "__init__.py").exists()}
    mapped = re.search(r"## Map\n(.*?)\n## ", README, re.DOTALL).group(1)
    assert rooms <= set(mapped.split())


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text()):
            assert (ROOT / target.partition("#")[0]).exists(), target
