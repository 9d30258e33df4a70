"""One command from its Config to its record: check, open the run folder, work, record, print.

    prepare(config) -> job          reads, builds and checks; nothing is written yet, so a refusal leaves no folder
    job(folder) -> Report           trains, draws and measures in the open run folder

The record is `result.json` in the run folder. A command that adds to a run that another command made (say, a
likelihood) uses `add_record`: it opens no folder of its own.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxgen.runs.platform import configure
from jaxgen.runs.records import Row, write_record
from jaxgen.runs.run_folder import RunFolder, checked_workdir


@dataclasses.dataclass(frozen=True)
class Report:
    """What a command measured.

    Attributes:
        title: what was done, in a line.
        family: the section of RESULTS.md that the record belongs to.
        rows: the numbers of the record.
        files: pictures and tables that the user is pointed at.
        table: text to print in place of the rows, which the record holds all the same.
        seconds: wall time to record where this process did only a part of the work; default its own.
    """

    title: str
    family: str
    rows: Sequence[Row]
    files: Sequence[Path] = ()
    table: str = ""
    seconds: float = 0.0


Job = Callable[[RunFolder], Report]


def execute(config: Any, workdir: str | Path, prepare: Callable[[Any], Job]) -> None:
    """Prepare, open the run folder, do the job there, write `result.json` and print what was measured.

    Args:
        config: a Config; also what the run folder is compared with.
        workdir: the run folder; made if it is missing, resumed if it holds a run of the same config.
        prepare: returns the job; raises UserError for what does not fit.
    """
    start = time.perf_counter()
    workdir = checked_workdir(workdir)
    configure()
    job = prepare(config)
    with RunFolder.open(workdir, config) as folder:
        report = job(folder)
        _record(folder.path / "result.json", report, config, start)


def add_record(config: Any, path: str | Path, measure: Callable[[], Report]) -> None:
    """Measure something about a run that exists and write the record to `path`, a JSON file in its folder."""
    start = time.perf_counter()
    path = Path(path)
    checked_workdir(path.parent)
    configure()
    report = measure()
    _record(path, report, config, start)


def add_files(workdir: str | Path, make: Callable[[], Sequence[Path]]) -> None:
    """Make files in the folder of a run that exists, pictures or samples say, and print their paths."""
    checked_workdir(workdir)
    configure()
    for file in make():
        print(file)


def _record(path: Path, report: Report, config: Any, start: float) -> None:
    seconds = max(time.perf_counter() - start, report.seconds)
    write_record(path, title=report.title, family=report.family, rows=report.rows, config=config, wall_time_s=seconds)
    print(report.table or "\n".join(map(str, report.rows)))
    for file in (path, *report.files):
        print(file)
