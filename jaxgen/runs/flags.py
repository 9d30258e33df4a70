"""A Config as absl flags: one flag per field, checked as the field is."""

import contextlib
from typing import Any

from absl import flags

from jaxgen.errors import UserError
from jaxgen.runs.config import Option, options, validate


class _OptionParser(flags.ArgumentParser):
    """The absl parser of one option: a command-line word to a value that the option accepts."""

    def __init__(self, spec: Option):
        super().__init__()
        self.spec = spec
        self.syntactic_help = spec.allowed()

    def parse(self, argument: Any) -> Any:
        value = argument
        if isinstance(argument, str):
            if self.spec.optional and argument.lower() == "none":
                return None
            read = {"true": True, "false": False}.__getitem__ if self.spec.type is bool else self.spec.type
            with contextlib.suppress(ValueError, KeyError):
                value = read(argument)
        if not self.spec.accepts(value):
            raise UserError(f"allowed: {self.spec.allowed()}")
        return float(value) if self.spec.type is float else value


def define_flags(config_type: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define one flag a field of `config_type`; the group is what absl calls the flag's module, so help shows it."""
    for spec in options(config_type):
        write = flags.ArgumentSerializer()
        boolean = spec.type is bool
        flag = flags.Flag(_OptionParser(spec), write, spec.name, spec.default, spec.help, boolean=boolean)
        flags.DEFINE_flag(flag, flag_values, module_name=spec.group)
        if spec.former:
            flags.DEFINE_alias(spec.former, spec.name, flag_values, module_name=spec.group)


def from_flags(config_type: type, flag_values: flags.FlagValues = flags.FLAGS) -> Any:
    """Return the validated Config that parsed flags describe."""
    config = config_type(**{spec.name: flag_values[spec.name].value for spec in options(config_type)})
    validate(config)
    return config
