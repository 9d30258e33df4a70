"""The notebooks run from the top folder, and print what they say."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def printed(name):
    """Run a notebook; return what its cells print, after a check that nothing failed."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "experiments" / "notebooks" / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    return "".join(output["text"] for output in outputs if output.get("name") == "stdout")


@pytest.mark.slow
def test_information():
    text = printed("information.ipynb")
    assert "coordinates (0, 1): H(Y|X) = 0.3063 nats" in text
    excess = float(text.partition("excess ")[2].split()[0])
    assert 0 < excess < 0.06, text
    assert "Swiss roll, 2 + 1: exact 0.413 nats" in text


@pytest.mark.slow
def test_pmflow():
    text = printed("pmflow.ipynb")
    moved = float(text.partition("moves the latents by ")[2].split()[0])
    assert 10 < moved < 60 and "paired differences of the test accuracy" in text, text
