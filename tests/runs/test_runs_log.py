"""metrics.jsonl and event files: what is written, what a damage leaves, and a disk without room."""

import errno
import json
import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from jaxgen.runs import Logger, events, read_metrics, training_seconds


def test_lines_are_valid_json_whatever_the_values(tmp_path):
    log = Logger(tmp_path)
    log.scalars(1, {"loss": np.float32(0.5), "a": float("nan"), "b": float("inf"), "c": -float("inf")})
    log.close()

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert record["step"] == 1 and record["loss"] == 0.5 and record["a"] == "nan"
    (back,) = read_metrics(tmp_path / "metrics.jsonl")
    assert np.isnan(back["a"]) and back["b"] == np.inf and back["c"] == -np.inf


def test_rewind_drops_later_records_and_a_torn_line(tmp_path):
    log = Logger(tmp_path)
    log.rewind(0)
    for step in (5, 10, 15):
        log.scalars(step, {"loss": step})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "lo')
    log = Logger(tmp_path)
    log.rewind(10)
    log.scalars(15, {"loss": 1.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path / "metrics.jsonl")] == [(5, 5), (10, 10), (15, 1)]


def test_pictures_reach_the_event_file_or_are_refused(tmp_path):
    log = Logger(tmp_path)
    log.images(1, "samples", np.zeros((4, 8, 8), np.uint8))
    log.histogram(1, "weights", np.linspace(0.0, 1.0, 100))
    log.text(1, "note", "hello")
    with pytest.raises(ValueError, match=r"images has shape \(8, 8\); allowed: \(n, h, w\)"):
        log.images(1, "samples", np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"images lie in \[2.0, 2.0\]; allowed"):
        log.images(1, "samples", np.full((1, 8, 8), 2.0))
    log.close()
    content = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())
    assert b"samples" in content and b"weights" in content and b"hello" in content


def event_records(path):
    """Return the events of a file, each checked against both of its sums."""
    content, place, records = path.read_bytes(), 0, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        crc = int.from_bytes(content[place + 8 : place + 12], "little")
        assert crc == masked_crc32c(content[place : place + 8])
        body = content[place + 12 : place + 12 + length]
        assert int.from_bytes(content[place + 12 + length : place + 16 + length], "little") == masked_crc32c(body)
        records.append(Event.FromString(body))
        place += 16 + length
    return records


def test_event_files_are_what_tensorboard_reads(tmp_path):
    log = Logger(tmp_path)
    log.rewind(4)
    log.scalars(5, {"loss": 0.25})
    log.histogram(5, "weights", np.array([0.5, 0.5, -2.0]))
    log.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    records = event_records(path)
    assert records[0].file_version == "brain.Event:2"
    assert records[1].session_log.status == 1 and records[1].step == 5
    assert records[2].summary.value[0].tag == "loss" and records[2].summary.value[0].simple_value == 0.25
    histogram = records[3].summary.value[0].histo
    assert histogram.num == 3 and histogram.min == -2.0 and max(histogram.bucket) == 2


def test_a_restart_within_a_second_overwrites_no_event_file(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.25)
    for step in (1, 2, 3):
        log = Logger(tmp_path)
        log.scalars(step, {"loss": step})
        log.close()
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert [event_records(file)[2].step for file in files] == [1, 2, 3], "in the order of their names"


@pytest.mark.parametrize("record", ["scalars", "histogram", "images", "text"])
def test_a_record_that_finds_no_room_raises_at_once_and_names_its_file(tmp_path, monkeypatch, record):
    log = Logger(tmp_path)
    log.text(0, "first", "opens the file")

    class Full:
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(log._open["file"], "_file", Full())
    value = {"scalars": [{"loss": 1.0}], "histogram": ["w", np.ones(3)], "text": ["note", "x"]}
    value["images"] = ["pictures", np.zeros((2, 8, 8), np.uint8)]
    for _ in range(100):  # a queue of a writer thread would fill up and block
        with pytest.raises(OSError, match=r"No space left.*events\.out\.tfevents") as caught:
            getattr(log, record)(1, *value[record])
        assert caught.value.errno == errno.ENOSPC and "tensorboard" in caught.value.filename


def test_an_event_that_is_written_in_parts_is_whole(tmp_path, monkeypatch):
    file = events.EventFile(tmp_path, 0)
    whole = file._file

    class Short:
        def write(self, content):
            return whole.write(content[:7])

    file._file = Short()
    from tensorboardX import summary

    file.add(summary.scalar("loss", 2.0), 3)
    whole.close()
    (path,) = tmp_path.iterdir()
    assert event_records(path)[-1].summary.value[0].simple_value == 2.0


DAMAGES = {
    "NULs": b"\0" * 40,
    "blank": b"",
    "a flipped bit": b'{"step": 10, "time": 1.0, "loss"; 0.5}',
    "no object": b"[1, 2]",
    "no number": b'{"step": 10, "time": 1.0, "loss": "many"}',
    "no step": b'{"stdp": 10, "time": 1.0, "loss": 0.5}',
    "a step that is none": b'{"step": "10", "time": 1.0}',
    "null": b'{"step": 10, "time": null}',
    "nested": b"[" * 100_000,
    "not UTF-8": b'{"step": 10, "l\xffss": 0.5}',
    "a long number": b'{"step": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path, damage, capsys):
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": %d, "time": 1.0, "loss": 0.5}' % step for step in (5, 10, 15)]
    lines[1] = DAMAGES[damage]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert [record["step"] for record in read_metrics(path)] == [5, 15]
    assert capsys.readouterr().err == f"{path} is damaged in line 2: 1 of 3 records are left out\n"
    log = Logger(tmp_path)
    log.rewind(20)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 15]


def test_seconds_of_training_come_from_the_speed_of_every_record():
    records = [
        {"step": 10, "images_per_s": 50.0},
        {"step": 15, "validation_elbo": 0.0},
        {"step": 20, "images_per_s": 25.0},
    ]
    assert training_seconds(records, 5) == pytest.approx(10 * 5 / 50 + 10 * 5 / 25)
