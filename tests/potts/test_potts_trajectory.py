"""What is observed along a run: by hand on few states, and rates from processes whose times are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import exact_draws, random_params
from PIL import Image

from jaxgen import gibbs, potts
from jaxgen.potts.figures.convergence import convergence_figure
from jaxgen.potts.statistics import principal_component
from jaxgen.potts.studies.trajectory import Mixing, mixing_rows, observe_sweeps, run_stages

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = random_params(0, LATTICE, 3)
X = jnp.asarray(exact_draws(0, LATTICE, PARAMS, 16))


@pytest.mark.slow
def test_observables_are_those_of_the_states_and_the_last_sweep_is_the_state():
    direction = jnp.arange(6.0).reshape(2, 3)
    key = jax.random.key(1)
    x, observed = observe_sweeps(key, LATTICE, PARAMS, direction, X, 3, beta=0.5)
    assert observed.shape == (2, 3, 16)
    expected = potts.PottsEBM(LATTICE, 3).apply({"params": PARAMS}, x)
    np.testing.assert_allclose(observed[0, -1], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(observed[1, -1], (np.asarray(x) * np.asarray(direction)).sum((1, 2)), rtol=1e-6)
    step = X
    for number in range(3):
        step, _ = gibbs.sample(jax.random.fold_in(key, number), LATTICE, PARAMS, step, 1, beta=0.5)
    np.testing.assert_array_equal(step, x)


def test_the_principal_component_is_the_longest_axis():
    rng = np.random.default_rng(0)
    x = np.zeros((4000, 2, 2), np.uint8)
    x[:, 0, 1] = x[:, 1, 0] = rng.integers(0, 4, 4000)
    x[:, 1, 1] = rng.integers(0, 2, 4000)
    axis = principal_component(x)
    np.testing.assert_allclose(np.abs(axis), [[0, np.sqrt(0.5)], [np.sqrt(0.5), 0]], atol=0.05)


def chains(seed=0, shift=0.0):
    """Independent draws as energy, an AR(1) process of tau = 9 as component."""
    rng = np.random.default_rng(seed)
    slow = [rng.normal(size=64)]
    for _ in range(2999):
        slow.append(0.8 * slow[-1] + 0.6 * rng.normal(size=64))
    return np.stack([rng.normal(size=(3000, 64)) + shift * (np.arange(64) % 2), np.stack(slow)])


def test_rates_follow_from_the_slower_observable():
    mixing = Mixing(chains(), sweep_seconds=2.0)
    np.testing.assert_allclose(mixing.times, [1, 9], rtol=0.1)
    assert mixing.effective_per_second == pytest.approx(64 / 9 / 2, rel=0.1)
    assert max(mixing.r_hats) < 1.01 < Mixing(chains(shift=1.0), 1.0).r_hats[0]
    with_start = chains()
    with_start[:, :1000] += 50
    np.testing.assert_allclose(Mixing(with_start, 1.0).times, mixing.times, rtol=0.1)


def test_stages_are_chained_and_looked_at():
    seen = []
    step = lambda stage, x: (x + 1, jnp.full((2, 5, 3), 10.0 * stage))  # noqa: E731
    plain = lambda stage, x: x  # noqa: E731
    start = jnp.zeros(3, jnp.uint8)
    mixing = run_stages(step, plain, start, 4, lambda done, x, observed: seen.append((done, float(x[0]))))
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    np.testing.assert_array_equal(mixing.observed[0, :, 0], np.repeat([0, 10, 20, 30], 5))
    assert mixing.sweep_seconds > 0
    first = list(np.split(mixing.observed[:, :10], 2, axis=1))
    resumed = run_stages(step, plain, start + 2, 4, before=first)
    np.testing.assert_array_equal(resumed.observed, mixing.observed)


def test_rows_and_figure(tmp_path):
    samplers = {"block Gibbs": Mixing(chains(), 2.0), "short": Mixing(np.cumsum(chains(1), 1)[:, :60], 1.0)}
    shares = {"noise": [(0, 0.0), (25, 0.3), (50, 0.85), (75, 0.9)], "data": [(0, 0.95), (75, 0.9)]}
    rows = {r.quantity: r for r in mixing_rows(samplers, shares, 0.97, np.array([0.2, 0.4]))}
    assert rows["block Gibbs: autocorrelation time of the principal component"].value == pytest.approx(9, rel=0.1)
    assert rows["short: autocorrelation time of the energy"].value == "longer than the run can measure"
    assert rows["block Gibbs: sweeps per second"].value == 0.5
    found_r_hat = rows["block Gibbs: R-hat of the principal component from dispersed starts"]
    expected = float(found_r_hat.note.split()[0])
    assert found_r_hat.value == pytest.approx(expected, abs=0.003) and expected == pytest.approx(1.006, abs=0.001)
    assert rows["parallel tempering: accepted swaps"].value == pytest.approx(0.3)
    assert rows["sweeps from noise to 0.9 of the final share of readable chains"].value == 50
    assert rows["sweeps from data to 0.9 of the final share of readable chains"].value == 0
    convergence_figure(tmp_path / "c.png", samplers, shares, 0.97)
    assert np.asarray(Image.open(tmp_path / "c.png").convert("L")).std() > 10
