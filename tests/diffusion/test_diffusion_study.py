"""The study: what its configurations are, and that its words follow from its numbers."""

import dataclasses

import numpy as np
import pytest

from jaxgen import diffusion
from jaxgen.diffusion import figures
from jaxgen.diffusion.studies import comparison as study
from jaxgen.diffusion.studies.runs import record_rows


def fake_run(shift=0.0, spread=0.0, right=(5, 40, 46, 45), name=study.BASELINE, seed=0):
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(100).normal(0.04, 0.01, 200)
    losses = base + shift + spread * rng.normal(size=200)
    config = study.study_configs(seed)[name]
    images, labels = np.zeros((600, 1, 1), np.uint8), np.zeros(600, np.uint8)
    task = diffusion.DiffusionTask(config, diffusion.build_diffusion(config), images, labels, images, labels)
    return study.Run(task, np.array([0.08, 0.04 + shift]), losses, dict(zip(study.GUIDANCES, right, strict=True)))


def test_the_eight_configurations():
    configs = study.study_configs(3)
    assert list(configs) == list(study.NOTEBOOK_LOSSES) and len(configs) == 8
    baseline = configs[study.BASELINE]
    assert (baseline.size, baseline.epochs, baseline.batch_size, baseline.learning_rate) == ("medium", 20, 128, 1e-3)
    assert (baseline.timesteps, baseline.schedule, baseline.label_dropout, baseline.seed) == (300, "cosine", 0.1, 3)
    assert (baseline.objective, baseline.min_snr, baseline.part, baseline.clip) == ("eps", None, "all", 1.0)
    names = [field.name for field in dataclasses.fields(baseline)]
    changed = [name for c in configs.values() for name in names if getattr(c, name) != getattr(baseline, name)]
    assert sorted(changed) == ["batch_size", "epochs", "epochs", "learning_rate", "schedule", "size", "size"]
    quick = study.study_configs(3, quick=True)
    assert {c.size for c in quick.values()} == {"tiny"} and len({c.epochs for c in quick.values()}) == 3


def test_the_command_of_one_configuration_has_its_settings():
    """That of the docstring of experiments.diffusion_study, whose run folder `--mode=load` opens."""
    alone = diffusion.DiffusionConfig(part="all", eval_every=2000, checkpoint_every=2000)
    assert alone == study.study_configs(0)["baseline_20ep_small_cosine"]


@pytest.mark.parametrize("shift, verdict", [(0.003, "higher"), (-0.003, "lower"), (0.0001, "no difference detected")])
def test_verdicts_follow_the_intervals(shift, verdict):
    name = "epochs_30_medium_cosine"
    other = fake_run(shift, spread=0.005, name=name)
    comparisons = study.comparisons({study.BASELINE: [fake_run()], name: [other]})
    assert (
        len(comparisons) == 1
        and comparisons[0].verdict == verdict
        and comparisons[0].low < comparisons[0].value < comparisons[0].high
    )
    gaps = other.held_out - fake_run().held_out
    assert comparisons[0].value == pytest.approx(gaps.mean())
    reach = 1.972 * gaps.std(ddof=1) / 200**0.5
    assert comparisons[0].high - comparisons[0].value == pytest.approx(reach, rel=1e-3)


def test_several_seeds_are_the_unit_of_the_interval():
    name = "baseline_20ep_small_cosine"
    shifts = [0.001, 0.002, 0.006]
    others = [fake_run(shift, name=name, seed=seed) for seed, shift in enumerate(shifts)]
    (comparison,) = study.comparisons({study.BASELINE: [fake_run()] * 3, name: others})
    assert comparison.value == pytest.approx(0.003)
    assert comparison.high - comparison.low == pytest.approx(2 * 4.3027 * np.std(shifts, ddof=1) / 3**0.5, rel=1e-3)
    assert comparison.verdict == "no difference detected"


def test_another_schedule_is_not_compared_and_no_baseline_compares_nothing():
    name = "baseline_20ep_medium_linear"
    linear = [fake_run(0.01, name=name)]
    assert study.comparisons({study.BASELINE: [fake_run()], name: linear}) == []
    assert study.comparisons({name: linear}) == []


def test_summary_says_what_the_runs_say():
    name = "baseline_20ep_medium_cosine_bs64"
    text = study.summary({study.BASELINE: [fake_run()], name: [fake_run(0.003, right=(4, 39, 47, 20))]})
    assert "2 of 8 configurations, 1 seed." in text and f"- {name}: +0.00300" in text and "higher" in text
    assert "over images; another seed may differ" in text and "| 0.0430 | 0.0430 | 0.0354 |" in text
    assert "minus the baseline's" not in study.summary({name: [fake_run()]})
    lowest = study.summary({study.BASELINE: [fake_run()._replace(epochs=np.array([0.08, 0.041, 0.044]))]})
    assert "| 0.0440 | 0.0410 | 0.0357 |" in lowest
    # 93 of 96 at w = 3 against 79 and 65 and 9: Wilson's intervals overlap with none of them.
    assert "w = 3: 0.969" in text and "Highest at w = 3, distinguishable from all others." in text
    alike = study.best_guidance({study.BASELINE: [fake_run(right=(5, 44, 46, 45))]})
    assert "Highest at w = 3, not distinguishable from w = 1, 5." in alike


def test_the_record_holds_what_the_runs_measured():
    name = "baseline_20ep_small_cosine"
    group = [fake_run(0.001, name=name, right=(4, 24, 48, 36)), fake_run(0.003, name=name, right=(8, 24, 48, 36))]
    rows = {row.quantity: row for row in record_rows({name: group}, quick=False)}
    last = rows[f"training loss, last epoch, {name}"]
    assert last.value == pytest.approx(0.042) and last.target == "within 3 % of 0.0367"
    assert last.note == "first epoch 0.0800; original notebook 0.0766 and 0.0367"
    assert rows[f"held-out loss, {name}"].value == pytest.approx(np.mean([run.held_out for run in group]))
    shares = [rows[f"samples that show their digit at w = {w}, {name}"].value for w in (0, 1, 3, 5)]
    assert shares == pytest.approx([12 / 96, 0.5, 1.0, 0.75]) and len(rows) == 6


def test_the_losses_of_the_notebook_stand_at_the_first_and_the_last_epoch(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures.visualization, "save_figure", lambda path, figure: drawn.append(figure))
    figures.loss_figure(tmp_path / "0.png", {"one": np.array([0.3, 0.2, 0.1])}, {"one": (0.4, 0.05)})
    curve, notebook = drawn[0].axes[0].get_lines()
    assert curve.get_xydata().tolist() == [[1, 0.3], [2, 0.2], [3, 0.1]]
    assert notebook.get_xydata().tolist() == [[1, 0.4], [3, 0.05]]


def test_epochs_are_means_of_their_records():
    run = fake_run()
    train, label = np.zeros((1280, 1, 1), np.uint8), np.zeros(1280, np.uint8)
    task = dataclasses.replace(run.task, train=train, train_label=label)
    records = [{"step": step, "mse": float(step)} for step in range(1, 26)]
    np.testing.assert_allclose(study.epoch_losses(records, task), [5.5, 15.5, 23.0])


def test_the_columns_of_a_comparison_are_named(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures.visualization, "save_figure", lambda path, figure: drawn.append(figure))
    images = np.zeros((16, 28, 28), np.uint8)
    figures.comparison_figure(tmp_path / "0.png", 0, {name: {0.0: images, 3.0: images} for name in ("one", "two")})
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["w = 0", "w = 3", "", ""]
