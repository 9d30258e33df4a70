"""Figure of the Gibbs benchmark: speed against chains for every path, and all paths at the base case."""

from pathlib import Path

from matplotlib.figure import Figure

from jaxgen.visualization.grids import save_figure

COLOURS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666", "#1f78b4", "#b15928")
MARKERS = "osD^vP*X<>"
UNIT = "site updates per nanosecond"


def draw(path: str | Path, rows: list[dict], base: dict, limits: list[dict], title: str) -> None:
    """Write the figure; `base` is the base case's size, levels, coupling and chains."""
    engines = sorted({row["engine"] for row in rows}, key=lambda e: -max(_rates(rows, e)))
    style = {e: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % 10]} for i, e in enumerate(engines)}
    figure = Figure(figsize=(12, 5.6), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    fixed = ("size", "levels", "coupling")
    for engine in engines:
        of_engine = [r for r in rows if r["engine"] == engine and all(r[k] == base[k] for k in fixed)]
        of_engine.sort(key=lambda r: r["chains"])
        rates = [r["updates_per_ns"] for r in of_engine]
        spread = [[y - r["low"] for y, r in zip(rates, of_engine, strict=True)]]
        spread.append([r["high"] - y for y, r in zip(rates, of_engine, strict=True)])
        chains = [r["chains"] for r in of_engine]
        left.errorbar(chains, rates, spread, label=engine, capsize=2, linewidth=1.3, markersize=5, **style[engine])
    for limit in limits:
        left.axhline(limit["limit_updates_per_ns"], color="0.4", linestyle=":", linewidth=1)
        left.annotate(
            f"estimated limit, {limit['limit']}",
            (0.01, limit["limit_updates_per_ns"]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=8,
            color="0.3",
        )
    left.set(xscale="log", yscale="log", xlabel="chains", ylabel=UNIT)
    counts = sorted({r["chains"] for r in rows})
    left.set_xticks(counts, [str(n) for n in counts])
    left.minorticks_off()
    left.set_title("against the number of chains")
    left.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), fontsize=9, ncols=5, loc="outside lower center")

    bars = [r for r in rows if all(r[k] == base[k] for k in fixed)]
    bars = [r for r in bars if r["chains"] == base["chains"] or r["one_chain"]]
    bars.sort(key=lambda r: r["updates_per_ns"])
    names = [r["engine"] + (" (1 chain)" if r["one_chain"] else "") for r in bars]
    values = [r["updates_per_ns"] for r in bars]
    drawn = right.barh(names, values, color=[style[r["engine"]]["color"] for r in bars])
    right.bar_label(drawn, [f"{v:.2g}" for v in values], padding=3, fontsize=8)
    right.set(xscale="log", xlabel=UNIT, xlim=(min(values) / 3, max(values) * 4))
    right.set_title(f"at {base['chains']} chains")
    right.grid(alpha=0.3, axis="x")
    figure.suptitle(title)
    save_figure(path, figure)


def _rates(rows: list[dict], engine: str) -> list[float]:
    return [row["updates_per_ns"] for row in rows if row["engine"] == engine]
