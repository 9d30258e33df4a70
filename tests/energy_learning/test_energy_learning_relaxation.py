"""Energies, sweeps and their gradients: against PyTorch, against automatic differentiation, against each other."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import PHASES, RELAXED, batch, case, coding, double, flat, hopfield, off, slope, sweep_beta
from torch_reference import energy_learning as reference

from jaxgen import energy_learning as el

KINDS = {
    "sigmoid": lambda: hopfield(el.sigmoid),
    "clipped": lambda: hopfield(el.clipped),
    "coding": lambda: coding(step_size=0.2),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def layers(params):
    return [tuple(np.asarray(layer[leaf]) for leaf in ("kernel", "bias")) for layer in params.values()]


def random_states(model, params, data, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        jnp.asarray(rng.uniform(0.05, 0.95, s.shape)) for s in model.start(params, model.drive(params, data["x"]))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_energies_and_one_update_against_pytorch(kind):
    (model, params), data = KINDS[kind](), batch(3)
    states = random_states(model, params, data)
    x, *torch_states = (reference.tensor(array) for array in (data["x"], *states))
    weights = [tuple(map(reference.tensor, layer)) for layer in layers(params)]
    expected = reference.energy(kind, weights, x, torch_states).numpy()
    np.testing.assert_allclose(model.energy(params, data["x"], states), expected, rtol=1e-12)
    if kind == "clipped":
        return
    start = model.start(params, model.drive(params, data["x"]))
    updated = reference.centred_update(kind, layers(params), data["x"], data["y"], 0.1, start, rate=0.5)
    grads = jax.jit(el.equilibrium_propagation(model, el.centred(0.1), PHASES))(params, None, jax.random.key(0), data)[
        0
    ]
    own = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    for mine, theirs in zip(layers(own), updated, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("cost", [el.squared_error, el.cross_entropy], ids=["squared error", "cross-entropy"])
@pytest.mark.parametrize("family", [hopfield, coding])
def test_the_gradient_at_fixed_states_is_that_of_the_total_energy(family, cost):
    (model, params), data = family(cost=cost), batch()
    phases = [
        el.Phase(0.7, random_states(model, params, data, 1), el.Nudge(0.3, data["y"])),
        el.Phase(-1.1, random_states(model, params, data, 2), None),
    ]

    def total(params):
        nudged = phases[0]
        cost = model.cost.value(model.output(params, nudged.states), data["y"])
        energies = [model.energy(params, data["x"], phase.states) for phase in phases]
        return (0.7 * (energies[0] + 0.3 * cost) - 1.1 * energies[1]).mean()

    gradient = model.gradient(params, data["x"], model.drive(params, data["x"]), phases)
    assert off(flat(gradient), flat(jax.grad(total)(params))) < 1e-14


@pytest.mark.parametrize("cost", [el.squared_error, el.cross_entropy], ids=["squared error", "cross-entropy"])
def test_costs_and_their_gradients(cost):
    rng = np.random.default_rng(0)
    o, y = jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(np.eye(3)[[0, 2, 1, 1]])
    np.testing.assert_allclose(cost.gradient(o, y), jax.grad(lambda o: cost.value(o, y).sum())(o), atol=1e-15)
    # Holomorphic: the derivative along i v is i times that along v.
    v = jnp.asarray(rng.normal(size=(4, 3)))
    along = jax.jvp(lambda o: cost.gradient(o, y), (o,), (v,))[1]
    np.testing.assert_allclose(cost.gradient(o + 1e-20j * v, y).imag * 1e20, along, atol=1e-15)


@pytest.mark.parametrize("unit", [el.sigmoid, el.clipped], ids=["sigmoid", "clipped"])
@pytest.mark.parametrize(
    "cost",
    [el.squared_error, pytest.param(el.cross_entropy, marks=pytest.mark.slow)],
    ids=["squared error", "cross-entropy"],
)
@pytest.mark.parametrize("beta", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_asynchronous_sweeps_never_raise_the_energy_and_synchronous_ones_do(unit, cost, beta):
    """Weights are many times Glorot's and states random; nudged, they are as large as the update of a cost allows."""
    falls = {}
    for synchronous in (False, True):
        (model, params), data = hopfield(unit, cost, scale=2.0 if beta else 10.0, synchronous=synchronous), batch(40)
        nudge = el.Nudge(beta, data["y"]) if beta else None
        sweep = jax.jit(model.sweep(params, model.drive(params, data["x"]), nudge))
        states, energies = random_states(model, params, data), []
        for _ in range(12):
            total = model.energy(params, data["x"], states)
            energies.append(total + beta * model.cost.value(model.output(params, states), data["y"]))
            states = sweep(states)
        falls[synchronous] = np.diff(np.array(energies), axis=0)
    assert falls[False].max() < 1e-12 and falls[False].min() < -0.1
    assert beta or falls[True].max() > 0.01


