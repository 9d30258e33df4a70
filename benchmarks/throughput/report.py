"""The report of the Gibbs benchmark: limits, cross-over points, tables, figure, the table in README.md."""

from pathlib import Path

from benchmarks.throughput import figure
from jaxgen.runs import Row, platform
from jaxgen.runs.tables import aligned, markdown, write_between

COLUMNS = ("engine", "size", "levels", "chains", "coupling", "sweeps", "updates/ns", "range", "samples/s", "x thrml")
COLUMNS += ("compile s", "memory MB", "note")
GATE_COLUMNS = ("engine", "size", "levels", "chains", "coupling", "p_exact", "p_thrml", "ok")
# Estimates in site updates per nanosecond, per core on CPUs with AVX-512: (of what, limit, its paths)
LIMITS_FOR = {"size": 28, "levels": 4, "coupling": "edge"}
CPU_LIMITS = (
    ("code XLA can emit", 1.4, ("thrml", "jaxgen thrml", "lattice", "lattice13", "dense JAX")),
    ("hand-written intrinsics", 3.0, ("numba",)),
)
GPU_LIMITS = (("fusion XLA can emit", 350.0, CPU_LIMITS[0][2]), ("hand-written kernel", 1300.0, ("kernel",)))


def limits(rows: list[dict], environment: dict) -> list[dict]:
    """Return estimated limits of this device beside the fastest path for each; none for an unknown device."""
    device, estimates, cores = environment["device"], (), 1
    if "H200" in device:
        estimates = GPU_LIMITS
    elif "avx512f" in _cpu_flags():
        estimates, cores = CPU_LIMITS, environment["cores"]
    result = []
    for what, limit, paths in estimates:
        measured = [r for r in rows if r["engine"] in paths and _at(r, LIMITS_FOR)]
        best = max(measured, key=lambda r: r["updates_per_ns"], default=None)
        result.append({"limit": what, "limit_updates_per_ns": limit * cores, "fastest": best and best["engine"]})
        result[-1]["updates_per_ns"] = best and best["updates_per_ns"]
        result[-1]["share"] = best and best["updates_per_ns"] / (limit * cores)
    return result


def _cpu_flags() -> str:
    return " ".join(platform.cpu_flags())


def _at(row: dict, base: dict) -> bool:
    return _same(row, base, ("size", "levels", "coupling"))


def crossovers(rows: list[dict], base: dict) -> list[dict]:
    """For each path: the fewest chains measured from which on the lattice engine is faster at every count measured."""
    at_base = [r for r in rows if _at(r, base) and not r["one_chain"]]
    ours = {r["chains"]: r["updates_per_ns"] for r in at_base if r["engine"] == "lattice"}
    result = []
    for engine in dict.fromkeys(r["engine"] for r in at_base):
        theirs = {r["chains"]: r["updates_per_ns"] for r in at_base if r["engine"] == engine}
        if engine.startswith("lattice") or not ours:
            continue
        behind = [n for n in theirs if ours[n] <= theirs[n]]
        ahead = [n for n in theirs if n > max(behind, default=0)]
        fewest = {"lattice_ahead_from_chains": min(ahead, default=None), "counts_measured": sorted(theirs)}
        result.append({"engine": engine} | fewest)
    return result


def table_rows(rows: list[dict]) -> list[dict]:
    """Return the rows with the columns that a reader sees."""
    return [
        row
        | {
            "updates/ns": row["updates_per_ns"],
            "range": f"{row['low']:.2g}-{row['high']:.2g}",
            "samples/s": row["samples_per_s"],
            "x thrml": row["ratio_to_thrml"],
            "compile s": row["compile_s"],
            "memory MB": row["memory_bytes"] and row["memory_bytes"] / 1e6,
        }
        for row in rows
    ]


def sections(record: dict) -> list[tuple[str, list[dict], tuple[str, ...]]]:
    """Return (heading, rows, columns) of every table after the first; empty tables are left out."""
    alike = "one call, sample_states(SamplingSchedule(n_warmup=0, n_samples=1, steps_per_sample=n))"
    tables = [
        ("Estimated limits of this device and what was reached (28 x 28, 4 levels, edge)", record["limits"]),
        ("Smallest number of chains from which on the lattice engine is faster", record["crossovers"]),
        ("One CD-1 step, 256 images of random states, 28 x 28, 4 levels, edge couplings", record["training"]),
        (f"THRML's {alike}: runs no sweep", record["empty_call"]),
        ("Where the time of the lattice engine goes, 256 chains", record.get("profile", [])),
    ]
    return [(heading, rows, tuple(rows[0])) for heading, rows in tables if rows]


