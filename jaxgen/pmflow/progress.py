"""The progress of a comparison: a bar over the epochs of all models, and a table with one row per run.

On a terminal the bar stays above that of the run being trained. Elsewhere (a log file, a notebook) no bar is drawn, and
the numbered rows show the progress.
"""

import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_WIDTH = 44


class Display:
    """A context manager: `begin` a run, report every test by `epoch`, `end` with all test accuracies of the run."""

    def __init__(self, runs: int, epochs: int):
        self._runs, self._epochs, self._done = runs, epochs, 0
        self._label, self._best = "", ("", 0.0)
        from tqdm import tqdm  # here, so that the library does without it

        silent = not sys.stderr.isatty()
        self._bar = tqdm(total=runs * epochs, desc="all", unit="epoch", dynamic_ncols=True, disable=silent)

    def __enter__(self) -> "Display":
        epochs = [f"epoch {k}" for k in range(1, self._epochs + 1)]
        self._write("test accuracy, %", [*epochs, "best", "s/epoch"])
        return self

    def __exit__(self, *exception) -> None:
        self._bar.close()

    def begin(self, label: str) -> None:
        """Start a run."""
        self._label = label

    def epoch(self, accuracy: float) -> None:
        """Show a test after an epoch; accuracy in 0..1, mean over the seeds trained together."""
        self._best = max(self._best, (self._label, accuracy), key=lambda pair: pair[1])
        best = f"best {100 * self._best[1]:.2f} % ({self._best[0]})"
        self._bar.set_postfix_str(f"{self._label}: {100 * accuracy:.2f} %, {best}", refresh=False)
        self._bar.update()

    def end(self, accuracy: Float[np.ndarray, " epochs"], seconds: float) -> None:
        """Finish a run; epochs that an earlier process trained count as well."""
        self._done += 1
        self._bar.update(self._done * self._epochs - self._bar.n)
        self._write(
            f"{self._done}/{self._runs} {self._label}",
            [f"{100 * a:.2f}" for a in [*accuracy, max(accuracy)]] + [f"{seconds:.1f}"],
        )

    def _write(self, label: str, cells: Sequence[str]) -> None:
        self._bar.write(f"{label:{_WIDTH}}" + "".join(f"{cell:>9}" for cell in cells))
