"""Excess risk against the number of examples, the width and the depth of a network.

python -m experiments.information_scaling --workdir=runs/scaling

Networks of one shape are trained together. The run folder then holds scaling.png, scaling.json and result.json.
"""

import dataclasses
import json
import statistics
import time
from pathlib import Path

import jax

from jaxgen import information, runs
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    seed: int = seed_option("seed of everything", group="run")
    repeats: int = option(3, "networks a point", group="run", low=1, high=1000)
    examples: str = option("1000,3000,10000,30000,100000,300000,1000000", "training examples", group="curves")
    widths: str = option("8,16,32,64,128,256", "units of a hidden layer", group="curves")
    depths: str = option("1,2,3,4", "hidden layers", group="curves")
    width: int = option(128, "where it is not varied", group="curves", low=1, high=65_536)
    depth: int = option(3, "where it is not varied", group="curves", low=1, high=64)
    many: int = option(
        1_000_000, "examples of every network where they are not varied", group="curves", low=1, high=10_000_000
    )
    steps: int = option(8000, "updates of every network", group="optimiser", low=1, high=2**31 - 1)
    batch_size: int = option(512, "examples a step", group="optimiser", low=1, high=1_000_000)


def run(config: ScalingConfig, workdir: Path) -> None:
    """Train the networks of the three curves, draw and record them."""
    start = time.perf_counter()
    runs.configure()
    lists = {name: runs.integers(name, getattr(config, name)) for name in ("examples", "widths", "depths")}
    options = information.TogetherOptions(config.steps, config.batch_size)
    key_examples, key_shapes = jax.random.split(jax.random.key(config.seed))
    many = [config.many] * config.repeats

    def networks(key, width, depth, sizes):
        return information.train_together(key, information.ten_labels(), [width] * depth, sizes, options)

    with runs.RunFolder.open(workdir, config) as folder:
        sizes = lists["examples"] * config.repeats
        shapes = [(width, config.depth) for width in lists["widths"]]
        shapes += [(config.width, depth) for depth in lists["depths"]]
        # A shape that lies on both curves is trained once.
        points = {
            shape: networks(jax.random.fold_in(key_shapes, number), *shape, many)
            for number, shape in enumerate(dict.fromkeys(shapes))
        }
        curves = {
            "examples": networks(key_examples, config.width, config.depth, sizes),
            "width": [point for width in lists["widths"] for point in points[width, config.depth]],
            "depth": [point for depth in lists["depths"] for point in points[config.width, depth]],
        }
        information.scaling_figure(folder.path / "scaling.png", curves)
        with runs.atomic_write(folder.path / "scaling.json") as temporary:
            content = {name: [point._asdict() for point in points] for name, points in curves.items()}
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        rows = record(curves)
        runs.write_record(
            folder.path / "result.json",
            title="excess risk",
            family="Information bound",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    print(f"figure: {folder.path / 'scaling.png'}")


def record(curves: dict[str, list[information.Point]]) -> list[runs.Row]:
    """Medians of the networks of every point, and their range."""
    rows = []
    for name, points in curves.items():
        of = {"examples": lambda p: p.n_examples, "width": lambda p: p.width, "depth": lambda p: p.depth}[name]
        for value in sorted({of(point) for point in points}):
            group = [point for point in points if of(point) == value]
            found = [point.excess for point in group]
            note = f"median of {len(found)}, {min(found):.4f} to {max(found):.4f}"
            if name == "examples":
                note += f"; table of counts {statistics.median(point.table_excess for point in group):.4f}"
            rows.append(runs.Row(f"{name} {value}", statistics.median(found), "nats", "", note))
    return rows


if __name__ == "__main__":
    runs.main(ScalingConfig, run)
