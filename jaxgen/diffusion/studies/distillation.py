"""Students that take each of a few large steps of a guided flow in one evaluation of the network.

    x_s = x_t - v(x_t, t, y) / k,   t = 1, 1 - 1/k, ..., 1/k,   s = t - 1/k            a student of k steps
    loss = mean over pixels of (v(x_t, t, y) - k (x_t - x_s))^2,    x_t and x_s on a path of the teacher

The teacher is a trained flow with its guidance and `teacher_steps` steps of Euler's method. A student starts from the
teacher's parameters and needs no guidance, so that its step takes half the time of a guided one (Luhman and Luhman
2021, eq. 3, for k = 1; Meng et al. 2023, section 3, for guidance). The folder of a student is that of a diffusion run:
`load` and experiments.diffusion_sample take it with sampler=euler, k steps and guidance 1.
"""

import dataclasses
import functools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxgen import data, evaluation, runs, training, visualization
from jaxgen.diffusion.config import DiffusionConfig
from jaxgen.diffusion.evaluate import classes_in_turn
from jaxgen.diffusion.guidance import network
from jaxgen.diffusion.model import Diffusion, Generation
from jaxgen.diffusion.process import Images
from jaxgen.diffusion.rectified_flow import FLOW, make_velocity, network_time
from jaxgen.diffusion.samplers import FLOW_SAMPLERS, flow_sample
from jaxgen.diffusion.studies.sampling import judge
from jaxgen.diffusion.task import DiffusionTask, restore_run
from jaxgen.diffusion.unet import UNet
from jaxgen.errors import UserError, quoted
from jaxgen.runs import option, seed_option
from jaxgen.training.step import LossFn

_BATCH, _DRAWN, _SHOWN = 64, 128, 40


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """The settings of the study."""

    teacher: str = option("", "run folder of a trained flow", group="study")
    seed: int = seed_option("seed of the paths, the students and the samples", group="study")
    students: str = option("1,2", "steps of every student, each a divisor of teacher_steps", group="study")
    teacher_steps: int = option(8, "Euler steps of the teacher's paths", group="study", low=1, high=1000)
    paths: int = option(16_000, "paths of the teacher, the classes in turn", group="study", low=64, high=1_000_000)
    updates: int = option(1500, "updates of every student", group="study", low=1, high=1_000_000)
    n: int = option(1000, "samples per comparison", group="study", low=256, high=10_000)


