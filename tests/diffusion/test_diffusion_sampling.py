"""The comparison of guidances and samplers: what is compared, how w is chosen, what a second start repeats."""

import dataclasses
import types

import numpy as np
import pytest

from jaxgen import diffusion, runs
from jaxgen.diffusion import report
from jaxgen.diffusion.studies import sampling
from jaxgen.errors import UserError

RUN = diffusion.DiffusionConfig(objective="flow", size="tiny", sampler="midpoint", sample_steps=6, timesteps=300)
CONFIG = sampling.SamplingConfig(evaluations="5,12", samplers="heun,euler")


@pytest.fixture(scope="module")
def task():
    return diffusion.DiffusionTask.load(RUN)


def test_every_sampler_has_the_evaluations_asked_for(task):
    settings = sampling.compared(CONFIG, task, diffusion.Generation(w=2.0))
    assert [(s.sampler, s.steps, s.w) for s in settings] == [("heun", 6, 2.0), ("euler", 5, 2.0), ("euler", 12, 2.0)]
    every = sampling.compared(sampling.SamplingConfig(evaluations="4"), task, diffusion.Generation())
    assert {(s.sampler, s.steps) for s in every} == {
        ("euler", 4), ("midpoint", 2), ("ancestral", 4), ("heun", 2), ("dpm_solver", 4),
        ("dpm_solver_sde", 4), ("unipc", 4),
    }  # fmt: skip
    denoiser = dataclasses.replace(task, diffusion=task.diffusion._replace(prediction="v"))
    every = sampling.compared(sampling.SamplingConfig(evaluations="4"), denoiser, diffusion.Generation())
    assert {s.sampler for s in every} == set(diffusion.SAMPLERS)
    with pytest.raises(UserError, match="sampler is 'plms'; allowed: ancestral"):
        sampling.compared(sampling.SamplingConfig(samplers="plms"), task, diffusion.Generation())


def test_the_best_guidance_of_enough_accuracy_is_used_and_a_second_start_goes_on(task, tmp_path, monkeypatch):
    state, measured = types.SimpleNamespace(step=3, ema_params={}), []
    reference = types.SimpleNamespace(features=lambda images: np.random.default_rng(0).normal(size=(70, 64)))
    monkeypatch.setattr(sampling, "restore_run", lambda workdir: (task, state))
    monkeypatch.setattr(sampling.evaluation, "reference_for", lambda *arguments: reference)

    def figures(config, task, params, settings, reference, held_out):
        measured.append((settings.sampler, settings.steps, settings.w))
        if len(measured) == 7:
            raise KeyboardInterrupt
        accuracy = np.asarray(0.98 + 0.01 * (settings.w > 1))
        return {"frechet": np.asarray(abs(settings.w - 1.2)), "accuracy": accuracy, "error": np.asarray(0.0125)}

    monkeypatch.setattr(sampling, "_judged", figures)
    with pytest.raises(KeyboardInterrupt):
        sampling.measure(CONFIG, tmp_path)
    report = sampling.measure(CONFIG, tmp_path)
    # Six settings and the interrupted one, then only that one and the rest.
    assert [w for *_, w in measured[:5]] == [1, 1.5, 2, 2.5, 3] and measured[5] == ("heun", 6, 1.5)
    assert measured[6:] == [("euler", 5, 1.5), ("euler", 5, 1.5), ("euler", 12, 1.5)]
    rows = {row.quantity: row.value for row in report.rows}
    assert rows["guidance chosen"] == 1.5 and len(rows) == 9  # 1 is nearer and less accurate
    assert rows["Frechet distance to held-out images, heun, 12 evaluations, w = 1.5"] == pytest.approx(0.3)
    notes = {row.quantity: row.note for row in report.rows}
    note = "conditional accuracy 0.9900; error on the mixture 0.013"
    assert notes["Frechet distance to held-out images, euler, 12 evaluations, w = 1.5"].endswith(note)
    assert "error on the mixture by network evaluations" in report.table and "0.0125" in report.table


def test_refusals(task, tmp_path, monkeypatch):
    whole = dataclasses.replace(task, config=dataclasses.replace(task.config, part="all"))
    monkeypatch.setattr(sampling, "restore_run", lambda workdir: (whole, None))
    with pytest.raises(UserError, match="part is 'all', which holds out the test images alone"):
        sampling.measure(CONFIG, tmp_path)
    # Before anything is drawn, and before the reference is read.
    monkeypatch.setattr(sampling, "restore_run", lambda workdir: (task, None))
    monkeypatch.delattr(sampling.evaluation, "reference_for")
    for changed, message in (
        ({"guidances": "1,x"}, "guidances is '1,x'; allowed: numbers from 0 to 100"),
        ({"guidances": "1,1.0"}, "guidances is '1,1.0'; allowed: .*each once"),
        ({"evaluations": "0"}, "evaluations is '0'; allowed: integers, 1 or more"),
        ({"samplers": "best"}, "sampler is 'best'; allowed: ancestral"),
        ({"samplers": "euler, euler"}, "samplers is 'euler, euler'; allowed: all, or samplers, each once"),
    ):
        with pytest.raises(UserError, match=message):
            sampling.measure(dataclasses.replace(CONFIG, **changed), tmp_path)
    assert not list(tmp_path.iterdir())


def test_how_samples_are_rendered():
    real = np.array([[0, 0, 50, 250]], np.uint8)
    ink, black, grey = report.rendering_rows(np.array([[0, 100, 1, 101]], np.uint8), real)
    assert (ink.value, black.value, grey.value) == (pytest.approx(202 / 300), 0.25, 0.25)
    assert "training images 0.000" in black.note and "training images 0.250" in grey.note


def test_the_panel_is_that_of_the_dataset_of_the_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(report.evaluation, "reference_for", lambda *arguments: asked.append(arguments))
    config = dataclasses.replace(RUN, dataset="fashion_mnist", data_dir="idx")
    images, label = np.zeros((20, 28, 28), np.uint8), diffusion.classes_in_turn(20)
    assert report.panel_rows(config, images, label, "", runs.Pieces(tmp_path, {})) == ([], "")
    assert asked == [(20, "fashion_mnist", "", "idx")]
