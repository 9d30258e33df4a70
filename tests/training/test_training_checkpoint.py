"""Checkpoints: what is kept, what comes back, what a kill and a damage leave, and a reader beside a run."""

import json
import shutil
import threading
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.errors import UserError
from jaxgen.training import Checkpoints, checkpoint, create, restore_state

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def state_at(value, width=5):
    carry = {"keys": jax.random.split(jax.random.key(7), 3), "x": jnp.arange(4, dtype=jnp.uint8)}
    state = create(jax.random.key(3), {"w": jnp.full((width,), value), "none": {}}, TX, carry=carry)
    return state.replace(step=jnp.int32(value))


def filled(folder, metrics, **options):
    checkpoints = Checkpoints(folder, **options)
    for step, value in metrics.items():
        checkpoints.save(step, state_at(float(step)), None if value is None else {"fid": value})
    checkpoints.close()
    return folder


def latest(folder, **options):
    """Return the step restored by a new start."""
    checkpoints = Checkpoints(folder, **options)
    state = checkpoints.restore_latest(state_at(0.0))
    checkpoints.close()
    assert state is None or float(state.params["w"][0]) == int(state.step)
    return None if state is None else int(state.step)


def test_state_comes_back_exactly(tmp_path):
    checkpoints = Checkpoints(filled(tmp_path / "new", {1: None, 2: None, 3: None}))
    back, expected = checkpoints.restore_latest(state_at(0.0)), state_at(3.0)
    checkpoints.close()
    assert jax.tree.structure(back) == jax.tree.structure(expected)
    for restored, wanted in zip(jax.tree.leaves(back), jax.tree.leaves(expected), strict=True):
        assert restored.dtype == wanted.dtype
        if jnp.issubdtype(restored.dtype, jax.dtypes.prng_key):
            restored, wanted = jax.random.key_data(restored), jax.random.key_data(wanted)
        np.testing.assert_array_equal(restored, wanted)


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 1)])
def test_keeps_the_last_two_and_the_best(tmp_path, mode, best):
    metrics = {1: 9.0, 2: 1.0, 3: float("nan"), 4: None, 5: 5.0}
    checkpoints = Checkpoints(filled(tmp_path, metrics, best="fid", mode=mode), best="fid", mode=mode)
    assert checkpoints.steps() == [best, 4, 5]
    assert int(checkpoints.restore_best(state_at(0.0)).step) == best
    assert int(checkpoints.restore_latest(state_at(0.0)).step) == 5
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, (best, 4, 5)))


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / "empty", best="fid")
    assert checkpoints.restore_latest(state_at(0.0)) is None
    assert checkpoints.restore_best(state_at(0.0)) is None
    checkpoints.close()
    checkpoints = Checkpoints(filled(tmp_path / "unevaluated", {1: None}, best="fid"), best="fid")
    assert checkpoints.restore_best(state_at(0.0)) is None
    checkpoints.close()


def test_a_run_folder_gives_its_last_or_best_state_or_says_how_to_train_on(tmp_path):
    template, best = state_at(0.0), ("fid", "max")
    with pytest.raises(
        UserError, match=r"holds no checkpoint yet; .* Train on: python -m experiments\.toy --flagfile="
    ):
        restore_state(tmp_path, template, "experiments.toy")
    filled(tmp_path / "checkpoints", {1: 9.0, 2: 1.0, 3: None}, best="fid", mode="max")
    assert int(restore_state(tmp_path, template, "experiments.toy").step) == 3
    assert int(restore_state(tmp_path, template, "experiments.toy", "best", best).step) == 1


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip", "empty"])
@pytest.mark.parametrize("step", [2, 3])
def test_any_damaged_file_of_any_checkpoint_is_named_and_a_good_one_used(tmp_path, damage, step, capsys):
    whole = filled(tmp_path / "whole", {1: 1.0, 2: None, 3: None}, best="fid")
    files = [path.relative_to(whole) for path in (whole / str(step)).rglob("*") if path.is_file()]
    assert len(files) > 5
    for number, name in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        file = folder / name
        content = file.read_bytes()
        if not content:
            continue
        if damage == "remove":
            file.unlink()
        else:
            half = len(content) // 2
            flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
            file.write_bytes({"truncate": content[:half], "flip": flipped, "empty": b""}[damage])
        assert latest(folder, best="fid") == {2: 3, 3: 2}[step]
        said = capsys.readouterr().err
        assert f"checkpoint {folder / str(step)} is damaged: {name.relative_to(str(step))} is " in said
        assert said.endswith(f"; it is kept as damaged-{step} and not used\n") and said.count("\n") == 1
        assert (folder / f"damaged-{step}").is_dir() and not (folder / str(step)).exists()


