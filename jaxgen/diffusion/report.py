"""The report of a diffusion run: samples, figures, losses, bounds of the likelihood and the evaluation panel."""

import time
import typing
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Integer, PyTree, UInt8

from jaxgen import evaluation, runs
from jaxgen.diffusion.config import DiffusionConfig
from jaxgen.diffusion.evaluate import (
    best_variances,
    classes_in_turn,
    draw_images,
    final_settings,
    flow_likelihood,
    held_out_losses,
    last_epoch_loss,
    likelihood_bound,
    mean_of,
    with_table,
)

if typing.TYPE_CHECKING:
    from jaxgen.diffusion.task import DiffusionTask

_NAMES = {"eps": "noise", "x0": "image", "v": "velocity", "flow": "velocity of the straight path", "edm": "output of F"}
_NEARLY_BLACK, _GREY = 8, 100
_SHOWN = 8  # samples per class in the figure


def report(task: "DiffusionTask", params: PyTree, folder: runs.RunFolder) -> runs.Report:
    """Draw and save samples, draw the figures, measure and evaluate."""
    from jaxgen.diffusion import figures  # here, so that the library does without a plotting library

    config = task.config
    settings, label = final_settings(config), classes_in_turn(config.samples, config.classes)
    start = time.perf_counter()
    pieces = runs.Pieces(folder.path / ".report", {"config": runs.to_json(config), "step": task.steps})

    def draw() -> dict[str, np.ndarray | float]:
        begin = time.perf_counter()
        images = draw_images(task.key_samples(), task.diffusion, params, label, settings)
        return {"images": images, "drawing": time.perf_counter() - begin}

    drawn = pieces.get("samples", draw)
    images, seconds = drawn["images"], float(drawn["drawing"])
    with runs.atomic_write(folder.samples / "final.npz") as temporary:
        np.savez_compressed(temporary, images=images, labels=label.astype(np.min_scalar_type(config.classes)))
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    how = f"{settings.sampler}, {settings.steps} steps, w = {settings.w:g}"
    figures.samples_figure(folder.figures / "samples.png", task, images[: _SHOWN * config.classes], how)
    figures.curves_figure(folder.figures / "curves.png", records)
    rows = final_rows(task, params, records)
    rows.append(runs.Row("time to draw the samples", seconds, "s", note=f"{len(images)} images, {how}, with compiling"))
    rows += rendering_rows(images, task.train)
    panel, table = panel_rows(config, images, label, how, pieces)
    text = "\n".join([*map(str, rows), table]) if table else ""
    pieces.clear()
    # A resumed run has trained for longer than this process.
    whole = runs.training_seconds(records, config.batch_size) + time.perf_counter() - start
    return runs.Report(task.title, "Diffusion", rows + panel, [folder.figures / "samples.png"], text, whole)


def final_rows(task: "DiffusionTask", params: PyTree, records: Sequence[Mapping[str, float]]) -> list[runs.Row]:
    """Return the numbers of a trained model except those of the panel."""
    config = task.config
    seconds = runs.training_seconds(records, config.batch_size)
    what = _NAMES[task.diffusion.prediction]
    last, held = last_epoch_loss(records, task), mean_of(held_out_losses(task, params, len(task.held_out)))
    return [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(params))),
        runs.Row("updates", task.steps, note=f"{seconds:.0f} s of training, {config.batch_size} images each"),
        runs.Row("training loss, last epoch", last.value, note=f"mean squared error of the {what}"),
        runs.Row(
            "held-out loss, moving average",
            held.value,
            note=f"standard error {held.error:.1g}; {len(task.held_out)} images, one time each",
        ),
        *likelihood_rows(task, params),
    ]