@pytest.mark.parametrize("clamped", [False, True])
def test_predictive_coding_sweeps_lower_its_energy(clamped):
    for order in ({}, {"synchronous": True}, {"by_errors": True}):
        (model, params), data = coding(step_size=0.2, **order), batch(20)
        sweep = jax.jit(model.sweep(params, model.drive(params, data["x"]), clamped=clamped))
        states, before = random_states(model, params, data), np.inf
        output = states[-1]
        for _ in range(30):
            energy = np.asarray(model.energy(params, data["x"], states))
            assert (energy <= before + 1e-12).all()
            states, before = sweep(states), energy
        assert (np.asarray(states[-1] == output)).all() == clamped


def test_a_sweep_of_predictive_coding_is_a_gradient_step():
    (model, params), data = coding(synchronous=True, step_size=0.2), batch()
    states = random_states(model, params, data)

    def total(states):
        return (model.energy(params, data["x"], states) + 0.3 * model.cost.value(states[-1], data["y"])).sum()

    swept = model.sweep(params, model.drive(params, data["x"]), el.Nudge(0.3, data["y"]))(states)
    for new, old, grad in zip(swept, states, jax.grad(total)(states), strict=True):
        np.testing.assert_allclose(new, old - 0.2 * grad, atol=1e-15)
    # Output first, each layer seeing what lies above it already moved.
    asynchronous, _ = coding(step_size=0.2)
    new = asynchronous.sweep(params, model.drive(params, data["x"]), el.Nudge(0.3, data["y"]))(states)
    expected = list(states)
    for layer in (2, 1, 0):
        expected[layer] = expected[layer] - 0.2 * jax.grad(total)(tuple(expected))[layer]
    np.testing.assert_allclose(flat(new), flat(tuple(expected)), atol=1e-15)


def test_fixed_points_are_stationary_and_residuals_say_how_far():
    model, params, data, _ = case()
    drive = model.drive(params, data["x"])
    sweep, start = model.sweep(params, drive), model.start(params, drive)
    states, info = RELAXED(sweep, start)
    slopes = jax.grad(lambda states: model.energy(params, data["x"], states).sum())(states)
    assert max(float(jnp.abs(s).max()) for s in slopes) < 1e-12
    assert (info.residual <= 1e-14).all() and (info.iterations > 5).all()
    fixed, told = el.Minimiser(4)(sweep, start)
    by_hand = [start]
    for _ in range(4):
        by_hand.append(sweep(by_hand[-1]))
    np.testing.assert_array_equal(flat(fixed), flat(by_hand[-1]))
    gap = np.max([np.abs(a - b).max(1) for a, b in zip(by_hand[-1], by_hand[-2], strict=True)], axis=0)
    np.testing.assert_array_equal(told.residual, gap)
    assert (told.iterations == 4).all()
    capped = el.Minimiser(4, 1e-14)(sweep, start)
    np.testing.assert_array_equal(flat(capped[0]), flat(fixed))
    np.testing.assert_array_equal(capped[1].residual, gap)
    kept, none = el.Minimiser(0)(sweep, start)
    assert kept is start and (none.residual == 0).all()
    assert (el.Minimiser(0, 0.1)(sweep, start)[1].residual == 0).all()


