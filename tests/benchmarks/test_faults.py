"""The fault benchmark: kills at every file operation and at random moments, full disks, damage, and its accounting."""

import random
import shutil

import commands
import pytest
from toy_experiment import ToyConfig
from toy_experiment import run as toy

from benchmarks import faults
from benchmarks.fault_injection import crashes, damage, full_disk
from benchmarks.fault_injection.forked import ForkServer
from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import atomic
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


def test_a_kill_before_any_file_operation_loses_nothing(tmp_path):
    row = crashes.crash_row(tmp_path, every=7)
    assert row["lost"] == 0 and row["tried"] > 8, row


@pytest.mark.slow
def test_the_kills_notice_a_checkpoint_that_is_deleted_in_place(tmp_path, monkeypatch):
    def in_place(folder):
        shutil.rmtree(folder)

    monkeypatch.setattr(atomic, "remove_whole", in_place)
    monkeypatch.setattr(checkpoint, "remove_whole", in_place)
    assert crashes.crash_row(tmp_path, every=3)["lost"] > 0


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(whole, tmp_path):
    generator = random.Random(1)
    done = faults.kill(lambda: start(tmp_path), tmp_path, 2, lambda: generator.uniform(0.0, 0.05))
    assert done.tried == done.survived == 2 and done.blocked == 0
    toy(ToyConfig(steps=STEPS), tmp_path)
    assert faults.numbers(tmp_path) == faults.numbers(whole)


@pytest.mark.slow
def test_a_full_disk_ends_a_command_with_pictures_within_a_minute(tmp_path):
    command = "ebm_cd"
    with ForkServer(tmp_path) as server:

        def start(workdir):
            flags = [*faults.FAMILIES[command], f"--workdir={workdir}"]
            return server.start(f"experiments.{command}", *flags)

        row = full_disk.disk_row(command, start, tmp_path / "disk")
    if not row["tried"]:
        pytest.skip("this user may not mount a tmpfs")
    assert row["lost"] == 0 and row["tried"] == 3, row


@pytest.mark.slow
def test_a_refused_start_does_not_block_the_right_one(tmp_path):
    with ForkServer(tmp_path) as server:
        row = faults.refused_row("energy_learning", server, tmp_path / "run")
    assert row["lost"] == 0 and "not refused" not in row["note"], row


def test_a_checkpoint_that_cannot_be_written_is_named_with_the_last_good_one(tmp_path, monkeypatch):
    digests = checkpoint.digests

    def no_room_at_30(folder):
        if folder.name.endswith("-30"):
            raise OSError(28, "No space left on device")
        return digests(folder)

    monkeypatch.setattr(checkpoint, "digests", no_room_at_30)
    message = r"checkpoint not written: No space left on device; the last good checkpoint is step 20.*/30"
    with pytest.raises(OSError, match=message):
        toy(ToyConfig(steps=STEPS), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["10", "20"]


def test_rows_of_damage_and_of_bad_numbers(whole, tmp_path):
    rows = [damage.checkpoint_row(whole, tmp_path / "checkpoints", "toy"), damage.nan_row(tmp_path / "nan")]
    assert all(row["lost"] == 0 and row["tried"] == row["survived"] > 1 for row in rows), rows
    assert damage.row("x", "toy", 3, 2, "")["lost"] == 1


def test_going_on_is_judged_by_the_step():
    said = "resuming runs/x after step 20 of 120\n"
    assert faults.went_on(said, 20) and faults.went_on(said, 10) and not faults.went_on(said, 30)
    assert faults.went_on("", 0) and not faults.went_on("", 10)


def test_families_are_checked_and_have_commands():
    assert faults.selected(faults.FaultsConfig(families="vae, ebm_cd")) == ["vae", "ebm_cd"]
    with pytest.raises(UserError, match=r"families is 'vea'; allowed: some of ebm_cd, .*vae"):
        faults.selected(faults.FaultsConfig(families="vea"))
    for command in faults.FAMILIES:
        assert (commands.ROOT / "experiments" / f"{command}.py").exists()


def test_the_record_of_steps_is_what_is_compared(whole):
    steps = faults.numbers(whole)
    assert list(steps) == list(range(5, STEPS + 1, 5)) and {"loss", "grad_norm", "step"} <= steps[5].keys()
    assert "time" not in steps[5] and runs.read_metrics(whole / "metrics.jsonl")[0]["time"] > 0
