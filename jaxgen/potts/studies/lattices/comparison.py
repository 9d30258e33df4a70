"""The comparison of lattices from data to record: train every lattice, measure it, compare."""

import jax.numpy as jnp
import numpy as np

from jaxgen import data, evaluation, runs, visualization
from jaxgen.potts.figures.lattices import lattices_figure
from jaxgen.potts.studies.lattices.measure import (
    ANCHOR,
    LatticeFigures,
    lattice_rows,
    lattice_table,
    measure_lattice,
)
from jaxgen.potts.studies.lattices.task import Images, LatticesConfig, LatticeTask, planned, train_lattice, with_quick

_SHOWN = 24  # samples per lattice in the figure
_QUICK_TEST_IMAGES = 500


def load_images(config: LatticesConfig) -> Images:
    """Read MNIST, or images of one's own, and binarise them. UserError as `data.open` and `open_reference`."""
    dataset = data.open("mnist", config.images, config.data_dir).grey()
    parts = {name: data.fixed_binarization(data.split(dataset, name)[0], name) for name in ("train", "test")}
    reference = evaluation.open_reference("mnist", config.images, config.data_dir, 2)
    return Images(jnp.asarray(parts["train"]), parts["test"][: _QUICK_TEST_IMAGES if config.quick else None], reference)


def prepare(config: LatticesConfig) -> runs.Job:
    """Return the job that compares the lattices of a config."""
    study = with_quick(config)
    images = load_images(study)
    train = np.asarray(images.train[: study.chains])
    floor = evaluation.evaluate(data.decode(train, 2), None, images.reference).figures["frechet"]

    def job(folder: runs.RunFolder) -> runs.Report:
        figures: dict[str, LatticeFigures] = {}
        shown = [("training images", images.train[:_SHOWN], 2)]
        for name in study.lattices.split(","):
            task = planned(LatticeTask.of(study, name, images), folder.path)
            params = train_lattice(task, folder.path)
            figures[name], samples = measure_lattice(task, params, folder.path / "measured" / name)
            shown.append((name, np.asarray(samples)[:_SHOWN], 2))
        table = lattice_table(figures)
        with runs.atomic_write(folder.path / "table.md") as temporary:
            temporary.write_text(table)
        files = [folder.figures / name for name in ("lattices.png", "samples.png")]
        anchor = None if study.images else ANCHOR  # of MNIST
        lattices_figure(files[0], figures, floor, anchor)
        visualization.samples_figure(files[1], shown, columns=3)
        rows = lattice_rows(figures, floor, study.chains, len(images.test), anchor)
        name = data.name_of("MNIST", study.images)
        title = f"lattices, binarised {name}, {study.seconds:g} s of training each" + ", quick" * config.quick
        return runs.Report(title, "Potts energy-based model", rows, files, f"{table}{rows[-1]}")

    return job
