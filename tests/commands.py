"""A command of the README, run in this process: a second saved for every one that would start Python and JAX anew."""

import contextlib
import io
import runpy
import sys
from unittest import mock

# experiments.ebm_cd in seconds. Tests that agree on the shapes share what is compiled.
SHORT_RUN = [
    "--digits=3", "--steps=30", "--eval_every=10", "--checkpoint_every=10", "--log_every=5", "--neighbourhood=4",
    "--batch_size=32", "--chains=32", "--cd_steps=2", "--fresh_chains=64", "--fresh_sweeps=20",
]  # fmt: skip


def run(module: str, *flags: str) -> tuple[int, str, str]:
    """`python -m module flags`: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    imported = sys.modules.pop(module, None)  # by another test: runpy warns of running it once more
    with (
        mock.patch.object(sys, "argv", [module, *flags]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    if imported is not None:
        sys.modules[module] = imported
    return code, out.getvalue(), err.getvalue()