def notes(record: dict) -> list[str]:
    """Return the sentences that belong under the tables."""
    lines = [
        "updates/ns: median of the repeats, range their least and greatest. samples/s: 50 sweeps per sample. x thrml: "
        "median over repeats of the ratio to THRML in the same round. Memory: arguments, outputs and temporaries by "
        "the compiler's account for JAX, growth of the peak resident set during a call for the others."
    ]
    lines += [record["profile_method"]] if "profile_method" in record else []
    lines += [record["gpu_use"]] if record.get("gpu_use") else []
    return lines + [f"Not run: {line}." for line in record["absent"]]


def text(record: dict) -> str:
    """Return the whole report for a terminal."""
    parts = [f"Gate, false alarm at most {record['alpha']:g} per check\n{aligned(record['gate'], GATE_COLUMNS)}"]
    parts += [f"FAILED, not timed: {row['engine']}" for row in record["gate"] if not row["ok"]]
    parts.append(aligned(table_rows(record["rows"]), COLUMNS))
    parts += [f"{heading}\n{aligned(rows, columns)}" for heading, rows, columns in sections(record)]
    return "\n\n".join([*parts, *notes(record), _origin(record)])


def _origin(record: dict) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items() if v)
    load = f"load {record['load_at_start']} at the start"
    flags = f", XLA_FLAGS={record['xla_flags']}" if record["xla_flags"] else ""
    return f"`{record['command']}` on {record['device']}, {record['cores']} cores, {load}; {versions}{flags}."


def write(path: Path, name: str, record: dict) -> None:
    """Put the tables between their marks in the Markdown file."""
    parts = [_origin(record), markdown(table_rows(record["rows"]), COLUMNS)]
    parts += [f"**{heading}.**\n\n{markdown(rows, columns)}" for heading, rows, columns in sections(record)]
    write_between(path, name, "\n\n".join(parts + notes(record)))


def result_rows(record: dict) -> list[Row]:
    """Return the rows of the record for experiments/RESULTS.md; ratios are those of one run."""
    base = record["base"]
    rows = {(r["engine"], r["chains"], r["coupling"]): r for r in record["rows"] if _same(r, base, ("size", "levels"))}
    images = f"{base['size']} x {base['size']}, {base['levels']} levels"
    result = []
    for engine, chains, coupling, target in (
        ("thrml", base["chains"], "edge", ""),
        ("lattice", base["chains"], "edge", ">= 0.6 updates/ns, >= 60 x thrml, >= 10,000 samples/s"),
        ("lattice", base["chains"], "tied", ">= 1.5 x edge"),
        ("lattice", 1, "edge", ">= 10 x thrml"),
        ("lattice", 1024, "edge", "no slower than 256 chains"),
    ):
        if row := rows.get((engine, chains, coupling)):
            ratio = f"{row['ratio_to_thrml']:.3g} x thrml, " if row["ratio_to_thrml"] else ""
            note = f"{ratio}{row['samples_per_s']:.4g} samples/s of 50 sweeps, range {row['low']:.2g}-{row['high']:.2g}"
            what = f"{engine}, {chains} chain{'s' * (chains > 1)}, {coupling} couplings, {images}"
            result.append(Row(what, row["updates_per_ns"], "updates/ns", target, note))
    for row in record["training"]:
        target = {"thrml": "< 10 s", "lattice": ""}[row["engine"]]
        note = f"{row['step_ms']:.3g} ms per step of 256 images, range {row['low_ms']:.3g}-{row['high_ms']:.3g}"
        result.append(
            Row(f"CD-1 over 10,000 images, engine {row['engine']}", row["s_for_10000_images"], "s", target, note)
        )
        if row["engine"] == "lattice":
            result.append(
                Row("CD-1 over 60,000 images, engine lattice", row["s_for_60000_images"], "s", "< 10 s", note)
            )
    return result


def _same(row: dict, base: dict, names: tuple[str, ...]) -> bool:
    return all(row[name] == base[name] for name in names)


def plot(path: str | Path, record: dict) -> None:
    """Write the figure."""
    base = record["base"]
    shown = record["limits"] if base["levels"] == 4 and base["coupling"] == "edge" else []
    title = f"Block Gibbs sampling, {base['size']} x {base['size']} sites, {base['levels']} levels, {base['coupling']}"
    figure.draw(path, record["rows"], base, shown, f"{title} couplings, on {record['device']}")
