"""Search for good settings of contrastive divergence: random or grid, by successive halving.

  python -m experiments.ebm_search --flagfile=experiments/flags/ebm_search.flags --workdir=runs/search
  python -m experiments.ebm_search --quick --workdir=runs/search_quick
  python -m experiments.ebm_cd --flagfile=runs/search/best.flags --workdir=runs/best        train the winner

Trials are judged by the likelihood of validation images, annealed, or by their pseudo-likelihood (--criterion). The
folder then holds table.md, every trial with what became of it; figures/trials.png; result.json; best.flags, for
experiments.ebm_cd; and a run folder for every training. The same command again goes on with a search that was stopped.
"""

import time

from jaxgen import runs
from jaxgen.potts.studies.search import SearchConfig, effective
from jaxgen.potts.studies.search_run import Search, best_flags, search_figure, search_rows, search_table


def run(config: SearchConfig, workdir) -> None:
    """Search, then write what came out."""
    start = time.perf_counter()
    runs.configure()
    search = Search(effective(config))
    with runs.RunFolder.open(workdir, config) as folder:
        outcomes = search.run(folder)
        table = search_table(search, outcomes)
        for name, text in (("table.md", table), ("best.flags", best_flags(search, outcomes))):
            with runs.atomic_write(folder.path / name) as temporary:
                temporary.write_text(text)
        if any(one.score is not None for one in outcomes):
            search_figure(folder.figures / "trials.png", search, outcomes)
        rows = search_rows(search, outcomes)
        runs.write_record(
            folder.path / "result.json",
            title=f"search, {config.dataset} {config.digits}" + ", quick" * config.quick,
            family="Potts energy-based model",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(table)
    print(*rows, sep="\n")
    print(f"{folder.path / 'best.flags'}\n{folder.figures / 'trials.png'}")


if __name__ == "__main__":
    runs.main(SearchConfig, run)
