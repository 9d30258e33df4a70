"""How many Potts sites per second does each block Gibbs sampler update, and where is the lattice engine the fastest?

python -m benchmarks.gibbs_throughput            all paths, under 5 minutes on 2 cores
python -m benchmarks.gibbs_throughput --quick    under a minute

The flags do not make a cross product. Around one base case (28 x 28 sites, 4 levels, 256 chains, edge couplings; the
first value of a list that lacks its base value) sizes, levels, chains and coupling vary one at a time. Slow paths run
only at the base case and at one chain. A run takes --sweeps sweeps, or fewer where that would take long; rates are per
update. Every path must sample the right law (benchmarks.throughput.gate) before it is timed; one that does not is left
out, and the exit code is 1.
"""

import dataclasses
import sys
import time
from pathlib import Path as FilePath

import numpy as np
from absl import flags
from tqdm import tqdm

from benchmarks import command_line, timing
from benchmarks.throughput import gate, peers, report, training
from benchmarks.throughput.optional_peers import installed_peers
from benchmarks.throughput.peers import ANCHOR, Path, Prepared, Problem
from jaxgen.errors import UserError
from jaxgen.runs import write_record
from jaxgen.runs.tables import write_json

NAME = "gibbs_throughput"
BASE = {"sizes": 28, "levels": 4, "chains": 256}
SWEEPS_TO_COMPARE = 20
CHAINS_TO_COMPARE = 64
EMPTY_CALLS = (1, 50, 5000)


class _Numbers(flags.ArgumentParser):
    """Whole numbers separated by commas, each from `low` to `high`, none twice."""

    def __init__(self, low: int, high: int):
        self.low, self.high = low, high
        self.syntactic_help = f"allowed: different whole numbers from {low} to {high}, separated by commas"

    def parse(self, argument):
        words = argument.split(",") if isinstance(argument, str) else [str(n) for n in argument]
        numbers = tuple(int(word) for word in words if word.strip().isdecimal())
        in_range = all(self.low <= n <= self.high for n in numbers)
        if len(numbers) < len(words) or len(set(numbers)) < len(numbers) or not in_range:
            raise UserError(self.syntactic_help)
        return numbers


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line. target_s: seconds that one timed run of a row should take."""

    sizes: tuple[int, ...]
    levels: tuple[int, ...]
    chains: tuple[int, ...]
    coupling: str
    sweeps: int
    repeats: int
    quick: bool

    @property
    def target_s(self) -> float:
        """Return the seconds that one timed run of a row should take."""
        return 0.02 if self.quick else 0.06

    @property
    def base(self) -> Problem:
        """Return the base case."""
        size, levels, chains = (
            BASE[name] if BASE[name] in getattr(self, name) else getattr(self, name)[0] for name in BASE
        )
        return Problem(size, levels, chains, "tied" if self.coupling == "tied" else "edge")

    def problems(self) -> list[Problem]:
        """Return the base case, then cases with one setting changed at a time."""
        base = self.base
        varied = [base._replace(chains=n) for n in self.chains]
        varied += [base._replace(size=n) for n in self.sizes] + [base._replace(levels=n) for n in self.levels]
        if self.coupling == "both":
            varied.append(base._replace(coupling="tied"))
        return list(dict.fromkeys([base, *varied]))

    def takes(self, path: Path, problem: Problem) -> bool:
        """Return whether a path is timed on a problem."""
        if path.one_chain:
            return problem == self.base._replace(chains=1)
        if problem.levels > path.most_levels:
            return False
        return not path.slow or problem in (self.base, self.base._replace(chains=1))


@dataclasses.dataclass(frozen=True)
class Timed:
    """One thing in the round of timings; row: what is known of it before."""

    row: dict
    prepared: Prepared
    calls: int
    updates: int = 0


def passed_gate(paths: dict[str, Path], options: Options) -> tuple[dict[str, Path], dict[str, float], list[dict]]:
    """Return the paths that sample the right law wherever they will be timed, their rates there, and the p-values."""
    checks = {}
    for name, path in paths.items():
        kinds = dict.fromkeys((p.levels, p.coupling) for p in options.problems() if options.takes(path, p))
        checks.update({(name, *kind): path for kind in kinds})
    rows, rates, reference, failed = [], {}, {}, set()
    for (name, levels, coupling), path in tqdm(checks.items(), desc="gate", unit="check"):
        problem = gate.small_problem(path, levels, coupling)
        states, rates[name] = gate.sampled(path, problem)
        if name == ANCHOR:
            reference[levels, coupling] = states
        p_exact = gate.p_against_exact(problem, states)
        p_anchor = gate.p_against(problem, states, reference[levels, coupling])
        ok = min(p_exact, p_anchor) >= gate.ALPHA
        rows.append(gate.row(name, problem, p_exact, p_anchor, ok))
        failed |= set() if ok else {name}
    return {name: path for name, path in paths.items() if name not in failed}, rates, rows


def prepare_affordable(path: Path, problem: Problem, rate: float, options: Options) -> tuple[int, Prepared]:
    """As many sweeps as take about target_s, at most --sweeps, by the rate at the gate and then by its own."""

    def affordable(rate):
        if problem == options.base and not path.slow:
            return options.sweeps
        sweeps = int(options.target_s * 1e9 * rate / problem.updates_per_sweep)
        return min(options.sweeps, max(sweeps, path.least_sweeps))

    sweeps = affordable(rate)
    prepared = path.prepare(problem, sweeps)
    if sweeps > path.least_sweeps:
        fewer = affordable(problem.updates_per_sweep * sweeps / timing.seconds(prepared.run) * 1e-9)
        if 4 * fewer < sweeps:
            return fewer, path.prepare(problem, fewer)
    return sweeps, prepared


def prepare_rows(paths: dict[str, Path], rates: dict[str, float], options: Options) -> tuple[list[Timed], list[dict]]:
    """Compile and calibrate every row; at the base case compare final states with THRML's before anything is timed."""
    wanted = [(p, name) for p in options.problems() for name in paths if options.takes(paths[name], p)]
    timed, gate_rows, reference = [], [], None
    for problem, name in tqdm(wanted, desc="compile and calibrate", unit="row"):
        path, is_base = paths[name], problem == options.base
        sweeps, prepared = prepare_affordable(path, problem, rates[name], options)
        memory = prepared.memory or timing.resident_growth(prepared.run)
        if is_base and sweeps >= SWEEPS_TO_COMPARE and problem.chains >= CHAINS_TO_COMPARE:
            states = np.asarray(prepared.run(gate.SEED + len(gate_rows)))
            reference = states if reference is None else reference
            p_anchor = gate.p_against(problem, states, reference)
            gate_rows.append(gate.row(name, problem, None, p_anchor, p_anchor >= gate.ALPHA))
        row = {"engine": name, **problem._asdict(), "sweeps": sweeps, "one_chain": path.one_chain, "note": path.note}
        row |= {"compile_s": prepared.compile_s, "memory_bytes": memory}
        row["memory_by"] = "compiler" if prepared.memory else "resident growth"
        calls = timing.calls_for(prepared.run, options.target_s)
        timed.append(Timed(row, prepared, calls, problem.updates_per_sweep * sweeps))
    wrong = {row["engine"] for row in gate_rows if not row["ok"]}
    return [t for t in timed if t.row["engine"] not in wrong], gate_rows


