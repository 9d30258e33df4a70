"""A blind test: can a person tell generated images from real ones?

    accuracy = right / answered,     1/2 by guessing, for the sheet has as many real images as generated ones

with Wilson's interval and the exact binomial test of guessing. Real images are test images, coded with as many levels
as the generated ones and of the same classes, so that neither the greys nor the digit give them away.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Int, Integer, UInt8
from matplotlib.figure import Figure

from jaxgen import runs, visualization
from jaxgen.errors import UserError, quoted
from jaxgen.evaluation.measures.intervals import wilson

ANSWERS = {"real": True, "r": True, "generated": False, "g": False}
_COLUMNS = 10


class BlindSheet(NamedTuple):
    """Images in the order of the sheet, numbered from 1; whether each is real; its class."""

    images: UInt8[np.ndarray, "n H W"]
    real: Bool[np.ndarray, "n"]
    digit: Integer[np.ndarray, "n"]


def mixed(
    generated: tuple[UInt8[np.ndarray, "m H W"], Int[np.ndarray, "m"]],
    real: tuple[UInt8[np.ndarray, "k H W"], Int[np.ndarray, "k"]],
    each: int,
    seed: int,
) -> BlindSheet:
    """Return `each` random generated images and as many real ones of the same classes, shuffled.

    Args:
        generated: grey images and their classes. real: the same, coded alike.
        each: images of either kind.
        seed: of the choice and of the order.

    Raises:
        UserError: fewer generated images than `each`, or fewer real ones of a class than are needed.
    """
    rng = np.random.default_rng(seed)
    if not 1 <= each <= len(generated[0]):
        raise UserError(f"each is {each}; allowed: 1 to {len(generated[0])}, the images there are")
    chosen = rng.choice(len(generated[0]), each, replace=False)
    digits = np.asarray(generated[1])[chosen].astype(int)
    partners = np.zeros(each, int)
    for y in np.unique(digits):
        own = np.flatnonzero(np.asarray(real[1]) == y)
        needed = int((digits == y).sum())
        if needed > len(own):
            raise UserError(f"each is {each}, which needs {needed} real images of class {y}; allowed: up to {len(own)}")
        partners[digits == y] = rng.choice(own, needed, replace=False)
    images = np.concatenate([generated[0][chosen], real[0][partners]])
    order = rng.permutation(2 * each)
    return BlindSheet(images[order], order >= each, np.concatenate([digits, digits])[order])


def sheet_figure(path: str | Path, sheet: BlindSheet) -> None:
    """Draw the numbered images, ten per row."""
    rows = -(-len(sheet.images) // _COLUMNS)
    figure = Figure(figsize=(0.95 * _COLUMNS, 1.15 * rows + 0.2), dpi=110)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.28}).ravel()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.25 / (1.15 * rows + 0.2))
    for axis in axes:
        axis.set_axis_off()
    for number, (axis, image) in enumerate(zip(axes, sheet.images, strict=False), 1):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(str(number), fontsize=9, pad=2)
    visualization.save_figure(path, figure)


def write_sheet(folder: Path, sheet: BlindSheet, about: Mapping[str, str | int]) -> None:
    """Write sheet.png and answers.csv for the person who answers, and key.json for scoring.

    Args:
        folder: where to.
        sheet: the images.
        about: what the key says besides, such as where the images come from.

    Raises:
        UserError: the folder has one of these files already; answers, or somebody's picture, would be lost.
    """
    for name in ("key.json", "answers.csv", "sheet.png"):
        if (folder / name).exists():
            raise UserError(f"workdir is {folder}, which holds a {name}; allowed: a folder without one")
    sheet_figure(folder / "sheet.png", sheet)
    numbers = range(1, len(sheet.images) + 1)
    with runs.atomic_write(folder / "answers.csv") as temporary:
        temporary.write_text("number,answer\n" + "".join(f"{number},\n" for number in numbers))
    entries = [
        {"number": number, "real": bool(real), "digit": int(digit)}
        for number, real, digit in zip(numbers, sheet.real, sheet.digit, strict=True)
    ]
    with runs.atomic_write(folder / "key.json") as temporary:
        temporary.write_text(json.dumps({**about, "entries": entries}, indent=1) + "\n")


def read_key(path: str | Path) -> dict[int, tuple[bool, int]]:
    """Return {number: (real, digit)}; UserError for a file that is no key."""
    allowed = "key.json of a blind sheet"
    entries = runs.read_json(path, "key", allowed, ("entries",))["entries"]
    try:
        return {int(entry["number"]): (bool(entry["real"]), int(entry["digit"])) for entry in entries}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"key is {path}, whose entries cannot be read ({error!r}); allowed: {allowed}") from error


def read_answers(path: str | Path, numbers: Sequence[int]) -> dict[int, bool]:
    """Return {number: whether the person took the image for real}; images without an answer are left out.

    Raises:
        UserError: no such file, other columns, a number that the key has not or that comes twice, an answer that is
            none of ANSWERS, or no answers.
    """
    text = runs.read_text(path, "score", "a filled answers.csv")
    try:
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"score is {path}, which is no table ({error}); allowed: a filled answers.csv") from error
    answers = {}
    for line in lines:
        if set(line) != {"number", "answer"}:
            raise UserError(f"score is {path} with columns {', '.join(map(str, line))}; allowed: number, answer")
        number, answer = (line["number"] or "").strip(), (line["answer"] or "").strip().lower()
        if not number.isdecimal() or len(number) > 9 or int(number) not in numbers or int(number) in answers:
            raise UserError(f"number is {quoted(number)} in {path}; allowed: those of the key, each once")
        if answer:
            if answer not in ANSWERS:
                raise UserError(
                    f"answer is {quoted(answer)} to number {number}; allowed: {', '.join(ANSWERS)}, or nothing"
                )
            answers[int(number)] = ANSWERS[answer]
    if not answers:
        raise UserError(f"score is {path}, which holds no answers; allowed: at least one")
    return answers


def blind_rows(key: Mapping[int, tuple[bool, int]], answers: Mapping[int, bool]) -> list[runs.Row]:
    """Return the accuracy, in all, by kind and by class, each with its 95 % interval."""
    right = {number: said == key[number][0] for number, said in answers.items()}
    chance = scipy.stats.binomtest(sum(right.values()), len(right)).pvalue

    def row(what: str, hits: Sequence[bool], target: str = "") -> runs.Row:
        interval = wilson(sum(hits), len(hits))
        note = f"95 % {interval.low:.3f} to {interval.high:.3f}; {sum(hits)} of {len(hits)}"
        return runs.Row(what, interval.value, "", target, note)

    rows = [
        row("share told apart", list(right.values()), "0.5 by guessing"),
        runs.Row("p-value of guessing", float(chance), "", "", "exact binomial test, two-sided"),
    ]
    for kind, name in ((True, "real"), (False, "generated")):
        taken = [said for number, said in answers.items() if key[number][0] == kind]
        if taken:
            rows.append(row(f"{name} images taken for real", taken))
    for y in sorted({key[number][1] for number in answers}):
        rows.append(row(f"class {y}: share told apart", [ok for n, ok in right.items() if key[n][1] == y]))
    return rows
