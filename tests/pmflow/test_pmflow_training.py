"""Training of several seeds at once, the statistics of the comparison, the diagnosis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxgen import pmflow, runs, training
from jaxgen.pmflow import comparison, diagnosis
from jaxgen.pmflow.config import model_names
from jaxgen.pmflow.progress import Display
from jaxgen.pmflow.task import classification_loss

SHORT = {"train_examples": 320, "epochs": 1, "batch_size": 64}


@pytest.mark.slow
def test_stacked_gradients_are_those_of_each_seed_alone():
    model = pmflow.build_model("pmflow_mlp")
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.jit(jax.vmap(lambda key: model.init(key, jnp.zeros((1, 28, 28)))["params"]))(keys)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 3, 28, 28), np.uint8), rng.integers(0, 10, (8, 3), np.uint8)
    batch = {"image": images.reshape(24, 28, 28), "label": labels.ravel(), "position": jnp.arange(24)}

    def gradient(seeds):
        return training.vmapped_grad_fn(training.from_loss(classification_loss(model, None)), seeds)

    grads, _, metrics = jax.jit(gradient(3))(params, None, keys[0], batch)
    alone, losses = jax.jit(gradient(1)), []
    for s in range(3):
        one = jax.tree.map(lambda leaf, s=s: leaf[s : s + 1], params)
        wanted, _, single = alone(
            one, None, keys[0], {"image": images[:, s], "label": labels[:, s], "position": jnp.arange(8)}
        )
        losses.append(float(single["loss"]))
        for leaf, other in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(leaf[s], other[0], atol=1e-6)
    assert len(set(losses)) == 3 and float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-6)
    # The loss is the cross-entropy of the labels.
    rows = jax.nn.log_softmax(pmflow.logits(model, jax.tree.map(lambda leaf: leaf[2], params), images[:, 2], None))
    assert losses[2] == pytest.approx(-float(rows[np.arange(8), labels[:, 2]].mean()), rel=1e-5)


@pytest.mark.slow
def test_every_seed_has_its_own_start_and_order_which_models_share():
    tasks = [
        pmflow.PMFlowTask.load(pmflow.ModelConfig(name, first, seeds, **SHORT))
        for name, first, seeds in (("mlp", 3, 2), ("mlp_linear", 4, 1))
    ]
    (together, _), (alone, _) = (task.initial_state() for task in tasks)
    kernel = together.params["layer_1"]["kernel"]
    np.testing.assert_array_equal(kernel[1], alone.params["layer_1"]["kernel"][0])
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01
    both, one = (task.order() for task in tasks)
    rows = np.concatenate([both.indices(k).reshape(64, 2) for k in range(5)])
    assert (np.sort(rows, axis=0) == np.arange(320)[:, None]).all() and (rows[:, 0] != rows[:, 1]).any()
    np.testing.assert_array_equal(rows[:64, 1], one.indices(0))


def test_a_coupled_batch_needs_one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="models has 'pmflow_bnn_batch', which couples the whole batch, on 4 devices"):
        pmflow.PMFlowTask.load(pmflow.ModelConfig("pmflow_bnn_batch", **SHORT))
    pmflow.PMFlowTask.load(pmflow.ModelConfig("pmflow_bnn", **SHORT))


def test_the_runs_of_a_comparison():
    config = pmflow.PMFlowConfig(models="mlp, cnn", seed=7, seeds=4, cnn_seeds=2)
    runs = pmflow.model_configs(config)
    assert [run.folder for run in runs] == ["mlp_seed7-10", "cnn_seed7", "cnn_seed8"]
    assert {run.learning_rate for run in runs} == {3e-3}
    assert pmflow.model_configs(pmflow.PMFlowConfig(faithful=True))[0].learning_rate == 1e-3
    assert model_names(pmflow.PMFlowConfig(models="all")) == list(pmflow.MODELS)
    assert model_names(pmflow.PMFlowConfig(faithful=True, models="all")) == [
        "mlp", "pmflow_mlp", "pmflow_bnn", "pmflow_cnn"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="models is 'mlp,mlp'; allowed: each name once"):
        model_names(pmflow.PMFlowConfig(models="mlp,mlp"))


def trained(name, last, displacement=None):
    accuracy = np.stack([np.full(len(last), 0.9), np.asarray(last)], axis=1)
    moved = None if displacement is None else np.array([0.5, displacement])
    scale = None if displacement is None else np.ones(2)
    return pmflow.Trained(
        name, pmflow.MODELS[name].label, 200_000, accuracy, np.array([0.8, 0.95]), moved, scale, 3.0, 20.0
    )


FLOW, OFF = np.array([0.971, 0.973, 0.972, 0.975, 0.970]), np.array([0.970, 0.974, 0.970, 0.972, 0.969])


def test_intervals_and_paired_tests_are_students():
    mean_low_high = comparison.interval(FLOW)
    wanted = scipy.stats.ttest_1samp(FLOW, 0).confidence_interval(0.95)
    np.testing.assert_allclose(mean_low_high, (FLOW.mean(), wanted.low, wanted.high))
    (pair,) = comparison.contrasts([trained("pmflow_mlp", FLOW), trained("mlp_linear", OFF)])
    wanted = scipy.stats.ttest_rel(FLOW, OFF)
    assert pair.p == pytest.approx(wanted.pvalue) and pair.seeds == 5
    interval = wanted.confidence_interval(0.95)
    np.testing.assert_allclose(pair.difference[1:], (100 * interval.low, 100 * interval.high))
    assert pair.difference.mean == pytest.approx(100 * (FLOW - OFF).mean()) and pair.contrast.about_flow
    with pytest.raises(ValueError, match="pmflow_mlp has 5 seeds, mlp 3; allowed: as many"):
        comparison.contrasts([trained("pmflow_mlp", FLOW), trained("mlp", OFF[:3])])


@pytest.mark.parametrize(
    "shift, judged, sentence",
    [
        (0.01, "better", "the flow helps: better in 1, worse in 0 of 1"),
        (-0.01, "worse", "the flow hurts: better in 0, worse in 1 of 1"),
        (0.0, "none shown", "effect of the flow: none shown"),
    ],
)
def test_the_verdict_follows_the_numbers(shift, judged, sentence):
    noise = 1e-4 * np.array([1.0, -1.0, 2.0, -2.0, 0.0])
    pairs = comparison.contrasts([trained("pmflow_cnn", OFF + shift + noise), trained("cnn", OFF)])
    assert [comparison.judgement(pair) for pair in pairs] == [judged]
    assert comparison.verdict(pairs).startswith(sentence)


def test_a_verdict_of_both_signs_of_one_seed_and_of_none():
    up, down = OFF + 0.01 + 1e-4 * np.arange(5), OFF - 0.01 - 1e-4 * np.arange(5)
    models = [
        trained("pmflow_mlp", up),
        trained("mlp_linear", OFF),
        trained("pmflow_bnn", down),
        trained("bnn_off", OFF),
    ]
    assert comparison.verdict(comparison.contrasts(models)).startswith(
        "the flow helps in some models and hurts in others"
    )
    (alone,) = comparison.contrasts([trained("pmflow_cnn", OFF[:1]), trained("cnn", FLOW[:1])])
    assert comparison.judgement(alone) == "one seed, no interval" and np.isnan(alone.p)
    assert comparison.verdict([]) == "no model with a flow was trained beside its control"
    # A contrast that is not about the flow is no evidence for it.
    other = comparison.contrasts([trained("mlp_linear", up), trained("mlp", OFF)])
    assert comparison.judgement(other[0]) == "better" and comparison.verdict(other) == comparison.verdict([])


def test_all_contrasts_are_corrected_for_their_number():
    """With m contrasts the p-value is m times larger and the interval holds with probability 1 - 0.05 / m (Dunn)."""
    models = [trained("pmflow_mlp", FLOW), trained("mlp_linear", OFF), trained("mlp", OFF[::-1])]
    pairs = comparison.contrasts(models)
    assert [pair.contrasts for pair in pairs] == [3, 3, 3]
    wanted = scipy.stats.ttest_rel(FLOW, OFF)
    assert pairs[0].p == pytest.approx(min(1.0, 3 * wanted.pvalue))
    interval = wanted.confidence_interval(1 - 0.05 / 3)
    np.testing.assert_allclose(pairs[0].difference[1:], (100 * interval.low, 100 * interval.high))


def test_the_strong_arm_states_how_far_it_moves_the_latents():
    models = [trained("pmflow_mlp_strong", FLOW, 0.2), trained("mlp_normalised", OFF)]
    rows = {row.quantity: row for row in comparison.record_rows(models)}
    moved = rows["PMFlow MLP, strong flow: displacement of the latents"]
    assert moved.value == pytest.approx(20.0) and moved.target == ">= 10"
    assert "mean |after - before| / mean |before| over 1000 test images" in moved.note
    assert "strong flow learned - flow off (MLP, latents normalised)" in rows


def test_ranking_and_rows():
    models = [trained("mlp", OFF), trained("pmflow_mlp", FLOW, 0.02)]
    table = comparison.ranking(models)
    assert [row["model"] for row in table] == ["PMFlow MLP", "MLP"]
    assert table[0]["% per 1000 parameters"] == f"{97.22 / 200:.4f}" and table[0]["flow moves latents by"] == "2.00 %"
    rows = {row.quantity: row for row in comparison.record_rows(models)}
    assert rows["MLP, last test accuracy"].value == pytest.approx(97.1)
    assert rows["PMFlow MLP - MLP, as in the original notebook"].value == pytest.approx(0.12)
    assert rows["2 models without convolutions, all seeds and epochs"].value == 12.0
    faithful = comparison.faithful_rows([trained("pmflow_bnn", OFF)])
    assert [row.target for row in faithful] == ["original notebook 76.70", "original notebook 84.31"]
    both = comparison.faithful_rows([trained("mlp", OFF), trained("pmflow_mlp", FLOW)])
    assert both[-1].value == "-0.20, +0.13, +0.18, -0.09" and both[-1].note.endswith("trails after epochs 1 and 4")
    assert rows["original notebook: PMFlow MLP - MLP"] == both[-1]
    assert faithful[1].note.startswith("difference +12.79; 5 seeds, 96.90 to 97.40")


@pytest.mark.slow
def test_the_diagnosis_tells_a_coupled_batch_from_none(monkeypatch):
    """The same untrained weights: labels change with the other images only where the batch is coupled."""
    monkeypatch.setattr(diagnosis, "SIZES", (1, 64))
    changed = {}
    whole = pmflow.PMFlowTask.load(pmflow.ModelConfig("pmflow_bnn", 0, 2, **SHORT))
    for kind in ("batch", "none"):
        model = pmflow.BNN(None, pmflow.coupling(kind, 32), 0.05, duration=3)
        test = {name: array[:640] for name, array in whole.test.items()}
        task = pmflow.PMFlowTask(whole.config, model, whole.train, test)
        # Larger weights than at the start: labels are then decided by the states more than by the readout's bias.
        diagnosed = diagnosis.diagnose(task, jax.tree.map(lambda leaf: 4.0 * leaf, task.initial_state()[0].params))
        changed[kind] = diagnosed.changed
        assert diagnosed.accuracy.shape == (2, 2) and diagnosed.sizes == (1, 64)
        assert diagnosed.gaussian[0] == diagnosed.trained[0] == pytest.approx(1 - 0.05 * 0.2, abs=1e-6)
        rows = diagnosis.diagnosis_rows(diagnosed)
        assert len(rows) == 4 and rows[3].value == pytest.approx(100 * diagnosed.accuracy[:, 1].mean())
    assert not changed["none"].any() and not changed["batch"][:, 0].any()
    assert (changed["batch"][:, 1] > 0).all()


def test_the_display_writes_one_row_per_run(capsys):
    with Display(2, 2) as display:
        display.begin("MLP")
        display.epoch(0.5)
        display.epoch(0.75)
        display.end(np.array([0.5, 0.75]), 1.25)
    out, _ = capsys.readouterr()
    assert out.splitlines()[-1].split() == ["1/2", "MLP", "50.00", "75.00", "75.00", "1.2"]
    assert out.splitlines()[0].split()[-4:] == ["epoch", "2", "best", "s/epoch"]


def test_predictions_do_not_depend_on_the_size_of_test_batches():
    task = pmflow.PMFlowTask.load(pmflow.ModelConfig("mlp", 0, 2, **SHORT))
    state, _ = task.initial_state()
    images = task.test["image"][:70]
    predicted = pmflow.predictions(task.model, state.params, images, 64)
    np.testing.assert_array_equal(predicted, pmflow.predictions(task.model, state.params, images, 70))
    assert predicted.shape == (2, 70) and (predicted[0] != predicted[1]).any()
    with pytest.raises(ValueError, match="seeds is 0"):
        runs.validate(pmflow.ModelConfig("mlp", 0, 0))
