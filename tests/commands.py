"""A command of the README, run in this process: a second saved for every one that would start Python and JAX anew."""

import contextlib
import io
import runpy
import sys
from unittest import mock

from absl.testing import flagsaver


def run(module: str, *flags: str) -> tuple[int, str, str]:
    """`python -m module flags`: exit code, stdout, stderr. The flags it defines are gone afterwards."""
    out, err = io.StringIO(), io.StringIO()
    others = {name: loaded for name, loaded in sys.modules.items() if name != module}
    with (
        mock.patch.object(sys, "argv", [module, *flags]),
        mock.patch.dict(sys.modules, others, clear=True),
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()
