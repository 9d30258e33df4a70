"""Frozen Config dataclasses: the declaration of their fields, their checks, and JSON.

A family declares each field once, with its default, its help, its group and its range:

    @dataclasses.dataclass(frozen=True)
    class EbmConfig:
        seed: int = seed_option("seed of parameters and data order")
        steps: int = option(2000, "parameter updates", group="optimiser", low=1, high=MOST_STEPS, grows=True)
        learning_rate: float = option(2e-2, "Adam step size", group="optimiser", low=0.0, high=1.0)
        coupling: str = option("edge", "how couplings are shared", group="model", choices=("edge", "tied"))
        clip: float | None = option(None, "largest gradient norm", group="optimiser", low=0.0)

and the flags, their checks, config.json and the comparison of two runs follow from that declaration.
"""

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError, quoted, shortened

LARGEST_SEED = 2**32 - 1  # JAX silently takes a larger seed modulo 2^32
MOST_STEPS = 2**31 - 1  # the step counter is int32
FORMAT = 2  # of config.json; files of format 1 do not say so
_TYPES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def option(
    default: Any,
    help: str,
    *,
    group: str,
    choices: Sequence | None = None,
    low: float | None = None,
    high: float | None = None,
    grows: bool = False,
    after_training: bool = False,
    former: str | None = None,
) -> Any:
    """Declare a Config field that becomes the flag `--name`; `choices` or `low` <= value <= `high` are allowed.

    Args:
        default: the value without the flag; its annotated type is int, float, bool or str, or one of them | None.
        help: one line for `--help`.
        group: heading under which `--help` lists the flag.
        choices: the values allowed.
        low: smallest value allowed, inclusive.
        high: largest value allowed, inclusive.
        grows: whether a resumed run may have a larger value than before, as a number of steps may.
        after_training: whether the trained parameters do not depend on the field, as on the number of final samples: a
            resumed run may have another value, and repeats what comes after training.
        former: an earlier name of the field, still read as a flag and in config.json.
    """
    allowed = {"choices": choices and tuple(choices), "low": low, "high": high}
    metadata = {"help": help, "group": group, "grows": grows, "after_training": after_training, "former": former}
    return dataclasses.field(default=default, metadata=metadata | allowed)


