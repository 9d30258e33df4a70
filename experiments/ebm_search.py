"""Search for good settings of contrastive divergence with Optuna.

  python -m experiments.ebm_search --flagfile=experiments/flags/ebm_search.flags --workdir=runs/search
  python -m experiments.ebm_search --quick --workdir=runs/search_quick
  python -m experiments.ebm_cd --flagfile=runs/search/best.flags --workdir=runs/best        repeat the winner

The score of a trial is the annealed likelihood of validation images, or their pseudo-likelihood (--criterion). The
folder then holds table.md with all trials and their results; figures/*.png; result.json; best.flags, with which
experiments.ebm_cd reproduces the winner; study.db, the Optuna study; and trials/, with one run folder per trial. The
same command again resumes a search that was stopped. Needs Optuna 5: pip install "jaxgen[search]".
"""

from jaxgen import runs
from jaxgen.potts.studies import search_report
from jaxgen.potts.studies.search import SearchConfig, effective
from jaxgen.potts.studies.search_run import Search


def run(config: SearchConfig, workdir) -> None:
    """Run the search, then write its results."""

    def prepare(config: SearchConfig) -> runs.Job:
        search = Search(effective(config))

        def job(folder: runs.RunFolder) -> runs.Report:
            study = search.run(folder)
            return search_report.write(search, study, folder)

        return job

    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(SearchConfig, run)
