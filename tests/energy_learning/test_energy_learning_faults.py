"""Unconverged phases, starved layers, persistent mini-batches, layer rates, free inputs, energies as functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import RELAXED, batch, case, coding, double, flat, gradient, hopfield, off

from jaxgen import energy_learning as el
from jaxgen import runs, training
from jaxgen.energy_learning.config import build_optimiser
from jaxgen.energy_learning.depth import sweeps_for_depth
from jaxgen.energy_learning.reach import reach_of_errors
from jaxgen.energy_learning.report import stability
from jaxgen.energy_learning.task import XOR_X, XOR_Y, Examples


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    "scheme",
    ["ep_positive", pytest.param("ep_negative", marks=pytest.mark.slow), "first_step", "coupled_learning"],
)
def test_one_sided_differences_do_not_divide_the_drift_of_the_free_phase_by_beta(double_precision, scheme):
    """After two free sweeps the states still drift; the estimate must not depend on beta for that."""
    model, params, data, exact = case()
    estimates = []
    for beta in (0.1, 0.01, 0.001):
        settings = el.Settings(beta, 4, el.Phases(el.Minimiser(2), el.Minimiser(3)))
        estimates.append(gradient(el.build_scheme(scheme, model, settings), params, data))
    assert cosine(estimates[-1], exact) > 0.8
    assert off(estimates[2], estimates[1]) < 0.05


def test_a_positive_nudge_of_unconverged_states_learns_like_a_centred_one():
    """Eight free and four nudged sweeps on a small problem: both point the same way."""
    config = el.EnergyLearningConfig(
        energy="clipped", seeds=1, widths="16,16", free_sweeps=8, nudged_sweeps=4, beta=0.1
    )
    rng = np.random.default_rng(0)
    examples = Examples(rng.uniform(size=(64, 30)), rng.integers(0, 5, 64), 5)
    model = el.build_model(dataclasses.replace(config, weight_scale=1.0), 5)
    params = model.network.init(jax.random.key(0), examples.x)
    data = {"x": examples.x, "y": examples.y}
    schemes = [el.build_scheme(name, model, el.build_settings(config)) for name in ("ep_positive", "ep_centred")]
    positive, centred = (gradient(scheme, params, data) for scheme in schemes)
    assert cosine(positive, centred) > 0.9


def test_sweeps_by_depth_and_what_arrives():
    """The gradients of 10 layers: starved with six sweeps, above the warning with sweeps by depth."""
    assert [sweeps_for_depth(depth, 0.25) for depth in (3, 6, 10)] == [14, 48, 125]
    assert [sweeps_for_depth(depth, 0.9) for depth in (1, 3, 10, 20)] == [1, 3, 10, 20]
    assert [sweeps_for_depth(depth, 0.25, synchronous=True) for depth in (3, 6, 10)] == [18, 64, 167]
    for step_size, synchronous in ((1.5, False), (1e-9, False), (0.6, True)):
        with pytest.raises(ValueError, match=f"step_size is {step_size}; allowed where sweeps follow from the depth"):
            sweeps_for_depth(6, step_size, synchronous)
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=1, widths=",".join(["8"] * 9), step_size=0.25,
        beta=0.01, nudged_sweeps=6,
    )  # fmt: skip
    starved = el.EnergyTask.load(config)
    deep = el.EnergyTask.load(dataclasses.replace(config, nudged_sweeps=None))
    assert deep.settings.phases.nudged.iterations == sweeps_for_depth(10, 0.25)
    errors = el.EnergyTask.load(dataclasses.replace(config, nudged_sweeps=None, sweep="errors", step_size=1.0))
    assert errors.settings.phases.nudged.iterations == 1
    params = starved.initial_params()
    assert reach_of_errors(starved)(params) < 0.01 and reach_of_errors(deep)(params) > 0.15
    assert reach_of_errors(errors)(params) == pytest.approx(1, abs=0.01)


def test_starving_layers_are_warned_of_once(capsys, tmp_path):
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=1, widths="8,8,8,8,8,8", step_size=0.25,
        beta=0.01, nudged_sweeps=4,
    )  # fmt: skip
    task = el.EnergyTask.load(config)
    (hook,) = task.hooks(runs.Logger(tmp_path))
    state, _ = task.initial_state()
    record = hook(1, state)
    hook(2, state)
    err = capsys.readouterr().err
    assert record["error_reach"] < 0.1
    assert err.count("nudged_sweeps is 4, with which layer 1 of 7 gets") == 1 and "--nudged_sweeps=" in err
    # Schemes without a nudged phase of predictive coding have nothing to warn of.
    assert reach_of_errors(el.EnergyTask.load(dataclasses.replace(config, scheme="z_il"))) is None
    assert reach_of_errors(el.EnergyTask.load(el.EnergyLearningConfig())) is None


@pytest.mark.slow
def test_ten_layers_of_predictive_coding_train():
    """XOR by predictive coding with 10 layers and sweeps by depth, from two initial networks."""
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=2, widths=",".join(["16"] * 9), step_size=0.3,
        beta=0.05, nudged_sweeps=None, epochs=400, learning_rate=0.003, schedule="cosine", weight_scale=1.2,
    )  # fmt: skip
    task = el.EnergyTask.load(config)
    state, tx = task.initial_state()
    step = jax.jit(training.make_train_step(task.grad_fn(), tx))
    arrays = task.arrays() | {"position": jnp.arange(4, dtype=jnp.uint32)}
    for _ in range(400):
        state, _ = step(state, arrays)
    assert (el.evaluate(task, state.params, task.test).error == 0).all()


def test_persistent_states_follow_their_examples_through_mini_batches():
    """Mini-batches in changing order: state i is always the last free equilibrium of example i."""
    config = el.EnergyLearningConfig(
        seeds=2, widths="4", free_sweeps=60, nudged_sweeps=20, persistent=True, batch_size=2, learning_rate=0.0
    )
    task = el.EnergyTask.load(config)
    state, tx = task.initial_state()
    # Any start but the equilibrium, which the two examples of a step must reach and the others must keep.
    state = state.replace(carry=jax.tree.map(lambda s: 0.0 * s + 0.5, state.carry))
    step = jax.jit(training.make_train_step(task.grad_fn(), tx))
    arrays = task.arrays()
    index = np.array([2, 0])
    rows = {name: array[index] for name, array in arrays.items()} | {"position": jnp.arange(2, dtype=jnp.uint32)}
    state, _ = step(state, rows)
    settled = [
        task.model.start(p, task.model.drive(p, task.train.x))
        for p in (training.member(state.params, m) for m in range(2))
    ]
    for m, start in enumerate(settled):
        params = training.member(state.params, m)
        sweep = task.model.sweep(params, task.model.drive(params, task.train.x))
        free, _ = el.Minimiser(60)(sweep, start)
        for kept, wanted in zip(state.carry, free, strict=True):
            np.testing.assert_allclose(kept[index, m], wanted[index], atol=1e-4)
            np.testing.assert_array_equal(kept[np.array([1, 3]), m], 0.5)


def test_persistent_mini_batches_need_one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    config = el.EnergyLearningConfig(persistent=True, batch_size=2)
    with pytest.raises(ValueError, match="persistent is true with batch_size 2 on 2 devices"):
        el.EnergyTask.load(config)
    el.EnergyTask.load(dataclasses.replace(config, batch_size=4))


def test_layer_rates_scale_the_updates_of_their_layers():
    plain = el.EnergyLearningConfig(widths="4,3", learning_rate=0.1)
    factors = (0.0, 1.0, 2.5)
    scaled = dataclasses.replace(plain, layer_rates=",".join(map(str, factors)))
    model = el.build_model(plain, 2)
    params = model.network.init(jax.random.key(0), jnp.ones((1, 5)))
    grads = jax.tree.map(jnp.ones_like, params)
    (one, _), (many, _) = (
        build_optimiser(c, 10).update(grads, build_optimiser(c, 10).init(params), params) for c in (plain, scaled)
    )
    for number, factor in enumerate(factors, 1):
        np.testing.assert_allclose(
            many[f"layer_{number}"]["kernel"], factor * one[f"layer_{number}"]["kernel"], rtol=1e-6
        )
    for text in ("1,2", "1,2,3,4", "a,b,c", "1,-1,1", "1,nan,1"):
        with pytest.raises(ValueError, match=r"layer_rates is .*; allowed: 3 numbers from 0 to 1e6, one per layer"):
            build_optimiser(dataclasses.replace(plain, layer_rates=text), 10)


@pytest.mark.parametrize("kind", ["hopfield", "coding"])
def test_a_free_input_lowers_the_energy_to_a_stationary_point(double_precision, kind):
    (model, params), data = (hopfield() if kind == "hopfield" else coding(step_size=0.1)), batch()

    def total(x, states):
        energy = model.energy(params, x, states)
        return energy + (model.unit.potential(x).sum(1) if kind == "hopfield" else 0.0)

    start = jnp.full_like(data["x"], 0.4)
    energies = []
    for sweeps in (1, 5, 20, 4000):
        x, states, info = el.generate(model, params, data["y"], start, el.Minimiser(sweeps))
        energies.append(total(x, states))
        np.testing.assert_array_equal(states[-1], data["y"])
    assert (np.diff(np.array(energies), axis=0) <= 1e-9).all()
    slopes = jax.grad(lambda x, s: total(x, (*s, data["y"])).sum(), argnums=(0, 1))(x, states[:-1])
    # Without a potential of its own, the input of predictive coding creeps along flat directions.
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) < (1e-6 if kind == "hopfield" else 5e-3)
    assert float(info.residual.max()) < 1e-3


def test_a_trained_network_generates_inputs_that_it_reads_as_their_label():
    """Two prototypes with noise: the input relaxed from the middle, with a label held, is nearer to its prototype."""
    rng = np.random.default_rng(0)
    prototypes = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], np.float32)
    y = rng.integers(0, 2, 32)
    examples = Examples(np.clip(prototypes[y] + 0.1 * rng.normal(size=(32, 6)), 0, 1), y, 2)
    config = el.EnergyLearningConfig(seeds=1, widths="8", batch_size=32, learning_rate=0.02)
    model = el.build_model(config, 2)
    task = el.EnergyTask(config, model, el.build_settings(config), examples, examples, examples)
    state, tx = task.initial_state()
    step = jax.jit(training.make_train_step(task.grad_fn(), tx))
    for _ in range(150):
        state, _ = step(state, task.arrays() | {"position": jnp.arange(32, dtype=jnp.uint32)})
    x, _, _ = el.generate(model, training.member(state.params, 0), jnp.eye(2), jnp.full((2, 6), 0.5), el.Minimiser(50))
    distance = np.linalg.norm(np.asarray(x)[:, None] - prototypes, axis=-1)
    assert distance[0, 0] < distance[0, 1] and distance[1, 1] < distance[1, 0]


def test_an_output_of_logits_cannot_be_held():
    with pytest.raises(ValueError, match="cost is cross_entropy; allowed where the output is held: squared_error"):
        el.generate(hopfield(cost=el.cross_entropy)[0], None, None, None, RELAXED)


def quadratic(params, x, states):
    """1/2 |s_1 - x A|^2 + 1/2 |s_2 - s_1 B|^2."""
    hidden, output = states
    first, second = hidden - x @ params["a"], output - hidden @ params["b"]
    return 0.5 * (first**2).sum(1) + 0.5 * (second**2).sum(1)


def function_model():
    rng = np.random.default_rng(0)
    params = {"a": jnp.asarray(rng.normal(size=(4, 5))), "b": jnp.asarray(0.5 * rng.normal(size=(5, 3)))}
    initial = lambda params, x: (x @ params["a"], x @ params["a"] @ params["b"])  # noqa: E731
    return el.FunctionEnergy(quadratic, initial, el.squared_error, 0.2), double(params)


def test_an_energy_is_a_function(double_precision):
    """Equilibrium propagation on a function's energy is backprop of its free state, here in closed form."""
    (model, params), data = function_model(), batch()
    phases = el.Phases(el.Minimiser(3000, 1e-14), el.Minimiser(3000, 1e-14))

    def loss(params):
        return 0.5 * ((data["x"] @ params["a"] @ params["b"] - data["y"]) ** 2).sum(1).mean()

    exact = flat(jax.grad(loss)(params))
    for scheme in ("ep_centred", "recurrent_backprop", "backprop"):
        settings = el.Settings(1e-4, 4, phases)
        assert off(gradient(el.build_scheme(scheme, model, settings), params, data), exact) < 1e-6, scheme
    assert isinstance(model, el.Model)
    with pytest.raises(ValueError, match="scheme is z_il; allowed with the energy FunctionEnergy: ep_positive"):
        el.build_scheme("z_il", model, None)
    with pytest.raises(ValueError, match="points has complex nudges"):
        el.equilibrium_propagation(model, el.roots_of_unity(0.1, 4), phases)
    with pytest.raises(ValueError, match=r"step_size is 0.0; allowed: a number above 0"):
        dataclasses.replace(model, step_size=0.0)
    with pytest.raises(ValueError, match="cost is cross_entropy; allowed with an energy function"):
        dataclasses.replace(model, cost=el.cross_entropy)


def test_an_energy_of_ones_own_class_needs_no_parent(double_precision):
    (model, params), data = function_model(), batch()

    class Own:
        cost, holomorphic = model.cost, False
        drive, start, energy = model.drive, model.start, model.energy
        output, sweep, gradient = model.output, model.sweep, model.gradient

    settings = el.Settings(0.1, 4, el.Phases(el.Minimiser(50), el.Minimiser(50)))
    estimated = gradient(el.build_scheme("ep_centred", Own(), settings), params, data)
    np.testing.assert_array_equal(estimated, gradient(el.build_scheme("ep_centred", model, settings), params, data))


def test_a_record_says_whether_the_last_reading_stands_alone():
    def told(*solved):
        return stability([{"step": 10 * k, "solved": share} for k, share in enumerate(solved, 1)])

    assert told(0.5, 0.9) == "at the last of 2 evaluations; all networks at once at none of them"
    assert told(0.5, 1.0, 1.0).endswith("all networks first at step 20, and at every evaluation since")
    assert told(1.0, 0.5, 0.5, 1.0).endswith("but 2 of 4 evaluations since had a failure, the last at step 30")


def test_xor_examples_are_xor():
    assert ((XOR_X.sum(1) == 1) == XOR_Y).all()
