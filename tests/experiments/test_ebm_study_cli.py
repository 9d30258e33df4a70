"""Commands of the Potts study, in this process: a blind sheet from a file to its score, and what is refused."""

import json

import numpy as np
import pytest

from experiments import ebm_blind, ebm_convergence, ebm_energy, ebm_inpaint, ebm_likelihood, ebm_pictures, ebm_sample
from jaxgen import data


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    """Generated: the first 2,000 training images in 4 levels, labels given."""
    folder = tmp_path_factory.mktemp("blind")
    images, labels = data.split(data.load(), "train")
    np.savez(folder / "x.npz", states=data.encode(images[:2000], 4), levels=4, labels=labels[:2000])
    ebm_blind.run(ebm_blind.BlindConfig(samples=str(folder / "x.npz"), each=10), folder / "sheet")
    return folder / "sheet"


def test_a_sheet_is_made_answered_and_scored(sheet):
    key = json.loads((sheet / "key.json").read_text())
    assert key["samples"] == "x.npz" and len(key["entries"]) == 20
    lines = [f"{one['number']},{'real' if one['real'] else 'generated'}" for one in key["entries"]]
    (sheet / "answers.csv").write_text("\n".join(["number,answer", *lines]) + "\n")
    config = ebm_blind.BlindConfig(score=str(sheet / "answers.csv"), key=str(sheet / "key.json"))
    ebm_blind.run(config, sheet)
    record = json.loads((sheet / "score.json").read_text())
    rows = {row["quantity"]: row["value"] for row in record["rows"]}
    assert rows["share told apart"] == 1.0 and rows["p-value of guessing"] == pytest.approx(2 * 0.5**20)


@pytest.mark.parametrize("name", ["sheet.png", "answers.csv", "key.json"])
def test_a_foreign_file_is_not_overwritten(sheet, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"holds a {name}; allowed: a folder without one"):
        ebm_blind.run(ebm_blind.BlindConfig(samples=str(sheet.parent / "x.npz"), each=10), tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_sheet_is_not_overwritten_and_flags_must_go_together(sheet):
    with pytest.raises(ValueError, match=r"holds a key.json; allowed: a folder without one"):
        ebm_blind.run(ebm_blind.BlindConfig(samples=str(sheet.parent / "x.npz"), each=10), sheet)
    for flags in ({}, {"score": "a"}, {"samples": "a", "score": "b", "key": "c"}, {"samples": "a", "key": "c"}):
        with pytest.raises(ValueError, match="samples, score and key do not fit together; allowed: --samples, or"):
            ebm_blind.run(ebm_blind.BlindConfig(**flags), sheet)


@pytest.mark.parametrize(
    "module, config",
    [
        (ebm_energy, ebm_energy.EnergyConfig),
        (ebm_inpaint, ebm_inpaint.InpaintConfig),
        (ebm_likelihood, ebm_likelihood.LikelihoodConfig),
        (ebm_pictures, ebm_pictures.PicturesConfig),
        (ebm_sample, ebm_sample.SampleConfig),
        (ebm_convergence, ebm_convergence.ConvergenceConfig),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path, module, config):
    with pytest.raises(ValueError, match=r"allowed: a run folder. Train first: python -m experiments.ebm_cd"):
        module.run(config(), tmp_path)
