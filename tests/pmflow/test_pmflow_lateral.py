"""Kernels, the bound of the gain, and which predictions depend on their batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_reference import pmflow as reference

from jaxgen import pmflow
from jaxgen.pmflow.diagnosis import gaussian_eigenvalue, smallest_eigenvalue
from jaxgen.pmflow.lateral import ORIGINAL_KERNEL, normalised, ring_matrix, squared_distances

N_UNITS = 32


def latents(n, scale=0.5, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (n, 8)).astype(np.float32)


def states(n, seed=1):
    return np.random.default_rng(seed).normal(0, 0.3, (n, N_UNITS)).astype(np.float32)


def test_the_original_kernel_never_excites_and_ours_does():
    distance_squared = np.linspace(0, 25, 5001)
    original, ours = ORIGINAL_KERNEL(distance_squared), pmflow.Kernel()(distance_squared)
    assert original.max() < 0 and original.min() == pytest.approx(-0.509, abs=1e-3)
    assert not ORIGINAL_KERNEL.is_centre_surround
    assert ours[0] == pytest.approx(0.5) and pmflow.Kernel().is_centre_surround
    # Excitation near, inhibition around, nothing far away; the sign changes once, at log 2 / (1 / .72 - 1 / 2.88).
    change = distance_squared[np.flatnonzero(np.diff(np.sign(ours)))]
    assert len(change) == 1 and change[0] == pytest.approx(np.log(2) / (1 / 0.72 - 1 / 2.88), abs=0.01)
    assert ours.min() < -0.1 and abs(ours[-1]) < 1e-3


def test_kernel_over_a_batch_is_the_reference():
    z, h = latents(20), states(20)
    coupled = pmflow.coupling("batch", N_UNITS)(z, h)
    wanted = reference.lateral(torch.tensor(z)) @ torch.tensor(h)
    np.testing.assert_allclose(coupled, wanted, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 5.0])
def test_normalised_eigenvalues_lie_within_one(scale):
    """Therefore 2 / lambda_max is at least 2, the bound of the gain."""
    z = latents(200, scale)
    for matrix in (normalised(pmflow.Kernel()(squared_distances(z, z))), ring_matrix(N_UNITS)):
        eigenvalues = np.linalg.eigvals(np.asarray(matrix, np.float64))
        assert np.abs(eigenvalues).max() <= 1 + 1e-6
        assert np.abs(np.asarray(matrix)).sum(1).max() <= 1 + 1e-6


def test_the_ring_is_symmetric_and_has_no_ends():
    matrix = ring_matrix(N_UNITS)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)
    np.testing.assert_allclose(matrix[3], np.roll(matrix[0], 3), atol=1e-7)
    assert (matrix[0, [0, 1, 2, -1, -2]] > 0).all() and (matrix[0, [3, 4, -3, -4]] < 0).all()


def test_units_coupling_sums_over_units():
    h = states(4)
    coupled = pmflow.coupling("units", N_UNITS)(latents(4), h)
    np.testing.assert_allclose(coupled[2], ring_matrix(N_UNITS) @ h[2], atol=1e-6)


def test_bank_coupling_by_hand():
    """One reference at distance 0 and one at distance 1, each normalised by both, the sum being under one."""
    z = np.zeros((3, 8), np.float32)
    z[2, 0] = 1.0
    h = states(3)
    near, far = 0.5, np.exp(-1 / 0.72) - 0.5 * np.exp(-1 / 2.88)
    coupled = pmflow.coupling("bank", N_UNITS, 2)(z, h)
    np.testing.assert_allclose(coupled[0], near * h[1] + far * h[2], atol=1e-6)
    np.testing.assert_allclose(coupled[1], coupled[0], atol=1e-7)
    crowd = np.zeros((11, 8), np.float32)
    many = pmflow.coupling("bank", N_UNITS, 10)(crowd, states(11))
    np.testing.assert_allclose(many[0], states(11)[1:].mean(0), atol=1e-6)  # ten halves, normalised to tenths


def test_eigenvalues_of_the_coupled_batch():
    """The original notebook's I + 0.05 K: stable in batches of 16, unstable at 128 and more so at 256."""
    eigenvalues = [gaussian_eigenvalue(size) for size in (16, 128, 256)]
    np.testing.assert_allclose(eigenvalues, [0.63, -1.98, -5.0], atol=0.06)
    # Of identical latents K = k_e - k_i everywhere: the eigenvalue is 1 - 0.05 * 0.2 n.
    assert smallest_eigenvalue(np.zeros((10, 8)), 0.05) == pytest.approx(0.9)


