"""The error of bad input, and how a value is quoted in an error message."""

from typing import Any

_LONGEST_VALUE = 120


class UserError(ValueError):
    """An input that is not allowed.

    The message says what it is, what is allowed and, where that is not plain, what to do. A command prints it as one
    line and ends with exit code 2; every other error keeps its traceback, because it is a bug.
    """


def quoted(value: Any, longest: int = _LONGEST_VALUE) -> str:
    """Return a value as an error message shows it: its repr, control characters escaped, cut in the middle if long."""
    return shortened(repr(value), longest)


def shortened(text: str, longest: int) -> str:
    """Return the text with everything unprintable escaped, and its middle left out beyond `longest` characters."""
    # A small multiple is enough to cut from: escaping a text of megabytes would take seconds.
    if len(text) > 4 * longest:
        text = text[: 2 * longest] + text[-2 * longest :]
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    if len(text) <= longest:
        return text
    head = longest * 2 // 3
    return f"{text[:head]}...{text[len(text) - (longest - head - 3) :]}"
