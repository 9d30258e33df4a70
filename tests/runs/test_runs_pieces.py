"""Pieces of a long command: computed once, read by a second start, forgotten when they are of something else."""

import numpy as np
import pytest

from jaxgen import runs


def test_a_piece_is_computed_once_and_read_by_a_second_start(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3), "log_z": 1.5}

    for _ in range(2):
        piece = runs.Pieces(tmp_path / ".p", {"seed": 0}).get("class 3", compute)
        np.testing.assert_array_equal(piece["x"], [0, 1, 2])
        assert float(piece["log_z"]) == 1.5 and set(piece) == {"x", "log_z"}
    assert len(calls) == 1


def test_pieces_of_another_identity_are_removed_and_a_damaged_one_is_computed_again(tmp_path):
    first = runs.Pieces(tmp_path / ".p", {"seed": 0})
    first.save("a", {"x": np.zeros(2)})
    runs.Pieces(tmp_path / ".p", {"seed": 0})
    assert first.load("a") is not None
    next((tmp_path / ".p").iterdir()).write_bytes(b"PK damaged")
    assert first.load("a") is None
    np.testing.assert_array_equal(first.get("a", lambda: {"x": np.ones(2)})["x"], 1)
    (tmp_path / ".p" / "notes.txt").write_text("mine")
    other = runs.Pieces(tmp_path / ".p", {"seed": 1})
    assert other.load("a") is None and [path.name for path in (tmp_path / ".p").iterdir()] == ["notes.txt"]


def test_a_failure_leaves_the_earlier_state_of_a_piece(tmp_path, monkeypatch):
    pieces = runs.Pieces(tmp_path / ".p", {})
    pieces.save("a", {"x": 1})

    def fail(*args, **arrays):
        raise OSError("no room")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no room"):
        pieces.save("a", {"x": 2})
    assert int(pieces.load("a")["x"]) == 1


def test_the_seconds_of_earlier_starts_count_and_clearing_leaves_nothing(tmp_path, monkeypatch):
    clock = iter([0.0, 7.0, 100.0, 103.0])
    monkeypatch.setattr("jaxgen.runs.pieces.time.perf_counter", lambda: next(clock))
    runs.Pieces(tmp_path / ".p", {}).save("a", {"x": 1})
    second = runs.Pieces(tmp_path / ".p", {})
    second.load("a")
    assert second.seconds == pytest.approx(10.0)
    second.clear()
    assert not (tmp_path / ".p").exists()