def test_each_example_is_on_its_own_and_jit_changes_nothing():
    """Alone, under vmap, in a batch, in another order: the same states, residuals and counts."""
    model, params, data, _ = case(el.clipped)
    minimiser = el.Minimiser(50, 1e-4)

    def relax(x):
        drive = model.drive(params, x)
        return minimiser(model.sweep(params, drive), model.start(params, drive))

    together = jax.jit(relax)(data["x"])
    with jax.disable_jit():
        plain = relax(data["x"])
    np.testing.assert_allclose(flat(together), flat(plain), atol=1e-14)
    mapped = jax.jit(jax.vmap(lambda x: jax.tree.map(lambda leaf: leaf[0], relax(x[None]))))(data["x"])
    np.testing.assert_allclose(flat(mapped), flat(together), atol=1e-14)
    backwards = jax.jit(relax)(data["x"][::-1])
    np.testing.assert_allclose(flat(jax.tree.map(lambda leaf: leaf[::-1], backwards)), flat(together), atol=1e-14)
    assert len(set(np.asarray(together[1].iterations).tolist())) > 1
    grad_fn = el.equilibrium_propagation(model, el.centred(0.1), el.Phases(minimiser, minimiser))
    alone = jax.jit(lambda one: grad_fn(params, None, None, one)[0])
    each = [alone(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], data)) for i in range(5)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 5, *each)
    assert off(flat(jax.jit(grad_fn)(params, None, None, data)[0]), flat(mean)) < 1e-12


def test_convolutional_layers_obey_the_same_theorem():
    """A 6 x 6 image, a strided convolution, dense units: the centred error is O(beta^2) there too."""
    network = el.Network((nn.Conv(3, (3, 3), (2, 2)), el.Dense(4), el.Dense(2)))
    rng = np.random.default_rng(0)
    data = {"x": jnp.asarray(rng.uniform(size=(3, 6, 6, 1))), "y": jnp.asarray(np.eye(2)[[0, 1, 1]])}
    model = el.Hopfield(network, el.sigmoid, el.squared_error)
    params = double(network.init(jax.random.key(1), data["x"]))
    # The transpose by differentiation is the matrix's transpose.
    s, t = (jnp.asarray(rng.normal(size=shape)) for shape in ((3, 6, 6, 1), (3, 3, 3, 3)))
    down = network.back_drive(params, 1, s, t)
    linear = network.drive(params, 1, s) - network.drive(params, 1, 0 * s)
    assert float((linear * t).sum()) == pytest.approx(float((down * s).sum()))
    exact = flat(jax.jit(el.recurrent_backprop(model, PHASES))(params, None, None, data)[0])
    betas = [0.4, 0.2, 0.1]
    estimates = sweep_beta(
        lambda beta: el.equilibrium_propagation(model, el.centred(beta), PHASES), params, data, betas
    )
    errors = [off(one, exact) for one in estimates]
    assert slope(errors, betas) == pytest.approx(2, abs=0.03) and errors[-1] < 5e-3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: el.positive(0.0), "beta is 0.0; allowed: a number above 0"),
        (lambda: el.negative(-1.0), "beta is -1.0; allowed"),
        (lambda: el.centred(0), "beta is 0; allowed: a number above 0"),
        (lambda: el.roots_of_unity(0.1, 1), "points is 1; allowed: 2 or more"),
        (lambda: el.coupled_learning(None, 1.5, PHASES), "beta is 1.5; allowed for a held output: above 0, at most 1"),
        (lambda: el.hard_nudge(None, 0.0, RELAXED), "beta is 0.0; allowed for a held output"),
        (lambda: el.Minimiser(-1), "iterations is -1; allowed: 0 or more"),
        (lambda: el.Minimiser(5, 0.0), "tolerance is 0.0; allowed: a number above 0, or None"),
        (lambda: el.Minimiser(5, float("nan")), "tolerance is nan; allowed"),
        (lambda: el.dense_network([4, 0]), r"widths is \(4, 0\); allowed: one or more integers, each 1 or more"),
        (lambda: coding(step_size=0.0), "step_size is 0.0; allowed: a number above 0"),
        (
            lambda: el.equilibrium_propagation(hopfield(el.clipped)[0], el.roots_of_unity(0.1, 4), PHASES),
            "points has complex nudges; allowed: real ones",
        ),
        (lambda: el.build_scheme("hope", None, None), "scheme is 'hope'; allowed: ep_positive, ep_negative"),
        (
            lambda: el.build_scheme("z_il", hopfield()[0], None),
            "scheme is z_il; allowed with the energy Hopfield: ep_positive",
        ),
        (
            lambda: el.build_scheme("contrastive_hebbian", hopfield(cost=el.cross_entropy)[0], None),
            "cost is cross_entropy; allowed with scheme contrastive_hebbian: squared_error",
        ),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
