"""The command-line program: `jaxgen`, or `python -m jaxgen`.

  jaxgen                                                         list the commands
  jaxgen ebm_cd --flagfile=ebm_digit3 --workdir=runs/digit3      run one
  jaxgen ebm_cd --help                                           list its flags

`jaxgen NAME` runs the script `experiments.NAME` with the same flags as `python -m experiments.NAME` in a checkout. A
--flagfile that is not in the current folder may be the name of a file of experiments/flags, which is installed too.

In a checkout the scripts lie beside the package; a wheel holds them in jaxgen/_commands/. Either folder goes to the
front of the path that Python imports from, in this process and in those that it starts, so the scripts are the same
modules in both cases, and the commands in their records can be typed in any checkout.
"""

import ast
import difflib
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "_commands"
ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """List the commands, or run the one that `argv` (default sys.argv) names. Exit code 2 for an unknown name."""
    words = list(sys.argv if argv is None else argv)[1:]
    name, flags = (words[0], words[1:]) if words else ("help", [])
    if name in ("help", "-h", "-help", "--help"):
        print(listing())
        return
    if name == "--version":
        from jaxgen import __version__

        print(f"jaxgen {__version__}")
        return
    known = commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        print(f"jaxgen: command is {name!r}; {hint}run `jaxgen` for the list of commands", file=sys.stderr)
        sys.exit(2)
    _make_importable(ROOT)
    sys.argv = [name, *shipped_flagfiles(flags)]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


def commands() -> dict[str, str]:
    """Return the first line of the docstring of every script that is a program, by its name."""
    lines = {}
    for path in sorted((ROOT / "experiments").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            lines[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return lines


def listing() -> str:
    """Return the text that `jaxgen` prints without a command."""
    known = commands()
    width = max(map(len, known), default=0)
    lines = [f"  {name:{width}}  {line}" for name, line in known.items()]
    head = "usage: jaxgen COMMAND [--name=value ...]; `jaxgen COMMAND --help` lists its flags"
    foot = "`jaxgen NAME` runs what the documentation calls `python -m experiments.NAME`."
    return "\n".join([head, "", *lines, "", foot])


def shipped_flagfiles(flags: Sequence[str]) -> list[str]:
    """Return the flags with the name of a shipped flag file replaced by its path, unless there is a file of that name.

    "ebm_digit3", "ebm_digit3.flags" and "experiments/flags/ebm_digit3.flags" name the same file.
    """
    resolved, after = [], False
    for word in flags:
        name, equals, value = word.partition("=")
        if after:
            word = _shipped(word)
        elif name.lstrip("-") == "flagfile" and equals:
            word = f"{name}={_shipped(value)}"
        after = word in ("-flagfile", "--flagfile")
        resolved.append(word)
    return resolved


def _shipped(text: str) -> str:
    folder = ROOT / "experiments" / "flags"
    path = Path(text)
    shipped = folder / f"{path.name.removesuffix('.flags')}.flags"
    named = path.parent in (Path(), Path("experiments/flags")) and shipped.is_file()
    return str(shipped) if named and not path.exists() else text


def _make_importable(folder: Path) -> None:
    """Let this process and those it starts import from a folder before all others."""
    sys.path.insert(0, str(folder))
    rest = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder) if not rest else os.pathsep.join((str(folder), rest))


if __name__ == "__main__":
    main()
