"""The house: which room may import which, what lies outside which folder, how large a folder and a file may grow."""

import ast
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for top in ("jaxgen", "experiments", "benchmarks") for path in (ROOT / top).rglob("*.py"))

# Each room may import itself and the rooms of earlier rows.
LAYERS = [
    {"errors"},
    {"runs"},
    {"data", "gibbs"},
    {"visualization", "training"},
    {"evaluation"},
    {"potts", "diffusion", "vae", "pmflow", "energy_learning", "information"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LIGHT = {"gibbs", "potts"}  # importing these needs no plotting, progress or flag library
HEAVY = {"matplotlib", "tqdm", "absl", "PIL", "sklearn", "tensorboardX", "optuna"}


def imported(path: Path, top_level_only: bool = False) -> list[str]:
    """Absolute dotted names that a file imports; `from a import b` counts as a.b."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "jaxgen").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [p for p in SOURCES if ROOT / "jaxgen" in p.parents], ids=lambda p: str(p.name))
def test_no_import_goes_upwards(path):
    own = room_of(path)
    if own in ("__init__", "__main__"):
        return
    for name in imported(path):
        top, _, rest = name.partition(".")
        assert top not in ("experiments", "benchmarks", "tests", "torch"), f"{path} imports {name}"
        room = rest.partition(".")[0]
        if top == "jaxgen" and room != own and room in LEVEL:
            assert LEVEL[room] < LEVEL[own], f"{path}: {own} imports {room}, which is not below it"


def test_every_room_has_a_layer():
    rooms = {path.parent.name for path in (ROOT / "jaxgen").glob("*/__init__.py")}
    assert rooms == set(LEVEL) - {"errors"}


def test_experiments_do_not_import_benchmarks():
    for path in (ROOT / "experiments").glob("*.py"):
        assert not [name for name in imported(path) if name.startswith("benchmarks")], path


def test_the_core_needs_no_plots_progress_bars_or_flags():
    """Along every import that is done when a file is imported, not inside a function."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    todo, seen = [f"jaxgen.{room}" for room in LIGHT], set()
    while todo:
        module = todo.pop()
        if module in seen or module not in modules:
            continue
        seen.add(module)
        for name in imported(modules[module], top_level_only=True):
            assert name.partition(".")[0] not in HEAVY, f"{modules[module]} imports {name}"
            parts = name.split(".")
            todo += [".".join(parts[:end]) for end in range(2, len(parts) + 1)]
    assert "jaxgen.potts.model" in seen


def test_only_one_file_maps_over_devices():
    users = [path for path in SOURCES if "jax.pmap" in path.read_text()]
    assert users == [ROOT / "jaxgen" / "training" / "parallel.py"]


def test_folders_and_files_stay_small():
    folders = {path.parent for path in SOURCES if ROOT / "experiments" not in path.parents}  # a flat list of commands
    for folder in folders:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 16, f"{folder} holds {len(files)} files"
    for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 320, path


def statements(path: Path) -> list[str]:
    """Lines of code without imports, comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not isinstance(s, ast.Import | ast.ImportFrom)] or [ast.Pass()]
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return [line.strip() for line in ast.unparse(tree).splitlines() if line.strip()]


def test_no_two_scripts_share_a_head():
    """No run of more than seven lines of code stands in two scripts."""
    limit = 7
    seen: dict[tuple[str, ...], Path] = {}
    for path in sorted((ROOT / "experiments").glob("*.py")):
        lines = statements(path)
        runs = {tuple(lines[i : i + limit + 1]) for i in range(len(lines) - limit)}
        for run in runs:
            assert run not in seen, f"{path.name} and {seen[run].name} share: " + "; ".join(run)
        seen |= dict.fromkeys(runs, path)


def test_records_hold_no_paths_of_a_machine():
    for path in itertools.chain((ROOT / "experiments" / "results").glob("*.json"), ROOT.glob("*/*.md")):
        text = path.read_text()
        assert "/home/" not in text and "/root/" not in text and "/tmp/" not in text, path
