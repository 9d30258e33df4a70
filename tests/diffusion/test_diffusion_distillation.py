"""Distillation: the paths are those of Euler's method, the loss is zero for a student that takes their steps."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stand_ins import stand_in

from jaxgen import diffusion, runs, training
from jaxgen.diffusion import guidance, rectified_flow
from jaxgen.diffusion.studies import distillation
from jaxgen.diffusion.unet import UNet
from jaxgen.errors import UserError

KEY = jax.random.key(0)


class Straight(UNet):
    """A network that answers a x + b t, t from 0 to 1."""

    def apply(self, variables, x, t, label):
        a, b = variables["params"]
        return a * x + b * ((t - 1) / 1000)[:, None, None, None]


def steps_of(a, b, k, start):
    path = [start]
    for t in np.arange(k, 0, -1) / k:
        path.append(path[-1] - (a * path[-1] + b * t) / k)
    return np.stack(path, axis=1).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_loss_is_zero_for_a_student_that_takes_the_steps(k):
    start = np.random.default_rng(0).normal(size=(64, 3, 3, 1))
    batch = {
        "path": jnp.asarray(steps_of(0.3, 0.8, k, start)),
        "label": jnp.arange(64) % 10,
        "position": jnp.arange(64, dtype=jnp.uint32),
    }
    loss_fn = distillation.student_loss(stand_in(Straight), k)
    assert float(loss_fn((0.3, 0.8), KEY, batch)[0]) == pytest.approx(0, abs=1e-10)
    # With the whole path wrong by a constant velocity d the loss is d^2.
    wrong = batch | {"path": batch["path"] - 0.5 * jnp.arange(k + 1)[None, :, None, None, None] / k}
    loss, parts = loss_fn((0.0, 0.0), KEY, wrong | {"path": wrong["path"] - batch["path"]})
    assert float(loss) == pytest.approx(0.25, rel=1e-5) and parts["mse"] == loss


def test_a_path_is_that_of_the_guided_flow():
    unet = diffusion.make_unet("compact", base=8, multipliers=(1,), patch=4)
    params = diffusion.init_params(KEY, unet)
    params = jax.tree.map(lambda p: p + 0.3 * np.random.default_rng(0).normal(size=p.shape).astype(np.float32), params)
    model = diffusion.Diffusion(unet, diffusion.make_process("cosine", 9), "flow", (8, 8, 1))
    label = diffusion.classes_in_turn(130)
    paths = distillation.teacher_paths(KEY, model, params, label, diffusion.Generation("euler", 2, 2.0))
    assert paths.shape == (130, 3, 8, 8, 1)
    assert abs(paths[:, 0].std() - 1) < 0.02 and np.abs(paths[128:, 0] - paths[:2, 0]).max() > 0.1
    velocity = rectified_flow.make_velocity(guidance.network(unet, params), jnp.asarray(label), 2.0)
    half = paths[:, 0] - velocity(jnp.asarray(paths[:, 0]), 1.0) / 2
    np.testing.assert_allclose(paths[:, 1], half, atol=1e-3)


@pytest.mark.slow
def test_students_are_runs_from_which_images_are_drawn(tmp_path):
    teacher = diffusion.DiffusionConfig(
        size="compact", base=8, blocks=1, objective="flow", epochs=3 * 64 / 50_000, batch_size=64, guidance=1.5
    )
    with runs.RunFolder.open(tmp_path / "teacher", teacher) as folder:
        training.train(diffusion.DiffusionTask.load(teacher), folder)
    config = distillation.DistillationConfig(
        teacher=str(tmp_path / "teacher"), students="2", teacher_steps=4, paths=64, updates=2, n=256
    )
    runs.execute(config, tmp_path / "students", distillation.prepare)
    rows = json.loads((tmp_path / "students" / "result.json").read_text())["rows"]
    names = ["teacher, 2 Euler steps", "teacher, 4 Euler steps", "student of 2 steps"]
    assert [row["quantity"].split("images, ")[-1] for row in rows[:-1]] == names
    assert [int(row["note"].split()[0]) for row in rows[:-1]] == [4, 8, 2]
    assert (tmp_path / "students" / "figures" / "students.png").exists()
    start = diffusion.load(tmp_path / "teacher")[1]
    _, params = diffusion.load(tmp_path / "students" / "students" / "2")
    moved = [float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (params, start)), strict=True)]
    assert 0 < max(moved) < 0.01  # two updates away from the teacher
    config = json.loads((tmp_path / "students" / "students" / "2" / "config.json").read_text())
    assert (config["sampler"], config["sample_steps"], config["guidance"]) == ("euler", 2, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teacher": ""},
            "teacher is '', which is no run folder; allowed: one of experiments",
        ),
        (
            {"teacher": "/nowhere"},
            "teacher is '/nowhere', which is no run folder; allowed: one of experiments",
        ),
        ({}, "teacher has objective 'v'; allowed: a run with objective=flow"),
        ({"objective": "flow", "students": "1,3"}, "students has 3; allowed: divisors of teacher_steps=8"),
    ],
)
def test_refusals(monkeypatch, tmp_path, changes, message):
    (tmp_path / "config.json").write_text("{}")
    config = diffusion.DiffusionConfig(objective=changes.pop("objective", "v"))
    task = types.SimpleNamespace(diffusion=diffusion.build_diffusion(config), config=config)
    monkeypatch.setattr(distillation, "restore_run", lambda workdir: (task, types.SimpleNamespace(ema_params=None)))
    with pytest.raises(UserError, match=message):
        distillation.prepare(distillation.DistillationConfig(**({"teacher": str(tmp_path)} | changes)))
