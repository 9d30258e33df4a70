"""Faults that are really done: kill -9 while a run writes, a full disk, damaged files; the table's own accounting."""

import random

import commands
import pytest
from toy_experiment import ToyConfig
from toy_experiment import run as toy

from benchmarks import damage, faults
from jaxgen import runs
from jaxgen.training import checkpoint

STEPS = 120


def start(workdir, *arguments):
    return commands.start(commands.TOY, f"--workdir={workdir}", f"--steps={STEPS}", *arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the toy left alone, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    toy(ToyConfig(steps=STEPS), folder)
    return folder


def test_kills_at_random_moments_lose_nothing(whole, tmp_path):
    generator = random.Random(1)
    done = faults.kill(lambda: start(tmp_path), tmp_path, 2, lambda: generator.uniform(0.0, 0.05))
    assert done.tried == done.survived == 2
    toy(ToyConfig(steps=STEPS), tmp_path)
    assert faults.numbers(tmp_path) == faults.numbers(whole)


def test_a_full_disk_stops_in_words_and_keeps_what_was_there(whole, tmp_path):
    with faults.small_disk(tmp_path / "disk", 8) as mounted:
        if not mounted:
            pytest.skip("this user may not mount a tmpfs")
        workdir = tmp_path / "disk" / "run"
        process, error, least = faults.fill_while_running(lambda: start(workdir), workdir)
        assert process.returncode == 2 and least >= 10, error
        assert error.count("make room, and the same command again goes on") == 1
        toy(ToyConfig(steps=STEPS), workdir)
        assert faults.numbers(workdir) == faults.numbers(whole)


def test_a_checkpoint_that_cannot_be_written_is_named_with_the_last_good_one(tmp_path, monkeypatch):
    digests = checkpoint._digests

    def no_room_at_30(folder):
        if folder.name.endswith("-30"):
            raise OSError(28, "No space left on device")
        return digests(folder)

    monkeypatch.setattr(checkpoint, "_digests", no_room_at_30)
    message = r"checkpoint not written: No space left on device; the last good checkpoint is step 20.*/30"
    with pytest.raises(OSError, match=message):
        toy(ToyConfig(steps=STEPS), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]


def test_rows_of_damage_and_of_bad_numbers(whole, tmp_path):
    rows = [
        damage.checkpoint_row(whole, tmp_path / "checkpoints"),
        damage.nan_row(tmp_path / "nan"),
    ]
    assert all(row["lost"] == 0 and row["tried"] == row["survived"] > 1 for row in rows)
    assert damage.row("x", 3, 2, "")["lost"] == 1


def test_going_on_is_judged_by_the_step(tmp_path):
    said = "resuming runs/x after step 20\n"
    assert faults.went_on(said, 20) and faults.went_on(said, 10) and not faults.went_on(said, 30)
    assert faults.went_on("", 0) and not faults.went_on("", 10)


@pytest.mark.slow
def test_many_faults_lose_nothing(tmp_path):
    config = faults.FaultsConfig(json=str(tmp_path / "faults.json"))
    assert config.kills >= 20
    faults.run(config, tmp_path)  # ValueError if anything is lost


def test_the_record_of_steps_is_what_is_compared(whole):
    steps = faults.numbers(whole)
    assert list(steps) == list(range(5, STEPS + 1, 5)) and {"loss", "grad_norm", "step"} <= steps[5].keys()
    assert "time" not in steps[5] and runs.read_metrics(whole / "metrics.jsonl")[0]["time"] > 0
