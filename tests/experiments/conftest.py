"""Runs that several files of commands look at."""

import commands
import pytest


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """The folder of a whole short run of experiments.ebm_cd, which no test may change, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "digit3"
    code, out, err = commands.run("experiments.ebm_cd", *commands.SHORT_RUN, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out
