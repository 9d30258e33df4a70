"""The parts of the recipe: the whole one is that of the flag file, one part is left out, the gap has its interval."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from jaxgen import diffusion, runs
from jaxgen.diffusion.studies import parts

FLAGS = Path(__file__).parents[2] / "experiments" / "flags" / "diffusion_compact.flags"


def test_the_whole_recipe_is_that_of_the_flag_file():
    seen = []
    runs.main(diffusion.DiffusionConfig, lambda config, _: seen.append(config), ["program", f"--flagfile={FLAGS}"])
    of_samples = ("epochs", "sampler", "sample_steps", "likelihood_images", "flow_images")
    ours = parts.recipe(0, 450)
    assert dataclasses.replace(seen[0], **{name: getattr(ours, name) for name in of_samples}) == ours
    assert ours.epochs * 54_000 / ours.batch_size == pytest.approx(450)


def test_every_part_changes_one_setting_and_can_be_built():
    whole = dataclasses.asdict(parts.recipe(3, 100))
    for part in parts.PARTS:
        config = parts.recipe(3, 100, part)
        changed = {name for name, value in dataclasses.asdict(config).items() if value != whole[name]}
        assert len(changed) == (part != parts.WHOLE), (part, changed)
        diffusion.build_diffusion(config)


def test_the_gap_is_paired_by_seed_and_a_second_start_goes_on(tmp_path, monkeypatch):
    values = {"whole": [2.0, 3.0, 4.0], "eps": [4.0, 4.5, 6.5]}
    asked = []

    def judged(config, path, n):
        asked.append(path.name)
        if len(asked) == 5:
            raise KeyboardInterrupt
        part = path.name.partition("_")[0]
        return {"frechet": np.asarray(values[part][config.seed - 1]), "accuracy": np.asarray(0.9)}

    monkeypatch.setattr(parts, "_judged", judged)
    monkeypatch.setattr(parts, "PARTS", {part: parts.PARTS[part] for part in values})
    config = parts.PartsConfig(seed=1, n=300)
    with pytest.raises(KeyboardInterrupt):
        parts.measure(config, tmp_path)
    report = parts.measure(config, tmp_path)
    assert asked[4:] == ["eps_seed2", "eps_seed2", "eps_seed3"]
    whole, eps = report.rows
    assert (whole.value, eps.value) == (3.0, 5.0) and "minus" not in whole.note
    gaps = np.array([2.0, 1.5, 2.5])
    wanted = scipy.stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert f"minus the whole recipe +2 (95 % {wanted.low:+.2g} to {wanted.high:+.2g})" in eps.note
    assert "by seed 4, 4.5, 6.5; conditional accuracy 0.9000" in eps.note