def test_a_reader_names_a_damaged_checkpoint_and_leaves_it_where_it_is(tmp_path, capsys):
    filled(tmp_path, {1: None, 2: None})
    (tmp_path / "2" / "seal.json").write_text("[]")
    assert latest(tmp_path, read_only=True) == 1
    assert "is damaged: seal.json is changed; it is not used" in capsys.readouterr().err
    assert (tmp_path / "2").is_dir()


def test_without_any_good_checkpoint_the_run_starts_anew_and_all_are_kept(tmp_path, capsys):
    filled(tmp_path, {1: None, 2: None})
    for step in (1, 2):
        (tmp_path / str(step) / "seal.json").unlink()
    (tmp_path / "damaged-2").mkdir()
    assert latest(tmp_path) is None
    assert "seal.json is missing, so it was not finished" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-1", "damaged-2", "damaged-2-2"]


def test_a_checkpoint_has_its_name_only_when_it_is_sealed(tmp_path, monkeypatch):
    """A kill at any moment of the writing leaves nothing that counts as a checkpoint; the next start removes it."""
    filled(tmp_path, {1: None})
    seen = []

    def killed(folder):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        raise SystemExit  # no Exception, so nothing is cleared up

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "digests", killed)
        with pytest.raises(SystemExit):
            filled_on(tmp_path, 2)
    assert len(seen[0]) == 2 and seen[0][0].startswith(".tmp-") and seen[0][1] == "1"
    assert latest(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def filled_on(folder, step):
    checkpoints = Checkpoints.__new__(Checkpoints)  # without the start, which verifies
    checkpoints._folder, checkpoints._best, checkpoints._sign = folder, None, 1.0
    checkpoints._write(step, jax.tree.map(np.asarray, checkpoint.keys_to_data(state_at(float(step)))), {})


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_half_of_one(tmp_path, monkeypatch):
    filled(tmp_path, {1: None, 2: None})

    def killed(folder, **options):
        if "-1" in str(folder) and folder.exists():
            (folder / "seal.json").unlink()
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            filled(tmp_path, {3: None})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[1:] == ["2", "3"] and names[0].startswith(".tmp-")
    assert latest(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_another_model_is_refused_and_its_checkpoint_left_alone(tmp_path):
    filled(tmp_path, {4: None})
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ValueError) as caught:
        checkpoints.restore_latest(state_at(0.0, width=6))
    assert "4 is of another model: opt_state[1][0].mu['w'] is float32(5,) there, float32(6,) here" in str(caught.value)
    assert "remove" not in str(caught.value)
    checkpoints.close()
    assert latest(tmp_path) == 4


def test_a_newer_format_is_refused_and_left_alone(tmp_path):
    filled(tmp_path, {4: None})
    path = tmp_path / "4" / "seal.json"
    seal = json.loads(path.read_text()) | {"format": 3}
    path.write_text(json.dumps(seal | {"crc": checkpoint.crc(seal)}))
    with pytest.raises(ValueError, match="4 has format 3; allowed: 1 to 2, update jaxgen"):
        Checkpoints(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("metrics", [b'{"fid": 0.5}', b"", b"[]", b'{"fid": "x"}', b'{"fid": 1' + b"0" * 400 + b"}"])
def test_checkpoints_of_format_1_are_read(tmp_path, metrics):
    """Format 1 had the arrays in default/, the metrics in a file, and neither a version nor a sum in the seal."""
    folder = filled(tmp_path, {1: None})
    seal = json.loads((folder / "1" / "seal.json").read_text())
    (folder / "1" / "state").rename(folder / "1" / "default")
    (folder / "1" / "metrics").mkdir()
    (folder / "1" / "metrics" / "metrics").write_bytes(metrics)
    files = {name.replace("state/", "default/"): digest for name, digest in seal["files"].items()}
    files["metrics/metrics"] = zlib.crc32(metrics)
    (folder / "1" / "seal.json").write_text(json.dumps({"files": files, "arrays": seal["arrays"]}))
    sound = metrics.startswith(b'{"fid": 0')
    assert latest(folder, best="fid") == (1 if sound else None)
    if sound:
        checkpoints = Checkpoints(folder, best="fid")
        assert int(checkpoints.restore_best(state_at(0.0)).step) == 1 and checkpoints.window(1) == {}
        checkpoints.close()


@pytest.mark.parametrize(
    "seal", ["", "[" * 100_000, "[]", "3", "{}", '{"format": 2}', '{"format": "x"}', '{"files": {}, "arrays": []}']
)
def test_a_seal_of_any_other_structure_is_damage(tmp_path, seal):
    filled(tmp_path, {1: None, 2: None})
    (tmp_path / "2" / "seal.json").write_text(seal)
    assert latest(tmp_path) == 1


@pytest.mark.parametrize("value", [1, 1.0, True, 0, -1, None, "2", [2]])
def test_a_seal_whose_format_is_changed_is_damage(tmp_path, value):
    """Not a checkpoint of format 1, whose arrays would be looked for in another folder."""
    path = filled(tmp_path, {1: None, 2: None}) / "2" / "seal.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": value}))
    assert latest(tmp_path) == 1


