"""Which lattice is worth its edges? From tied couplings to hidden sites, at equal training time, on binarised MNIST.

  python -m experiments.ebm_lattices --workdir=runs/lattices
  python -m experiments.ebm_lattices --quick --workdir=runs/lattices_quick
  python -m experiments.ebm_lattices --lattices=latent_window --seconds=3600 --workdir=runs/latent

The folder then holds table.md, figures/lattices.png, figures/samples.png, result.json, and a run folder for every
lattice. Likelihoods are of the fixed binarisation of the test images, by annealed importance sampling; sums over hidden
sites are exact. The same command again goes on with a run that was stopped.
"""

import time

import jax.numpy as jnp
import numpy as np

from jaxgen import data, evaluation, runs, visualization
from jaxgen.potts.studies.lattices import LatticesConfig, LatticeTask, effective_lattices, train_lattice
from jaxgen.potts.studies.lattices_measure import lattice_rows, lattice_table, lattices_figure, measure_lattice

_SHOWN = 24  # samples of a lattice in the figure


def run(config: LatticesConfig, workdir) -> None:
    """Train and measure every lattice, then compare."""
    start = time.perf_counter()
    runs.configure()
    study = effective_lattices(config)
    dataset = data.load("mnist", data_dir=study.data_dir or None)
    parts = {name: data.fixed_binarization(data.split(dataset, name)[0], name) for name in ("train", "test")}
    train, test = jnp.asarray(parts["train"]), parts["test"][: 500 if study.quick else None]
    reference = evaluation.load_reference("mnist", 2, data_dir=study.data_dir or None)
    floor = evaluation.evaluate(data.decode(parts["train"][: study.chains], 2), None, reference).figures["frechet"]
    found, shown = {}, [("training images", train[:_SHOWN], 2)]
    with runs.RunFolder.open(workdir, config) as folder:
        for name in study.lattices.split(","):
            task = LatticeTask.of(study, name, train)
            params, steps = train_lattice(task, folder.path)
            path = folder.path / "measured" / name
            found[name], images = measure_lattice(task, params, steps, test, reference, path)
            shown.append((name, np.asarray(images)[:_SHOWN], 2))
        table = lattice_table(found)
        with runs.atomic_write(folder.path / "table.md") as temporary:
            temporary.write_text(table)
        lattices_figure(folder.figures / "lattices.png", found, floor)
        visualization.samples_figure(folder.figures / "samples.png", shown, columns=3)
        rows = lattice_rows(found, floor, study.chains, len(test))
        runs.write_record(
            folder.path / "result.json",
            title=f"lattices, binarised MNIST, {study.seconds:g} s each" + ", quick" * config.quick,
            family="Potts energy-based model",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(table)
    print(f"{rows[-1].quantity}: {rows[-1].value:.2f} nats  {rows[-1].note}")
    print(f"{folder.figures / 'lattices.png'}\n{folder.figures / 'samples.png'}")


if __name__ == "__main__":
    runs.main(LatticesConfig, run)
