"""The package: its declarations agree, the command `jaxgen` runs the scripts, a wheel works away from the checkout."""

import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import warnings
import zipfile
from pathlib import Path

import jax
import pytest

import jaxgen
from jaxgen import __main__ as program

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_the_dependencies_and_every_extra_but_cuda():
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "cuda"}
    declared = PROJECT["dependencies"] + [
        line for lines in extras.values() for line in lines if not line.startswith("jaxgen[")
    ]
    assert (ROOT / "requirements.txt").read_text().splitlines() == declared


def test_every_requirement_has_a_floor_and_a_ceiling():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line), line


def test_one_version():
    version = jaxgen.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}] - 20" in (ROOT / "CHANGELOG.md").read_text()


def test_late_import_warns(monkeypatch):
    jax.devices()
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.warns(UserWarning, match="jaxgen was imported after JAX had started"):
        importlib.reload(jaxgen)
    assert "--xla_cpu_prefer_vector_width=512" in os.environ["XLA_FLAGS"]
    with warnings.catch_warnings():  # nothing changed by the second import, so nothing came too late
        warnings.simplefilter("error")
        importlib.reload(jaxgen)


def test_no_warning_before_jax_starts(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.delitem(sys.modules, "jax._src.xla_bridge")  # as where JAX was not imported, or has moved the function
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(jaxgen)


def test_flags_of_the_user_stay(monkeypatch):
    mine = "--xla_cpu_prefer_vector_width=256 --xla_cpu_experimental_ynn_fusion_type=-individual_dot"
    monkeypatch.setenv("XLA_FLAGS", mine)
    importlib.reload(jaxgen)
    assert os.environ["XLA_FLAGS"] == mine


def test_the_list_of_commands(capsys):
    program.main(["jaxgen"])
    lines = capsys.readouterr().out.splitlines()
    named = {words[0]: " ".join(words[1:]) for words in map(str.split, lines) if words}
    assert named["ebm_cd"].startswith("Train a Potts energy-based model")
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__", "side_by_side"}
    assert scripts <= named.keys() and "side_by_side" not in named
    assert all(named[name] for name in scripts)
    for alias in ("--help", "-h", "help"):
        program.main(["jaxgen", alias])
        assert capsys.readouterr().out.splitlines() == lines
    program.main(["jaxgen", "--version"])
    assert capsys.readouterr().out == f"jaxgen {jaxgen.__version__}\n"


def test_an_unknown_command_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["jaxgen", "ebm_cdd", "--steps=1"])
    assert stopped.value.code == 2
    expected = "jaxgen: command is 'ebm_cdd'; did you mean ebm_cd? run `jaxgen` for the list of commands\n"
    assert capsys.readouterr().err == expected


def test_a_command_is_the_script(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setenv("PYTHONPATH", "mine")
    program.main(["jaxgen", "ebm_cd", "--help"])
    assert capsys.readouterr().out.startswith("Train a Potts energy-based model")
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "mine"]


@pytest.mark.parametrize("name", ["xor", "xor.flags", "experiments/flags/xor.flags"])
def test_flag_files_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "experiments" / "flags" / "xor.flags")
    assert program.shipped_flagfiles([f"--flagfile={name}", "--steps=1"]) == [f"--flagfile={path}", "--steps=1"]
    assert program.shipped_flagfiles(["-flagfile", name, name]) == ["-flagfile", path, name]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("")  # the user's own file comes first
    assert program.shipped_flagfiles([f"--flagfile={name}"]) == [f"--flagfile={name}"]


def test_other_flag_files_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--flagfile=other", "--flagfile=folder/xor.flags", "--data_dir=xor", "--flagfile"]
    assert program.shipped_flagfiles(words) == words


@pytest.mark.slow
def test_the_core_imports_without_what_only_commands_need():
    absent = ["matplotlib", "tqdm", "tensorboardX", "PIL", "sklearn", "networkx", "optuna"]
    # None in sys.modules makes an import fail. absl is not among them: flax imports it.
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from jaxgen import gibbs, potts; print(potts)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(words, check=True, cwd=folder)
    (path,) = folder.glob("jaxgen-*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_data_and_only_one_top_level_name(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "jaxgen").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in files} <= names
    assert {f"jaxgen/data/mnist/{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in
            ("images-idx3", "labels-idx1")} <= names  # fmt: skip
    assert "jaxgen/information/cells.csv" in names and "jaxgen/py.typed" in names
    assert "jaxgen/_commands/requirements.txt" in names  # read by selfcheck
    flags = {path.name for path in (ROOT / "experiments" / "flags").iterdir()}
    assert {f"jaxgen/_commands/experiments/flags/{name}" for name in flags} <= names
    assert {name.partition("/")[0] for name in names} == {"jaxgen", f"jaxgen-{jaxgen.__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".png", ".ipynb"))]


@pytest.mark.slow
def test_the_wheel_works_away_from_the_checkout(wheel, tmp_path):
    """Install into a virtual environment of its own, to which the packages of this one are added."""
    venv, away = tmp_path / "venv", tmp_path / "away"
    away.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(words, check=True, cwd=away)
    (site,) = venv.rglob("site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}

    def run(*words) -> str:
        done = subprocess.run(list(map(str, words)), cwd=away, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = (
        "import jaxgen; from jaxgen import data, gibbs, information, potts; print(jaxgen.__file__); "
        "print(len(data.load('mnist').train_images))"
    )
    where, count = run(python, "-c", code).split()
    assert Path(where).is_relative_to(venv.resolve()) and int(count) == 60000
    listed = run(scripts / "jaxgen")
    assert "  ebm_cd " in listed and "  report " not in listed
    short = ["--steps=2", "--chains=8", "--batch_size=8", "--cd_steps=1", "--fresh_chains=8", "--fresh_sweeps=2"]
    run(scripts / "jaxgen", "ebm_cd", "--flagfile=ebm_digit3_tied", *short, "--workdir=run")
    record = json.loads((away / "run" / "result.json").read_text())
    assert record["config"]["coupling"] == "tied"
    assert record["command"].startswith("python -m experiments.ebm_cd --flagfile=ebm_digit3_tied.flags --steps=2")