def test_a_reader_beside_a_writing_run_sees_one_whole_checkpoint_each_time(tmp_path):
    filled(tmp_path, {1: None})
    stop, failures = threading.Event(), []

    def write():
        checkpoints = Checkpoints(tmp_path)
        step = 1
        while not stop.is_set():
            step += 1
            checkpoints.save(step, state_at(float(step)))
        checkpoints.close()

    writer = threading.Thread(target=write)
    writer.start()
    steps = []
    try:
        for _ in range(20):
            steps.append(latest(tmp_path, read_only=True))
    except Exception as error:
        failures.append(repr(error))
    stop.set()
    writer.join()
    assert failures == [] and None not in steps and len(set(steps)) > 3


def test_a_checkpoint_that_vanishes_while_it_is_read_is_not_taken_for_zeros(tmp_path, monkeypatch):
    """tensorstore gives zeros for files that are not there; the reader looks again instead."""
    filled(tmp_path, {1: None, 2: None})
    real, reads = checkpoint.orbax, []

    class Slow:
        def restore(self, folder, args):
            state = real().restore(folder, args=args)
            reads.append(folder.parent.name)
            if len(reads) == 1:
                shutil.rmtree(folder.parent)
            return state

    monkeypatch.setattr(checkpoint, "orbax", Slow)
    assert latest(tmp_path, read_only=True) == 1
    assert reads == ["2", "1"]


def test_the_averages_under_way_are_saved_exactly(tmp_path):
    window = {"count": 3, "sums": {"loss": 0.1 + 0.2, "odd": float("nan")}}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_at(1.0), window=window)
    checkpoints.wait()
    back = checkpoints.window(1)
    checkpoints.close()
    assert back["count"] == 3 and back["sums"]["loss"] == 0.1 + 0.2 and np.isnan(float(back["sums"]["odd"]))


def test_mode_is_checked(tmp_path):
    with pytest.raises(ValueError, match="mode is 'least'; allowed: min, max"):
        Checkpoints(tmp_path, best="fid", mode="least")