def prepare_empty_calls() -> list[Timed]:
    """Prepare THRML asked for n steps between samples of which it is to return one: it returns the start."""
    problem, timed = Problem(28, 4, 1, "edge"), []
    for n in EMPTY_CALLS:
        schedule = peers.SamplingSchedule(n_warmup=0, n_samples=1, steps_per_sample=n)
        prepared = peers.compiled_jax(peers.thrml_sampler(problem, schedule), {}, problem.start())
        unchanged = bool((np.asarray(prepared.run(0)) == problem.start()).all())
        timed.append(Timed({"steps_per_sample": n, "state_unchanged": unchanged}, prepared, 20))
    return timed


def measured_rows(timed: list[Timed], times: np.ndarray) -> list[dict]:
    """Return rates, their range, and the median over repeats of each ratio to THRML on the same problem."""
    rates = np.array([t.updates for t in timed]) / times * 1e-9
    columns = {(t.row["engine"], *(t.row[k] for k in Problem._fields)): i for i, t in enumerate(timed)}
    rows = []
    for i, t in enumerate(timed):
        anchor = columns.get((ANCHOR, *(t.row[k] for k in Problem._fields)))
        rate = float(np.median(rates[:, i]))
        ratio = None if anchor is None else float(np.median(rates[:, i] / rates[:, anchor]))
        measured = {"updates_per_ns": rate, "low": float(rates[:, i].min()), "high": float(rates[:, i].max())}
        measured["samples_per_s"] = rate * 1e9 / (50 * t.row["size"] ** 2)
        rows.append(t.row | measured | {"ratio_to_thrml": ratio, "repeats": len(times), "calls": t.calls})
    return rows


