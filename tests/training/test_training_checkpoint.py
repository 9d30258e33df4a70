"""Checkpoints: what is kept, what comes back, and how damage is reported."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.training import Checkpoints, create

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


def test_state_comes_back_exactly(tmp_path):
    checkpoints = Checkpoints(filled(tmp_path / "new", {1: None, 2: None, 3: None}))
    back, expected = checkpoints.restore_latest(state_at(0.0)), state_at(3.0)
    checkpoints.close()
    assert jax.tree.structure(back) == jax.tree.structure(expected)
    for found, wanted in zip(jax.tree.leaves(back), jax.tree.leaves(expected), strict=True):
        assert found.dtype == wanted.dtype
        if jnp.issubdtype(found.dtype, jax.dtypes.prng_key):
            found, wanted = jax.random.key_data(found), jax.random.key_data(wanted)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 1)])
def test_keeps_the_last_two_and_the_best(tmp_path, mode, best):
    metrics = {1: 9.0, 2: 1.0, 3: float("nan"), 4: None, 5: 5.0}
    checkpoints = Checkpoints(filled(tmp_path, metrics, best="fid", mode=mode), best="fid", mode=mode)
    assert checkpoints.steps() == [best, 4, 5]
    assert int(checkpoints.restore_best(state_at(0.0)).step) == best
    assert int(checkpoints.restore_latest(state_at(0.0)).step) == 5
    checkpoints.close()


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / "empty", best="fid")
    assert checkpoints.restore_latest(state_at(0.0)) is None
    assert checkpoints.restore_best(state_at(0.0)) is None
    checkpoints.close()
    checkpoints = Checkpoints(filled(tmp_path / "unevaluated", {1: None}, best="fid"), best="fid")
    assert checkpoints.restore_best(state_at(0.0)) is None
    checkpoints.close()


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip"])
def test_any_damaged_file_is_named_with_the_way_on(tmp_path, damage):
    folder = filled(tmp_path, {1: None, 2: None}, best="fid")
    for file in [path for path in (folder / "2").rglob("*") if path.is_file() and path.name != "seal.json"]:
        content = file.read_bytes()
        if damage == "remove":
            file.unlink()
        else:
            half = len(content) // 2
            file.write_bytes(content[:half] if damage == "truncate" else bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(ValueError) as caught:
            Checkpoints(folder, best="fid")
        message = str(caught.value)
        assert f"checkpoint {folder / '2'} is damaged: {file.relative_to(folder / '2')} is " in message
        assert "remove that folder to resume from step 1" in message
        file.write_bytes(content)
    checkpoints = Checkpoints(folder, best="fid")
    assert int(checkpoints.restore_latest(state_at(0.0)).step) == 2
    checkpoints.close()


def test_damage_without_a_seal_and_another_model_are_named_too(tmp_path):
    folder = filled(tmp_path, {4: None})
    checkpoints = Checkpoints(folder)
    with pytest.raises(ValueError) as caught:
        checkpoints.restore_latest(state_at(0.0, width=6))
    assert "4 is of another model: opt_state[1][0].mu['w'] is float32(5,) there, float32(6,) here" in str(caught.value)
    assert "; remove that folder to start from step 0" in str(caught.value)
    checkpoints.close()
    (folder / "4" / "seal.json").unlink()
    (folder / "4" / "default" / "_METADATA").unlink()
    checkpoints = Checkpoints(folder)
    with pytest.raises(ValueError, match="4 is damaged: "):
        checkpoints.restore_latest(state_at(0.0))
    checkpoints.close()


def test_mode_is_checked(tmp_path):
    with pytest.raises(ValueError, match="mode is 'least'; allowed: min, max"):
        Checkpoints(tmp_path, best="fid", mode="least")
