"""No load path runs what a file says, and no config leads a run out of its folder."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxgen import evaluation, pmflow, runs, vae

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for room in ("jaxgen", "experiments", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))]
UNSAFE = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml"}


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def nodes():
    """Every node of every source; a failure shows the file's name, which is in the variable `path`."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield str(path.relative_to(ROOT)), node


def test_no_source_unpickles():
    for path, node in nodes():
        if isinstance(node, ast.Import):
            assert not UNSAFE & {name.name.split(".")[0] for name in node.names}, path
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNSAFE, path
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "torch.load", "os.system"), path
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("allow_pickle", "False") == "False", path
            assert keywords.get("shell", "False") == "False", path
            assert name not in ("np.load", "numpy.load"), f"{path}: runs.read_npz has bounds"


def test_a_pickled_array_is_refused_and_not_run(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "samples.npz"
    bomb = np.empty(1, object)
    bomb[0] = Bomb(mark)
    np.savez(path, images=bomb)
    with pytest.raises(ValueError, match="pickle"):
        evaluation.load_samples(path)
    (tmp_path / "whole.npz").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError):
        evaluation.load_samples(tmp_path / "whole.npz")
    assert not mark.exists()
    np.load(path, allow_pickle=True)["images"]
    assert mark.exists(), "the bomb is a real one"


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", ".."])
def test_names_in_a_config_cannot_lead_out_of_the_run_folder(name):
    with pytest.raises(ValueError):
        pmflow.model_configs(pmflow.PMFlowConfig(models=name))
    with pytest.raises(ValueError, match="dataset is"):
        runs.validate(vae.VAEConfig(dataset=name))