@pytest.mark.parametrize("kind, n_references", [("none", 0), ("units", 0), ("bank", 6), ("batch", 0)])
def test_a_prediction_depends_on_its_batch_only_if_the_batch_is_coupled(kind, n_references):
    flow = pmflow.Flow(n_centres=3, steps=1, dt=0.15, spread=0.7)
    model = pmflow.BNN(flow, pmflow.coupling(kind, N_UNITS, n_references), 0.5, n_references, duration=2)
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    references = np.random.default_rng(1).integers(0, 256, (6, 28, 28), np.uint8) if kind == "bank" else None
    params = jax.jit(model.init)(jax.random.key(0), images[: 1 + n_references] / 255.0)["params"]
    # Larger weights than at the start, so that latents spread and couplings matter.
    params = jax.tree.map(lambda leaf: 3.0 * leaf, params)
    f = jax.jit(lambda x: pmflow.logits(model, params, x, references))
    whole = np.asarray(f(images))
    shuffled = np.asarray(f(images[::-1]))[::-1]
    padded = np.asarray(f(np.concatenate([images, np.zeros((5, 28, 28), np.uint8)])))[:12]
    alone = np.concatenate([f(image[None]) for image in images[:3]])  # also the network of one image
    assert whole.shape == (12, 10) and np.ptp(whole, axis=0).max() > 0.05
    if kind == "batch":
        np.testing.assert_allclose(shuffled, whole, atol=1e-4)  # the order alone does not matter
        assert np.abs(padded - whole).max() > 0.02 and np.abs(alone - whole[:3]).max() > 0.02
    else:
        for logits, wanted in ((shuffled, whole), (padded, whole), (alone, whole[:3])):
            np.testing.assert_allclose(logits, wanted, atol=2e-5)


def test_each_kind_changes_the_predictions_and_learns_nothing_from_references():
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    references = np.random.default_rng(1).integers(0, 256, (6, 28, 28), np.uint8)
    plain = pmflow.BNN(duration=2)
    params = jax.jit(plain.init)(jax.random.key(0), images / 255.0)["params"]
    apply = jax.jit(pmflow.logits, static_argnums=0)
    base = apply(plain, params, images, None)
    for kind, given in (("units", None), ("bank", references), ("batch", None)):
        n = 0 if given is None else 6
        model = pmflow.BNN(None, pmflow.coupling(kind, N_UNITS, n), 0.5, n, duration=2)
        assert np.abs(apply(model, params, images, given) - base).max() > 1e-3

    bank = pmflow.BNN(None, pmflow.coupling("bank", N_UNITS, 6), 0.5, 6, duration=2)
    moved = jax.jit(jax.grad(lambda rows: pmflow.logits(bank, params, images, rows).sum()))
    assert not np.asarray(moved(references.astype(np.float32))).any()


def test_bad_kinds_and_gains():
    with pytest.raises(ValueError, match="lateral is 'ring'; allowed: none, units, bank, batch"):
        pmflow.coupling("ring", 32)
    with pytest.raises(ValueError, match="n_references is 0; allowed with lateral 'bank': 1 or more"):
        pmflow.coupling("bank", 32)
    for gain in (2.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"gain is .*; allowed: 0 <= gain < 2.0"):
            pmflow.build_model("pmflow_bnn", gain)
    assert pmflow.coupling("none", 32) is None and jnp.isfinite(pmflow.build_model("pmflow_bnn", 1.99).gain)