def benchmark(options: Options, profile: str | None) -> tuple[dict, bool]:
    """Return the whole record, and whether every path passed."""
    timing.disable_compilation_cache()
    record = timing.environment()
    installed, absent = installed_peers(options.quick)
    gpu, no_gpu = peers.gpu_paths()
    absent = no_gpu + absent
    paths, rates, gate_rows = passed_gate(peers.PATHS | gpu | installed, options)
    timed, base_gate_rows = prepare_rows(paths, rates, options)
    empty = prepare_empty_calls()
    trusted = {t.row["engine"] for t in timed}
    steps = [(e, training.prepare_step(e)) for e, name in training.ENGINES.items() if name in trusted]
    steps_timed = [Timed({}, p, timing.calls_for(p.run, options.target_s)) for _, p in steps]
    everything = [*timed, *empty, *steps_timed]
    times = timing.interleaved([t.prepared.run for t in everything], [t.calls for t in everything], options.repeats)
    rows = measured_rows(timed, times[:, : len(timed)])
    empty_times = np.median(times[:, len(timed) : len(timed) + len(empty)], axis=0)
    step_times = times[:, len(timed) + len(empty) :].T
    record |= {"base": options.base._asdict(), "alpha": gate.ALPHA, "gate": gate_rows + base_gate_rows}
    record |= {"absent": absent, "rows": rows, "limits": report.limits(rows, record)}
    record["crossovers"] = report.crossovers(rows, record["base"])
    record["training"] = [training.training_row(e, p, t) for (e, p), t in zip(steps, step_times, strict=True)]
    record["empty_call"] = [t.row | {"ms": 1e3 * s} for t, s in zip(empty, empty_times.tolist(), strict=True)]
    if profile:
        parts, gpu = training.profile(FilePath(profile), options.sweeps, options.repeats, options.target_s)
        record |= {"profile": parts, "profile_method": training.METHOD, "gpu_use": gpu}
    return record, all(row["ok"] for row in record["gate"])


def define_flags() -> flags.FlagValues:
    """Return the command line's flags, in a FlagValues of their own."""
    values = command_line.define_flags(
        "shorter runs, no compiled PyTorch; where not given, sizes 28, levels 4, chains 1,256, edge, 20 sweeps"
    )
    lists = {"sizes": ((14, 28, 56), "sides of the square grid", 3, 128)}
    lists["levels"] = ((2, 4, 16), "levels of a site", 2, 16)
    lists["chains"] = ((1, 16, 64, 256, 1024), "chains", 1, 65536)
    for name, (default, text, low, high) in lists.items():
        flags.DEFINE(_Numbers(low, high), name, default, text, flag_values=values, serializer=None)
    where = {"flag_values": values}
    flags.DEFINE_integer("sweeps", 50, "sweeps per timed call, at most", lower_bound=2, **where)
    flags.DEFINE_enum("coupling", "both", ["edge", "tied", "both"], "both: tied at the base case as well", **where)
    flags.DEFINE_string("plot", None, "write the figure to this .png, .pdf or .svg", **where)
    flags.DEFINE_string("profile", None, "write a trace here and say where the time goes", **where)
    flags.DEFINE_string("record", None, "write the main numbers to this file, for experiments/results", **where)
    return values


def read_options(values: flags.FlagValues) -> Options:
    """Return the parsed flags, with the smaller defaults of --quick."""
    chosen = {f.name: values[f.name].value for f in dataclasses.fields(Options)}
    if chosen["quick"]:
        small = {"sizes": (28,), "levels": (4,), "chains": (1, 256), "coupling": "edge", "sweeps": 20}
        chosen |= {name: value for name, value in small.items() if not values[name].present}
    return Options(**chosen)


def main(argv: list[str]) -> int:
    """Measure, print, write; the exit code is 1 if a law was wrong."""
    values = define_flags()

    def check() -> None:
        plot = values["plot"].value
        if plot and FilePath(plot).suffix not in (".png", ".pdf", ".svg"):
            raise flags.Error(f"flag --plot={plot}: allowed: a name that ends in .png, .pdf or .svg")

    def measure_all() -> bool:
        begin, options = time.perf_counter(), read_options(values)
        record, ok = benchmark(options, values["profile"].value)
        print(report.text(record))
        if values["json"].value:
            write_json(values["json"].value, record)
        if values["plot"].value and record["rows"]:
            report.plot(values["plot"].value, record)
        if values["record"].value:
            rows, seconds = report.result_rows(record), time.perf_counter() - begin
            title = "Gibbs sampling and CD-1"
            write_record(values["record"].value, title=title, family="Gibbs engines", rows=rows, wall_time_s=seconds)
        if values["write"].value:
            report.write(command_line.README, NAME, record)
        return ok

    return command_line.run(NAME, __doc__, values, argv, measure_all, check)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