def likelihood_rows(task: "DiffusionTask", params: PyTree) -> list[runs.Row]:
    """Return the bounds of the negative log-likelihood in bits per pixel of held-out images given their class.

    The first has the best scalar variances of the reverse steps, measured on as many training images, or the learned
    ones; the second replaces the last of these steps by a table, see `last_step_table`; the third has the variances of
    the posterior, as in Ho et al. (2020); the fourth comes from the probability-flow ODE.
    """
    config = task.config
    n = config.likelihood_images
    how = "learned variances" if config.learned_variance else "best scalar variance per step"
    variances = None if config.learned_variance else best_variances(task, params, n)
    best = likelihood_bound(task, params, n, variances)
    rows = [_bound_row("negative log-likelihood, at most", best, how)]
    tabled = with_table(task, params, best)
    rows.append(_bound_row("negative log-likelihood, last step by a table, at most", tabled, how))
    if not config.learned_variance:
        plain = likelihood_bound(task, params, n)
        rows.append(_bound_row("negative log-likelihood, posterior variances, at most", plain, "as in Ho et al."))
    flow = flow_likelihood(task, params, min(config.flow_images, n))
    mean = mean_of(flow)
    note = f"standard error {mean.error:.1g}; {len(flow)} held-out images given their class; probability-flow ODE"
    return [*rows, runs.Row("negative log-likelihood by the flow, at most", mean.value, "bits/dim", note=note)]


def _bound_row(name: str, bound, how: str) -> runs.Row:
    total = mean_of(bound.total)
    parts = {"L_T": bound.prior, "L_1 to L_(T-1)": bound.steps[:, 1:].sum(1), "L_0": bound.steps[:, 0]}
    terms = ", ".join(f"{term} {float(np.mean(value)):.3g}" for term, value in parts.items())
    note = f"standard error {total.error:.1g}; {len(bound.total)} held-out images given their class; {how}; {terms}"
    return runs.Row(name, total.value, "bits/dim", note=note)


def rendering_rows(images: UInt8[np.ndarray, "n ..."], real: UInt8[np.ndarray, "m ..."]) -> list[runs.Row]:
    """Return how samples are rendered, to which features of networks are nearly blind.

    The rows are the ink, the share of nearly black pixels and the share of grey pixels, which an eye would see as haze.
    Nearly black pixels are an error of the network on the background that no eye sees: where `compact` denoises black
    pixels its error has a standard deviation of about 2 grey levels. Values below black are clipped, those above remain
    as levels 1 to 3. This one-sided error also adds about 2 % to the ink.
    """

    def share(pixels: np.ndarray, low: int, high: int) -> float:
        return float(np.mean((pixels >= low) & (pixels <= high)))

    rows = [
        runs.Row("ink", float(images.mean() / real.mean()), note="mean grey level over that of the training images")
    ]
    for name, low, high in (("nearly black pixels", 1, _NEARLY_BLACK), ("grey pixels", _NEARLY_BLACK + 1, _GREY)):
        note = f"share of levels {low} to {high} of 255; training images {share(real, low, high):.3f}"
        rows.append(runs.Row(name, share(images, low, high), note=note))
    return rows


def panel_rows(
    config: DiffusionConfig,
    images: UInt8[np.ndarray, "n ..."],
    label: Integer[np.ndarray, "n"],
    how: str,
    pieces: runs.Pieces,
) -> tuple[list[runs.Row], str]:
    """Return the rows and the table of the evaluation panel; both are empty for too few samples."""
    reference = evaluation.reference_for(len(images), config.dataset, config.images, config.data_dir)
    if reference is None:
        return [], ""
    result = evaluation.evaluate(images, label, reference, pieces)
    accuracy = result.accuracy.overall
    goal = 0.95 if config.size in ("tiny", "compact") else 0.99
    first = runs.Row(
        f"conditional accuracy at w = {config.guidance:g}",
        accuracy.value,
        target=f">= {goal}" if config.dataset == "mnist" and not config.images else "",
        note=f"95 % interval {accuracy.low:.4f} to {accuracy.high:.4f}; {how}",
    )
    others = [row for row in evaluation.rows(result) if not row.quantity.startswith("conditional")]
    return [first, *others], evaluation.table(result)