@dataclasses.dataclass(frozen=True, eq=False)
class StudentTask(DiffusionTask):
    """A student: a flow that starts from the teacher's parameters and learns from paths instead of images."""

    start: PyTree
    paths: Float[np.ndarray, "paths k+1 height width channels"]
    path_label: Int[np.ndarray, "paths"]

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state with the teacher's parameters, and the optimiser."""
        state, tx = super().initial_state()
        return training.create(state.key, jax.tree.map(jnp.copy, self.start), tx, ema=True), tx

    def loss_fn(self) -> LossFn:
        """Return the mean loss of a batch; see the module."""
        return student_loss(self.diffusion.unet, self.paths.shape[1] - 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that batches are gathered from."""
        return {"path": self.paths, "label": self.path_label}

    def order(self) -> data.EpochOrder:
        """Return which paths each step uses."""
        key = training.beyond_steps(self._keys()[0])[0]
        return data.EpochOrder(key, len(self.paths), self.config.batch_size)

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return nothing: a student has no loss on images."""
        return []


def prepare(config: DistillationConfig) -> runs.Job:
    """Read and check the teacher; return the job that draws its paths and trains the students.

    Raises:
        UserError: a teacher that is no flow or cannot be evaluated, or steps of a student that do not divide those of
            the teacher.
    """
    teacher = runs.expanded(config.teacher, "teacher")
    if not config.teacher or not os.path.isfile(teacher / "config.json"):
        raise UserError(
            f"teacher is {quoted(config.teacher)}, which is no run folder; allowed: one of experiments.diffusion with "
            "objective=flow"
        )
    task, state = restore_run(teacher)
    if task.diffusion.prediction != FLOW:
        raise UserError(f"teacher has objective {task.config.objective!r}; allowed: a run with objective=flow")
    counts = runs.integers("students", config.students)
    for k in counts:
        if config.teacher_steps % k:
            raise UserError(f"students has {k}; allowed: divisors of teacher_steps={config.teacher_steps}")
    reference = evaluation.reference_for(
        max(config.n, evaluation.MIN_SAMPLES), task.config.dataset, task.config.images, task.config.data_dir
    )
    if reference is None:
        raise UserError(
            "teacher has images that cannot be evaluated; allowed: grey images with 130 test images or more"
        )
    return functools.partial(measure, config, task, state.ema_params, counts, reference)


def measure(
    config: DistillationConfig,
    task: DiffusionTask,
    params: PyTree,
    counts: list[int],
    reference: evaluation.Reference,
    folder: runs.RunFolder,
) -> runs.Report:
    """Train every student, compare it with the teacher on held-out images, draw the figure; return the report."""
    w, label = task.config.guidance, classes_in_turn(config.paths, task.config.classes)
    steps, seconds = config.teacher_steps, 0.0
    every = math.gcd(*(steps // k for k in counts))  # no student needs the states between
    key = training.seed_key(config.seed)
    paths = teacher_paths(key, task.diffusion, params, label, Generation("euler", steps, w), every)
    held_out = evaluation.moments(reference.features(task.held_out))
    models = [
        (f"teacher, {k} Euler step{'s' * (k > 1)}", task, params, Generation("euler", k, w))
        for k in sorted({*counts, steps})
    ]
    for k in counts:
        own = student_config(config, task, k)
        with runs.RunFolder.open(folder.path / "students" / f"{k}", own) as place:
            fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)} | {"config": own}
            student = StudentTask(**fields, start=params, paths=paths[:, :: steps // k // every], path_label=label)
            learnt = training.train(student, place).ema_params
            records = runs.read_metrics(place.path / "metrics.jsonl")
            seconds = max(seconds, runs.training_seconds(records, own.batch_size))
        models.append((f"student of {k} step{'s' * (k > 1)}", student, learnt, Generation("euler", k, 1.0)))
    rows, panels = [], []
    for name, model, values, setting in models:
        images, judged = judge(model, values, setting, config.n, config.seed, reference, held_out)
        calls = setting.steps * (1 if setting.w == 1 else 2)
        note = f"{calls} evaluations of the network per sample; conditional accuracy {float(judged['accuracy']):.4f}"
        rows.append(runs.Row(f"Frechet distance to held-out images, {name}", float(judged["frechet"]), note=note))
        panels.append((f"{name}, {calls} evaluation{'s' * (calls > 1)}", images[:_SHOWN]))
    note = f"longest; {config.updates:,} updates of {_BATCH} paths; without the {config.paths:,} paths and compilation"
    rows.append(runs.Row("training of a student", seconds, "s", note=note))
    figure = folder.figures / "students.png"
    visualization.samples_figure(figure, panels, columns=10)
    return runs.Report(f"{task.title}: students of one and more steps", "Diffusion", rows, [figure])


def student_config(config: DistillationConfig, task: DiffusionTask, k: int) -> DiffusionConfig:
    """Return the config of a student's run folder: that of the teacher with the student's optimiser and sampler."""
    return dataclasses.replace(
        task.config, seed=config.seed, epochs=config.updates * _BATCH / len(task.train), batch_size=_BATCH,
        learning_rate=1e-3, decay="step", warmup=0, beta2=0.99, ema_decay=0.99, ema_warmup=False, label_dropout=0.0,
        sampler="euler", sample_steps=k, guidance=1.0, log_every=50, eval_every=500, checkpoint_every=500,
    )  # fmt: skip


def teacher_paths(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    label: Int[np.ndarray, "n"],
    settings: Generation,
    every: int = 1,
) -> Float[np.ndarray, "n states height width channels"]:
    """Return every `every`-th state of a flow's sampler from noise to image, for images of the classes `label`."""
    pieces = []
    with runs.progress(len(label), "paths of the teacher", "image") as bar:
        for part in data.evaluation_slices(len(label), _DRAWN):
            classes = jnp.asarray(label[part.start : part.stop])
            noise = jax.random.normal(jax.random.fold_in(key, part.start), (len(classes), *diffusion.shape))
            pieces.append(np.asarray(_path(diffusion.unet, settings, params, classes, noise)[:, ::every]))
            bar.update(len(classes))
    return np.concatenate(pieces)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _path(unet: UNet, settings: Generation, params: PyTree, label: Int[Array, "batch"], noise: Images):
    velocity = make_velocity(network(unet, params), label, settings.w)
    states = flow_sample(velocity, FLOW_SAMPLERS[settings.sampler], settings.steps, noise)[1]
    return jnp.concatenate([noise[None], states]).swapaxes(0, 1)


def student_loss(unet: UNet, k: int) -> LossFn:
    """Return the loss of a student of k steps, for batches of "path" (batch, k + 1, ...) and "label"."""

    def loss_fn(params, key, batch):
        draw = jax.vmap(lambda place: jax.random.randint(jax.random.fold_in(key, place), (), 0, k))
        step, row = draw(batch["position"]), jnp.arange(len(batch["label"]))
        x, end = batch["path"][row, step], batch["path"][row, step + 1]
        velocity = network(unet, params)(x, network_time(1 - step / k), batch["label"])
        loss = jnp.mean((velocity - k * (x - end)) ** 2)
        return loss, {"mse": loss}

    return loss_fn