def seed_option(help: str, *, group: str = "run", default: int = 0) -> Any:
    """Declare the field of a seed, which JAX tells apart from 0 to 2^32 - 1."""
    return option(default, help, group=group, low=0, high=LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of a Config with what is allowed in it."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    group: str
    choices: tuple | None
    low: float | None
    high: float | None
    grows: bool
    after_training: bool
    former: str | None

    def allowed(self) -> str:
        """Return in words what the field accepts."""
        if self.choices:
            text = "one of " + ", ".join(map(str, self.choices))
        elif self.low is not None and self.high is not None:
            text = f"{_TYPES[self.type]} from {self.low} to {self.high}"
        elif self.low is not None:
            text = f"{_TYPES[self.type]}, {self.low} or more"
        elif self.high is not None:
            text = f"{_TYPES[self.type]}, {self.high} or less"
        else:
            text = _TYPES[self.type]
        return text + " or none" * self.optional

    def accepts(self, value: Any) -> bool:
        """Return whether a value has the right type and lies in the range."""
        if value is None:
            return self.optional
        # bool is a subclass of int, and an int is a valid float: isinstance says otherwise of both.
        if isinstance(value, bool) != (self.type is bool):
            return False
        if not isinstance(value, (int, float) if self.type is float else self.type):
            return False
        if self.choices is not None:
            return value in self.choices
        if self.type in (int, float):
            # No math.isfinite: it overflows on an integer of hundreds of digits, and a comparison does not.
            largest = sys.float_info.max if self.type is float else math.inf
            low, high = (-largest if self.low is None else self.low), (largest if self.high is None else self.high)
            return low <= value <= min(high, largest)
        return True


def options(config_type: type) -> list[Option]:
    """Return the options of a Config class, in the order of declaration. UserError for a field of another kind."""
    hints = typing.get_type_hints(config_type)
    specs = []
    for field in dataclasses.fields(config_type):
        members = typing.get_args(hints[field.name]) or (hints[field.name],)
        kinds = [kind for kind in members if kind is not types.NoneType]
        if "group" not in field.metadata or len(kinds) != 1 or kinds[0] not in _TYPES:
            raise UserError(
                f"{config_type.__name__}.{field.name} is declared {hints[field.name]}; allowed: option(...) of type "
                "int, float, bool or str, or one of them | None"
            )
        optional = types.NoneType in members
        specs.append(Option(field.name, kinds[0], optional, field.default, **field.metadata))
    return specs


def integers(name: str, text: str) -> list[int]:
    """Return the numbers of a list such as "1,2,4". UserError naming the flag if they are not integers, 1 or more."""
    words = [word.strip() for word in text.split(",")]
    digits = all(word.isdecimal() and len(word) < 10 and int(word) for word in words)
    if not digits or len({int(word) for word in words}) < len(words):
        raise UserError(f"{name} is {quoted(text)}; allowed: integers, 1 or more, each once, separated by commas")
    return [int(word) for word in words]


def numbers(name: str, text: str, low: float, high: float) -> list[float]:
    """Return the numbers of a list such as "1,1.5". UserError naming the flag if they are not from `low` to `high`."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(low <= value <= high for value in values) or len(set(values)) < len(values):
        allowed = f"numbers from {low:g} to {high:g}, each once, separated by commas"
        raise UserError(f"{name} is {quoted(text)}; allowed: {allowed}")
    return values


def validate(config: Any) -> None:
    """Raise UserError naming the first field whose value is not allowed."""
    for spec in options(type(config)):
        value = getattr(config, spec.name)
        if not spec.accepts(value):
            raise UserError(f"{spec.name} is {quoted(value)}; allowed: {spec.allowed()}")


def to_json(config: Any) -> str:
    """Return the Config as a JSON object, one field per line, with the version of its format."""
    return json.dumps({"format": FORMAT} | dataclasses.asdict(config), indent=2, allow_nan=False) + "\n"


def from_json(config_type: type, text: str) -> Any:
    """Return the Config that `to_json` wrote.

    Raises:
        UserError: the text is no JSON object or of a newer format; unknown fields, by name; values not allowed.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise UserError("config is nested too deeply; allowed: a JSON object of plain values") from None
    except ValueError as error:
        raise UserError(f"config is no JSON: {error}; allowed: the file that the run wrote") from None
    if not isinstance(values, dict):
        raise UserError(f"config is a JSON {type(values).__name__}; allowed: an object of fields")
    written = values.pop("format", 1)
    if written not in range(1, FORMAT + 1) or isinstance(written, bool):
        raise UserError(f"format of config is {quoted(written)}; allowed: 1 to {FORMAT}; update jaxgen to read a newer")
    known = [spec.name for spec in options(config_type)]
    for spec in options(config_type):
        if spec.former in values and spec.name not in values:
            values[spec.name] = values.pop(spec.former)
    unknown = [name for name in values if name not in known]
    if unknown:
        raise UserError(f"unknown config fields: {shortened(', '.join(unknown), 200)}; allowed: {', '.join(known)}")
    config = config_type(**values)
    validate(config)
    return config


def read_config(config_type: type, path: str | Path, made_by: str) -> Any:
    """Return the Config in the file config.json of a run folder.

    Args:
        config_type: the Config class of the program that made the run.
        path: the file.
        made_by: that program, such as "experiments.ebm_cd", for the advice to train first.

    Raises:
        UserError: there is no such file, or it does not hold a Config of this type; names the file.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"workdir is {path.parent}, which holds no {path.name}; allowed: a run folder. Train first: python -m "
            f"{made_by} --workdir={path.parent}"
        )
    try:
        return from_json(config_type, path.read_text())
    except ValueError as error:  # UserError, and UnicodeDecodeError of bytes that are no text
        raise UserError(f"{path} is not the config of a run of {made_by}: {error}") from error


def to_flagfile(config: Any) -> str:
    """Return the Config as `--name=value` lines that `--flagfile` reads back."""
    lines = []
    for name, value in dataclasses.asdict(config).items():
        lines.append(f"--{name}={str(value).lower() if value is None or isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def differences(a: Any, b: Any) -> list[str]:
    """Return the fields in which two Configs differ, each as "name: value in a -> value in b"."""
    if type(a) is not type(b):
        return [f"config: {type(a).__name__} -> {type(b).__name__}"]
    pairs = zip(dataclasses.asdict(a).items(), dataclasses.asdict(b).values(), strict=True)
    return [f"{name}: {value!r} -> {other!r}" for (name, value), other in pairs if value != other]


def resumable(before: Any, now: Any) -> list[str]:
    """Return what `differences` does, for the fields alone in which a resumed run may differ as it does."""
    allowed = []
    for spec in options(type(now)):
        old, new = getattr(before, spec.name), getattr(now, spec.name)
        if (spec.grows and new > old) or (spec.after_training and new != old):
            allowed.append(f"{spec.name}: {old!r} -> {new!r}")
    return allowed
