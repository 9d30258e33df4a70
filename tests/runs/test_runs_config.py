"""Config: one declaration gives flags, checks, JSON and comparison."""

import dataclasses
import json
from pathlib import Path

import commands
import pytest
from absl import flags

from jaxgen.runs import differences, from_json, main, option, to_flagfile, to_json, validate
from jaxgen.runs.flags import define_flags, from_flags


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = option(100, "parameter updates", group="optimiser", low=1)
    rate: float = option(1e-2, "step size", group="optimiser", low=0.0, high=1.0)
    clip: float | None = option(None, "largest gradient norm", group="optimiser", low=0.0)
    kind: str = option("edge", "kind of coupling", group="model", choices=("edge", "tied"))
    width: int = option(4, "neighbours", group="model", choices=(4, 8))
    ema: bool = option(True, "keep an average", group="model")


@dataclasses.dataclass(frozen=True)
class Other:
    steps: int = option(7, "the same flag in another experiment", group="optimiser", low=1)


def parse(*arguments):
    values = flags.FlagValues()
    define_flags(Config, values)
    values(["program", *arguments])
    return from_flags(Config, values)


def test_flags_set_every_type():
    given = ("--steps=5", "--rate=1", "--clip=0.5", "--kind=tied", "--width=8", "--noema")
    assert parse(*given) == Config(5, 1.0, 0.5, "tied", 8, False)
    assert parse() == Config()
    assert parse("--clip=0.5", "--clip=none", "--ema=false").clip is None
    assert isinstance(parse("--rate=1").rate, float)


def test_json_and_flagfile_round_trip(tmp_path):
    for config in (Config(), Config(5, 0.1 + 0.2, 1e-30, "tied", 8, False)):
        assert from_json(Config, to_json(config)) == config
        file = tmp_path / "flags.txt"
        file.write_text(to_flagfile(config))
        assert parse(f"--flagfile={file}") == config


def test_a_former_name_is_read_as_flag_and_in_files():
    @dataclasses.dataclass(frozen=True)
    class Renamed:
        classes: str = option("all", "classes to keep", group="data", former="digits")

    for word in ("--digits=3", "--classes=3"):
        values = flags.FlagValues()
        define_flags(Renamed, values)
        values(["program", word])
        assert from_flags(Renamed, values) == Renamed("3")
    assert from_json(Renamed, '{"digits": "3"}') == from_json(Renamed, '{"classes": "3"}') == Renamed("3")
    with pytest.raises(ValueError, match="unknown config fields: digits; allowed: classes"):
        from_json(Renamed, '{"digits": "3", "classes": "3"}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; allowed: an integer, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5; allowed: an integer"),
        ({"steps": True}, "steps is True; allowed: an integer"),
        ({"rate": 1.5}, "rate is 1.5; allowed: a number from 0.0 to 1.0"),
        ({"rate": float("nan")}, "rate is nan; allowed"),
        ({"clip": float("inf")}, "clip is inf; allowed: a number, 0.0 or more or none"),
        ({"kind": "foo"}, "kind is 'foo'; allowed: one of edge, tied"),
        ({"width": 5}, "width is 5; allowed: one of 4, 8"),
        ({"ema": 1}, "ema is 1; allowed: true or false"),
        ({"steps": None}, "steps is None; allowed"),
    ],
)
def test_validate_names_field_value_and_allowed(change, message):
    with pytest.raises(ValueError) as caught:
        validate(dataclasses.replace(Config(), **change))
    assert message in str(caught.value)


def test_unknown_json_field_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown config fields: stepz; allowed: steps, rate"):
        from_json(Config, '{"stepz": 3}')


def test_differences_names_both_values():
    changed = dataclasses.replace(Config(), rate=0.5, kind="tied")
    assert differences(Config(), changed) == ["rate: 0.01 -> 0.5", "kind: 'edge' -> 'tied'"]
    assert differences(Config(), Config()) == []
    assert differences(Config(), Other()) == ["config: Config -> Other"]


def test_field_without_option_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Bad:
        size: int = 3

    with pytest.raises(ValueError, match=r"Bad\.size"):
        define_flags(Bad, flags.FlagValues())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--steps=0", "--steps=0: allowed: an integer, 1 or more"),
        ("--steps=many", "--steps=many: allowed: an integer"),
        ("--rate=nan", "--rate=nan: allowed: a number from 0.0 to 1.0"),
        ("--kind=foo", "--kind=foo: allowed: one of edge, tied"),
        ("--ema=maybe", "--ema=maybe: allowed: true or false"),
        ("--stepz=3", "Unknown command line flag 'stepz'. Did you mean: steps ?"),
        ("stray", "unexpected arguments: stray"),
        ("--flagfile=/nowhere/x", "/nowhere/x"),
    ],
)
def test_main_refuses_in_one_line_with_code_2(argument, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(Config, lambda config, workdir: None, ["program", argument])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_main_runs_several_experiments_in_one_process():
    seen = []
    main(Config, lambda *given: seen.append(given), ["program", "--steps=3", "--workdir=here"])
    main(Other, lambda *given: seen.append(given), ["program"])
    assert seen[0] == (Config(steps=3), Path("here"))
    assert seen[1][0] == Other()


def test_main_reports_own_errors_in_a_line_and_keeps_the_trace_of_bugs(capsys):
    with pytest.raises(SystemExit):
        main(Config, lambda config, workdir: validate(Config(steps=-1)), ["program"])
    assert "steps is -1; allowed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Expecting value"):
        main(Config, lambda config, workdir: json.loads("x"), ["program"])


@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_help_is_grouped_and_explained(flag):
    code, out, err = commands.ended(commands.start(commands.TOY, flag))
    assert code == 0 and err == "", err
    assert "A toy experiment written as experiments are" in out
    group = out.split("optimiser:\n")[1].split("\n\n")[0]
    assert "--learning_rate: Adam step size\n    (default: '0.01')\n    (a number from 0.0 to 1.0)" in group
    assert "--steps" in group and "--seed" not in group
    assert "--workdir" in out.split("run:\n")[1]
