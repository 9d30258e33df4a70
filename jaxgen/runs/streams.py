"""Output that cannot stop a run: stdout and stderr that are missing, closed, full or no terminals; progress bars."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from jaxgen.runs.platform import is_terminal


class SafeStream:
    """A text stream whose output is dropped where the wrapped stream cannot take it.

    A stream is None in a program without a console, has no `isatty` in some notebooks, is a closed pipe after `| head`,
    and is on a full disk after `2> log`.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it; characters that the stream's encoding lacks are escaped."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            with contextlib.suppress(AttributeError, ValueError, OSError):
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (AttributeError, ValueError, OSError):
            pass
        return len(text)

    def flush(self) -> None:
        """Flush the wrapped stream if that is possible."""
        with contextlib.suppress(AttributeError, ValueError, OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the wrapped stream is a terminal."""
        return is_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def safe_output() -> Iterator[None]:
    """Put `SafeStream`s in the place of sys.stdout and sys.stderr."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(before[0]), SafeStream(before[1])
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _give_up_if_broken(before)
        sys.stdout, sys.stderr = before


def _give_up_if_broken(streams: tuple) -> None:
    """Replace the descriptors of closed pipes, to which Python would write once more, and complain, when it ends."""
    import os

    for number, stream in zip((1, 2), streams, strict=True):
        try:
            if stream is not None and stream is (sys.__stdout__, sys.__stderr__)[number - 1]:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


def progress(total: float, desc: str = "", unit: str = "it", **options: Any) -> Any:
    """Return a tqdm bar on stderr: twice per second on a terminal, twice per minute in a log file."""
    from tqdm import tqdm  # here, so that the library does without it

    # In a log file every refresh is a line of its own.
    pause = 0.5 if is_terminal(sys.stderr) else 30.0
    stream = sys.stderr if isinstance(sys.stderr, SafeStream) else SafeStream(sys.stderr)
    return tqdm(
        total=total, desc=desc, unit=unit, file=stream, mininterval=pause, maxinterval=2 * pause, dynamic_ncols=True,
        **options,
    )  # fmt: skip
