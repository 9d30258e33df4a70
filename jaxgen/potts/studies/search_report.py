"""The results of a search: its trials in order, their table, the rows of the record and the flags of the winner."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from jaxgen import data, runs
from jaxgen.potts.config import PottsConfig
from jaxgen.potts.studies.search import lists, potts_config, rungs
from jaxgen.potts.studies.search_run import FRESH_CHAINS, FRESH_SWEEPS, Search, flags
from jaxgen.runs import Row
from jaxgen.runs.tables import markdown


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        trial: number of the trial.
        config: settings of the trial, those of experiments.ebm_cd.
        updates: number of updates after which it was last scored.
        score: by the search's criterion, in nats per image; None if it was never scored.
        diverged: why the training counts as diverged, "" if it does not.
        pseudo_likelihood: log pseudo-likelihood of the validation images at the last score, in nats per image.
        energy_gap: mean energy of the chains minus that of the data, as last recorded.
        seconds: wall time, with compilation; for a trial that was killed, the time since it was resumed.
    """

    trial: int
    config: PottsConfig
    updates: int
    score: float | None
    diverged: str
    pseudo_likelihood: float | None
    energy_gap: float | None
    seconds: float

    def row(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the trial as a row of the table, with the named settings."""
        row = {name: _text(getattr(self.config, name)) for name in names}
        numbers = {"score": self.score, "log PL": self.pseudo_likelihood, "energy gap": self.energy_gap}
        row |= {name: "" if value is None else f"{value:.2f}" for name, value in numbers.items()}
        ended = "pruned" if self.updates < self.config.steps else "complete"
        state = f"diverged: {self.diverged}" if self.diverged else ended
        return {"trial": self.trial} | row | {"updates": self.updates, "s": f"{self.seconds:.1f}", "state": state}


def outcomes(search: Search, study: Any) -> list[Outcome]:
    """Return every trial that ended, best first: by the updates it reached, then by score; diverged ones last."""
    ended = []
    for trial in study.trials:
        if not trial.state.is_finished():
            continue
        config, attrs = potts_config(search.config, trial.params), trial.user_attrs
        updates = trial.last_step or 0
        pseudo = attrs.get(f"log_pseudo_likelihood_{updates}")
        score = trial.intermediate_values.get(updates)
        ended.append(Outcome(trial.number, config, updates, score, attrs["diverged"], pseudo,
                             attrs["energy_gap"], attrs["seconds"]))  # fmt: skip
    return sorted(
        ended, key=lambda o: (bool(o.diverged), -o.updates, -np.inf if o.score is None else -o.score, o.trial)
    )


def search_table(search: Search, ended: Sequence[Outcome]) -> str:
    """Return a Markdown table of all trials, best first."""
    names = ["learning_rate", *(name if name != "batch" else "batch_size" for name in lists(search.config))]
    rows = [outcome.row(names) for outcome in ended]
    return markdown(rows, list(rows[0])) + "\n"


def winner(ended: Sequence[Outcome]) -> Outcome | None:
    """Return the best trial that reached its last update; None if there is none."""
    complete = [o for o in ended if o.updates == o.config.steps and not o.diverged]
    return complete[0] if complete else None


def search_rows(search: Search, study: Any, ended: Sequence[Outcome], folder: Path) -> list[Row]:
    """Return the rows of the record: the winner, its settings, diverged trials, and choices by other measures."""
    best = winner(ended)
    seconds = f"{sum(o.seconds for o in ended):.0f} s, {sum(o.updates for o in ended):,} updates in all"
    counts = [
        Row("trials that diverged", sum(bool(o.diverged) for o in ended)),
        Row("trials", len(ended), "", "", f"{sum(o.updates == o.config.steps for o in ended)} complete; {seconds}"),
    ]
    if best is None:
        return [Row("winner", "no trial reached its last update", "", "", ended[0].diverged), *counts]
    name = search.config.criterion.replace("_", "-")
    note = f"trial {best.trial} of {len(ended)}; {len(search.validation)} images"
    rows = [
        Row(f"log {name}, validation, of the winner", best.score, "nats", "", note),
        Row(f"log {name}, validation, of independent pixels", search.independent(), "nats"),
        Row("settings of the winner", " ".join(flags(best.config))),
    ]
    second = next((o for o in ended if o is not best and o.updates == best.updates and not o.diverged), None)
    if second is not None:
        rows.append(Row("winner minus second", best.score - second.score, "nats", "", " ".join(flags(second.config))))
    note = f"{FRESH_CHAINS} chains, {FRESH_SWEEPS} sweeps from noise"
    error = search.pair_error(*search.retrained(best.trial, best.config, folder))
    rows.append(Row("mean |error| of P(x_i = a, x_j = b) of the winner", error, "", "<= 0.01", note))
    return rows + _correlations(study, rungs(search.config)[0]) + counts


def _correlations(study: Any, first: int) -> list[Row]:
    """Return the rank correlations of the score at the first rung with the measures that could replace it."""
    scored = [trial for trial in study.trials if first in trial.intermediate_values]
    rows = []
    for name, key in (
        ("energy gap", "energy_gap_before_first_rung"),
        ("log pseudo-likelihood", f"log_pseudo_likelihood_{first}"),
    ):
        pairs = [(trial.intermediate_values[first], trial.user_attrs.get(key)) for trial in scored]
        pairs = [pair for pair in pairs if pair[1] is not None]
        if len(pairs) > 2:
            note = f"{len(pairs)} trials at {first} updates; near 1 if it would choose the same trials"
            varied = np.ptp(pairs, axis=0).all()
            rho = float(scipy.stats.spearmanr(*zip(*pairs, strict=True)).statistic) if varied else "none"
            rows.append(Row(f"rank correlation of score and {name}", rho, "", "", note))
    return rows


def best_flags(search: Search, best: Outcome) -> str:
    """Return the settings of the winner as a flag file, with which experiments.ebm_cd reproduces its parameters."""
    name = search.config.criterion.replace("_", "-")
    head = f"# Trial {best.trial}: log {name} {best.score:.2f} nats on {len(search.validation)} validation images."
    if search.config.quick:
        head += f"\n# Of a search with --quick: {best.config.steps} updates, which only check that everything runs."
    return "\n".join([head, *flags(best.config)]) + "\n"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def write(search: Search, study: Any, folder: runs.RunFolder) -> runs.Report:
    """Write table.md, best.flags and the figures of a search; return its record."""
    from jaxgen.potts.figures.search import search_figures  # here, so that the library does without matplotlib

    ended = outcomes(search, study)
    texts, files, best = {"table.md": search_table(search, ended)}, [], winner(ended)
    if best is not None:
        texts["best.flags"] = best_flags(search, best)
        files = [folder.path / "best.flags", *search_figures(folder.figures, study, search.config.criterion)]
    for name, text in texts.items():
        with runs.atomic_write(folder.path / name) as temporary:
            temporary.write_text(text)
    rows = search_rows(search, study, ended, folder.path)
    config = search.config
    title = f"search, {data.name_of(config.dataset, config.images)} {config.classes}" + ", quick" * config.quick
    shown = texts["table.md"] + "\n" + "\n".join(map(str, rows))
    return runs.Report(title, "Potts energy-based model", rows, files, shown)
