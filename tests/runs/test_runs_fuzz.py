"""Over 10,000 inputs that nobody meant: each is read rightly or refused by a named error, and none crashes."""

import collections
import dataclasses
import gzip
import json
import math
import struct

import numpy as np
import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxgen.data.idx import parse_idx
from jaxgen.runs import from_json, option, to_json, validate
from jaxgen.runs.flags import define_flags, from_flags

pytestmark = pytest.mark.slow

SEEN = collections.Counter()
FEW = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = option(100, "parameter updates", group="optimiser", low=1)
    count: int = option(1, "without bounds", group="optimiser")
    rate: float = option(1e-2, "step size", group="optimiser", low=0.0, high=1.0)
    free: float = option(0.0, "without bounds", group="optimiser")
    clip: float | None = option(None, "largest gradient norm", group="optimiser", low=0.0)
    kind: str = option("edge", "kind of coupling", group="model", choices=("edge", "tied"))
    name: str = option("x", "free text", group="model")
    ema: bool = option(True, "keep an average", group="model")


NAMES = [field.name for field in dataclasses.fields(Config)]
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, 0, 1, 0.5, -0.0]),
)
VALUES = st.one_of(NUMBERS, st.text(max_size=8), st.booleans(), st.none(), st.lists(st.integers(), max_size=2))
WORDS = st.one_of(
    st.text(max_size=12), NUMBERS.map(str), st.sampled_from(["9" * 400, "9" * 5000, "nan", "1e999", "none", "", "0x1"])
)


@settings(FEW, max_examples=4000)
@given(st.binary(min_size=12, max_size=32))
def test_idx_is_read_or_refused(recipe):
    """The bytes say what file is made, since one draw is cheap: right, cut, with a bit flipped, packed, or noise."""
    SEEN["idx"] += 1
    form, cut, flip = recipe[0] % 5, recipe[1] % 40, int.from_bytes(recipe[2:4], "big") % 400
    shape = [size % 6 for size in recipe[5 : 5 + recipe[4] % 5]]
    sizes = [2**32 - 1 - size for size in shape] if form == 4 else shape
    raw = bytearray(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *sizes))
    raw += bytes(math.prod(shape) if shape else 0)
    if form != 2 and flip < len(raw):
        raw[flip] ^= 1 << flip % 8
    content = recipe[5:] if form == 3 else bytes(raw[: len(raw) - cut] if cut % 2 else raw)
    if form in (1, 2):
        packed = bytearray(gzip.compress(content, 1, mtime=0))
        if form == 2 and flip < len(packed):
            packed[flip] ^= 1 << flip % 8
        content = bytes(packed)
    try:
        array = parse_idx(content, "a file")
    except ValueError as error:
        assert str(error).startswith("a file: ") and str(error).endswith("fetch an intact copy")
    else:
        assert array.dtype == np.uint8 and array.size <= len(raw) and array.ndim >= 1
        SEEN["idx read"] += 1


def read_back(text):
    """A Config that the reader made is valid and survives writing; anything else is refused."""
    try:
        config = from_json(Config, text)
    except ValueError as error:
        assert str(error)
    else:
        SEEN["config read"] += 1
        validate(config)
        assert from_json(Config, to_json(config)) == config


@settings(FEW, max_examples=2000)
@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), VALUES, max_size=3))
def test_config_of_any_values_is_read_or_refused(values):
    SEEN["config"] += 1
    read_back(json.dumps(values))


@settings(FEW, max_examples=1500)
@given(
    st.one_of(
        st.text(max_size=30),
        st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=5).map(json.dumps),
        st.builds(lambda text, cut: text[:cut], st.just(to_json(Config())), st.integers(0, 200)),
        st.sampled_from(["[" * 100_000, "NaN", '{"steps": 1e999}', '{"steps": 5, "steps": "x"}', '"\\ud800"']),
    )
)
def test_config_of_any_text_is_read_or_refused(text):
    SEEN["config"] += 1
    read_back(text)


@pytest.fixture(scope="module")
def values():
    made = flags.FlagValues()
    define_flags(Config, made)
    return made


@settings(FEW, max_examples=2500)
@given(
    st.lists(
        st.one_of(
            st.builds("--{}={}".format, st.sampled_from(NAMES), WORDS),
            st.builds("--{}={}".format, st.text(max_size=4), WORDS),
            st.text(max_size=8),
            st.sampled_from([f"--no{name}" for name in NAMES] + [f"--{name}" for name in NAMES]),
        ),
        min_size=1,
        max_size=2,
    )
)
def test_flags_of_any_words_are_read_or_refused(values, words):
    SEEN["flags"] += 1
    values.unparse_flags()
    for name in NAMES:
        values[name].value = values[name].default
    try:
        values(["program", *words])
        config = from_flags(Config, values)
    except (flags.Error, ValueError) as error:
        assert str(error)
    else:
        SEEN["flags read"] += 1
        validate(config)


def test_there_were_ten_thousand():
    if {"idx", "config", "flags"} <= SEEN.keys():  # run with the others
        assert SEEN["idx"] + SEEN["config"] + SEEN["flags"] >= 10_000, SEEN
        assert 400 < SEEN["idx read"] < 3600 and SEEN["config read"] > 100 and SEEN["flags read"] > 200, SEEN
