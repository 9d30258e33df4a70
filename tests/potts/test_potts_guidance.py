"""The comparison of guidances of a denoising machine: which pair is chosen, and what a second start repeats."""

import types

import numpy as np
import pytest
from stand_ins import stand_in

from jaxgen import UserError, data, evaluation, potts
from jaxgen.potts import denoising
from jaxgen.potts.denoising import guidance
from jaxgen.potts.denoising.evaluate import binarization_floor

CONFIG = guidance.GuidanceConfig(guidances="1,1.4,2", betas="1,1.3", n=300)


@pytest.fixture(scope="module")
def restored():
    model = potts.load_pretrained("denoising_digits")
    return denoising.DenoisingTask.load(denoising.DenoisingConfig(hidden=1024)), model


def test_the_nearest_pair_of_enough_accuracy_is_chosen_and_a_second_start_goes_on(restored, tmp_path, monkeypatch):
    seen = []
    reference = types.SimpleNamespace(features=lambda images: np.random.default_rng(0).normal(size=(70, 64)))
    monkeypatch.setattr(guidance, "restore_denoiser", lambda workdir: restored)
    monkeypatch.setattr(guidance.evaluation, "reference_for", lambda *arguments: reference)

    def figures(config, task, model, pair, reference, held_out):
        seen.append(pair)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return {"frechet": np.asarray(pair[0] + pair[1]), "accuracy": np.asarray(0.94 + 0.02 * (pair[0] > 1))}

    monkeypatch.setattr(guidance, "_figures", figures)
    with pytest.raises(KeyboardInterrupt):
        guidance.measure(CONFIG, tmp_path)
    report = guidance.measure(CONFIG, tmp_path)
    assert seen == [(1, 1), (1, 1.3), (1.4, 1), (1.4, 1), (1.4, 1.3), (2, 1), (2, 1.3)]
    rows = {row.quantity: row.value for row in report.rows}
    assert (rows["guidance chosen"], rows["last beta chosen"]) == (1.4, 1)  # w = 1 is nearer and less accurate
    assert rows["Frechet distance to held-out images, w = 2, last beta = 1.3"] == pytest.approx(3.3)


def test_guidance_raises_the_accuracy_of_the_packaged_machine(restored):
    """Measured on the reference that the panel uses; the label acts more strongly at a larger w."""
    task, model = restored
    reference = evaluation.reference_for(2000, levels=2)
    held_out = evaluation.moments(reference.test_features)
    weak, strong = (
        guidance._figures(CONFIG, task, model, (w, 1.3), reference, held_out)["accuracy"] for w in (0.5, 1.4)
    )
    assert strong > weak + 0.05 and strong > 0.95


def test_the_floor_is_the_distance_of_drawn_training_images():
    """The distance of images that are cut at half grey is smaller: drawing moves every feature."""
    task = denoising.DenoisingTask.load(denoising.DenoisingConfig())
    images = data.split(data.open("mnist"), "train")[0][:400]

    def features(greys):
        return np.stack([greys[:, rows].mean((1, 2)) for rows in (slice(8, 12), slice(12, 16), slice(16, 20))], 1)

    cut = features(data.decode(data.encode(images, 2), 2))
    reference = stand_in(evaluation.Reference, features=features, test_features=cut)
    row = binarization_floor(task, reference, len(images))
    drawn = features(data.decode(task.coded(task.key("evaluation"), images), 2))
    assert row.value == pytest.approx(evaluation.frechet_distance(evaluation.moments(drawn), evaluation.moments(cut)))
    assert row.value > 0 and row.note.startswith("400 training images")


def test_a_run_without_classes_and_lists_of_no_numbers_are_refused(restored, tmp_path, monkeypatch):
    task = types.SimpleNamespace(config=denoising.DenoisingConfig(labels=False))
    monkeypatch.setattr(guidance, "restore_denoiser", lambda workdir: (task, None))
    with pytest.raises(UserError, match="labels is false in this run"):
        guidance.measure(CONFIG, tmp_path)
    monkeypatch.setattr(guidance, "restore_denoiser", lambda workdir: restored)
    for text in ("1,x", "", "1,1", "-1", "nan", "11"):
        with pytest.raises(UserError, match=r"guidances is .*; allowed: numbers from 0 to 10, each once"):
            guidance.measure(guidance.GuidanceConfig(guidances=text), tmp_path)
