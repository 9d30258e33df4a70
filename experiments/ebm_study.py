"""The whole study of Potts energy-based models: its commands in turn, each in a folder of its own.

  python -m experiments.ebm_study --workdir=runs/ebm              about two hours on 2 CPU cores
  python -m experiments.ebm_study --quick --workdir=runs/quick    about ten minutes: to show that everything runs

Trainings of a digit with their likelihood, convergence, energy, pictures and blind sheet; search; all digits; lattices.
The same command resumes a study that was stopped. A part that fails does not stop
the others. summary.md names every part with its time and its record.
"""

import dataclasses
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import option

FLAGS = "--flagfile=experiments/flags/"


class Part(NamedTuple):
    """A command of the study.

    Attributes:
        module: experiments.NAME.
        folder: its --workdir, in the study's.
        product: the file in it that the part writes last.
        flags: its flags; {study} stands for the study's folder.
        quick: what is added with --quick.
    """

    module: str
    folder: str
    product: str
    flags: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


def parts() -> list[Part]:
    """Return the parts in order: what reads a trained model comes after its training."""
    fresh = ("--steps=60", "--eval_every=60", "--checkpoint_every=60", "--fresh_chains=2000", "--fresh_sweeps=50")
    annealing = ("--temperatures=200", "--chains=32", "--sweeps=50")
    chains = ("--chains=4", "--sweeps=100", "--slow_chains=2", "--slow_sweeps=50", "--replicas=2")
    chosen = []
    for seed in range(3):
        digit = f"digit3_seed{seed}"
        chosen.append(Part("ebm_cd", digit, "result.json", (f"{FLAGS}ebm_digit3.flags", f"--seed={seed}"), fresh))
        chosen.append(Part("ebm_likelihood", digit, "likelihood.json", (), annealing))
    chosen += [
        Part("ebm_convergence", "digit3_seed0", "convergence.json", (), chains),
        Part("ebm_energy", "digit3_seed0", "energy.json", (), ("--seconds=0.2",)),
        Part("ebm_pictures", "digit3_seed0", "figures/dynamics.gif", (), ("--images=100", "--sweeps=100")),
        Part("ebm_blind", "blind", "sheet.png", ("--samples={study}/digit3_seed0/samples/fresh.npz", "--classes=3")),
        Part("ebm_cd", "nearest", "result.json", (f"{FLAGS}ebm_digit3_nearest.flags",), fresh),
        Part("ebm_convergence", "nearest", "convergence.json", ("--columns",), chains),
        Part("ebm_search", "search", "result.json", (f"{FLAGS}ebm_search.flags",), ("--quick",)),
        Part("ebm_digits", "digits", "result.json", (f"{FLAGS}ebm_digits.flags",), ("--quick",)),
        Part("ebm_digits", "digits_labels", "result.json", (f"{FLAGS}ebm_digits_labels.flags",), ("--quick",)),
        Part("ebm_lattices", "lattices", "result.json", (), ("--quick",)),
    ]
    return chosen


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    quick: bool = option(False, "few updates, chains and sweeps in every part", group="study")


def run(config: StudyConfig, workdir: Path) -> None:
    """Run what is not done yet, then the summary. UserError naming the parts that failed."""
    lines, failed = ["| part | seconds | file |", "|---|---|---|"], []
    with runs.RunFolder.open(workdir, config) as folder:
        every = parts()
        for number, part in enumerate(every, 1):
            product = folder.path / part.folder / part.product
            words = command(part, folder.path, config.quick)
            print(f"[{number}/{len(every)}] {shlex.join(['python', *words[1:]])}", flush=True)
            start = time.perf_counter()
            if product.exists():
                print("    done before", flush=True)
                took = "done before"
            else:
                call(words)
                took = f"{time.perf_counter() - start:.0f}"
            name = f"{part.module} in {part.folder}"
            failed += [] if product.exists() else [name]
            lines.append(f"| {name} | {took} | {product.relative_to(folder.path) if product.exists() else 'failed'} |")
        with runs.atomic_write(folder.path / "summary.md") as temporary:
            temporary.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if failed:
        raise UserError(f"failed: {', '.join(failed)}; the same command tries them again")


def command(part: Part, study: Path, quick: bool) -> list[str]:
    """Return the command line of a part."""
    given = [flag.format(study=study) for flag in part.flags] + list(part.quick if quick else ())
    return [sys.executable, "-m", f"experiments.{part.module}", *given, f"--workdir={study / part.folder}"]


def call(words: Sequence[str]) -> None:
    """Run a command to its end. A signal is passed on, so that it can save, and then ends the study with code 0."""
    received: list[int] = []
    child = subprocess.Popen(words, start_new_session=True)

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        child.send_signal(number)

    watched = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, pass_on) for number in watched]
    try:
        child.wait()
    finally:
        for number, handler in zip(watched, before, strict=True):
            signal.signal(number, handler)
    if received:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(0)


if __name__ == "__main__":
    runs.main(StudyConfig, run)
