"""Every flag of every program has its limits, and what differs between machines is asked in one file."""

import ast
import dataclasses
import importlib
import pkgutil

import commands
import pytest

import benchmarks
import experiments
import jaxgen
from jaxgen import runs, training
from jaxgen.errors import UserError
from jaxgen.runs.config import LARGEST_SEED, options

SEEDS = ("seed", "first_seed")
ONLY_IN_PLATFORM = {
    "fcntl", "msvcrt", "resource", "pwd", "os.sched_getaffinity", "os.getloadavg", "os.getuid", "/proc/cpuinfo",
}  # fmt: skip


def configs():
    """Return every Config class of the library, the experiments and the benchmarks."""
    classes = {}
    for package in (jaxgen, experiments, benchmarks):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.endswith("__main__") or module.name == "benchmarks.throughput.optional_peers":
                continue
            for value in vars(importlib.import_module(module.name)).values():
                declared = isinstance(value, type) and dataclasses.is_dataclass(value)
                fields = dataclasses.fields(value) if declared else ()
                if fields and all("group" in field.metadata for field in fields):
                    classes[f"{value.__module__}.{value.__name__}"] = value
    return classes


CONFIGS = configs()


def test_there_are_configs_of_every_family():
    assert len(CONFIGS) > 30
    for room in ("potts", "vae", "diffusion", "pmflow", "energy_learning", "information", "evaluation"):
        assert any(name.startswith(f"jaxgen.{room}.") for name in CONFIGS), room


@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_has_a_smallest_and_a_largest_value(name):
    for option in options(CONFIGS[name]):
        if option.type in (int, float) and option.choices is None:
            assert option.low is not None and option.high is not None, f"{name}.{option.name}"
            assert option.low <= option.high < float("inf")
            assert " from " in option.allowed(), "what --help states"
            assert not option.accepts(10**20) and not option.accepts(-(10**20))
        if option.name == "batch_size" and not name.startswith("benchmarks."):
            assert option.high <= 1_000_000 if "information" in name else option.high <= 60_000, f"{name}"
        if option.name in SEEDS:
            assert (option.low, option.high) == (0, LARGEST_SEED), f"{name}.{option.name}"
        default = option.default
        assert option.accepts(default), f"{name}.{option.name}"


def test_every_training_can_be_made_longer():
    """The field that says how long a training is may grow on resume, but for studies that compare at one length."""
    studies = {"LatticesConfig", "LatticeRun", "SchemesConfig"}
    trained = [c for c in CONFIGS.values() if "learning_rate" in names_of(c) and c.__name__ not in studies]
    assert len(trained) > 10
    for config in trained:
        lengths = [option for option in options(config) if option.name in ("steps", "epochs")]
        assert lengths and all(option.grows for option in lengths), config


def names_of(config):
    return {option.name for option in options(config)}


def test_seeds_are_checked_in_the_library_too():
    keys = [training.seed_key(seed) for seed in (0, 1, LARGEST_SEED)]
    assert len({str(key) for key in keys}) == 3
    for seed in (-1, LARGEST_SEED + 1, 2**63, 1.0, True, "0", None):
        with pytest.raises(UserError, match=f"seed is .*; allowed: an integer from 0 to {LARGEST_SEED}"):
            training.seed_key(seed)


@pytest.mark.parametrize("top", ["jaxgen", "experiments", "benchmarks"])
def test_what_differs_between_machines_is_asked_in_one_file(top):
    for path in sorted((commands.ROOT / top).rglob("*.py")):
        if path.name == "platform.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = [node.value]
            assert not ONLY_IN_PLATFORM & set(names), f"{path}:{node.lineno} asks for {names}"


def test_grown_values_are_told_from_changed_ones():
    @dataclasses.dataclass(frozen=True)
    class Config:
        steps: int = runs.option(10, "updates", group="run", low=1, high=100, grows=True)
        width: int = runs.option(3, "width", group="run", low=1, high=100)

    from jaxgen.runs.config import resumable

    assert resumable(Config(), Config(steps=20, width=4)) == ["steps: 10 -> 20"]
    assert resumable(Config(), Config(steps=5)) == []
