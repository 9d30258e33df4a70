"""Machines that lack something: no affinity, no flock, no /proc, no home, no such backend."""

import importlib
import os
import platform as python_platform
import sys
from pathlib import Path

import commands
import jax
import pytest

from jaxgen.errors import UserError
from jaxgen.runs import platform


def test_cores_without_affinity(monkeypatch):
    """macOS and Windows have no os.sched_getaffinity."""
    assert platform.cpu_count() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert platform.cpu_count() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert platform.cpu_count() == 1


def test_load_without_getloadavg(monkeypatch):
    assert platform.load_average() >= 0.0
    monkeypatch.delattr(os, "getloadavg")
    assert platform.load_average() is None


def test_a_machine_without_proc(monkeypatch):
    def missing(path, *arguments, **options):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    jax.local_devices()
    before = platform.machine_id()
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(python_platform, "processor", lambda: "")
    assert platform.cpu_name() == python_platform.machine() and platform.cpu_flags() == set()
    assert len(platform.machine_id()) == 12 and platform.machine_id() != before
    assert "cores" in platform.device_name() or jax.default_backend() != "cpu"


def test_without_fcntl_and_without_msvcrt_there_is_no_lock(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    try:
        assert importlib.reload(platform).fcntl is None
        with open(tmp_path / "lock", "w") as file:
            assert platform.lock(file.fileno()) is False
    finally:
        monkeypatch.undo()
        importlib.reload(platform)
    assert platform.fcntl is not None


def test_windows_locks_through_msvcrt(monkeypatch, tmp_path):
    class Msvcrt:
        LK_NBLCK = 2
        held = False

        @classmethod
        def locking(cls, descriptor, mode, size):
            if cls.held:
                raise OSError(13, "Permission denied")
            cls.held = True

    monkeypatch.setattr(platform, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt)
    with open(tmp_path / "lock", "w") as file:
        assert platform.lock(file.fileno()) is True
        with pytest.raises(BlockingIOError):
            platform.lock(file.fileno())
        assert file.tell() == 0


def test_the_cache_without_a_home(monkeypatch, tmp_path):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(platform.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = platform.cache_folder()
    assert folder == tmp_path / f"jaxgen-{os.getuid()}" and folder.stat().st_mode & 0o777 == 0o700
    assert platform.cache_folder() == folder
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "jaxgen-12345").mkdir()
    other = platform.cache_folder()
    assert other not in (folder, tmp_path / "jaxgen-12345"), "another user's folder is not trusted"


def test_the_cache_with_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert tmp_path / "file" not in platform.cache_folder().parents


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'tpu':\n not found"), AssertionError()])
def test_a_backend_that_is_not_there_is_named(monkeypatch, error):
    def no_devices():
        raise error

    monkeypatch.setattr(jax, "devices", no_devices)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    with pytest.raises(
        UserError, match=r"JAX_PLATFORMS is 'tpu', which JAX cannot use here \(.*\); allowed: unset, cpu"
    ):
        platform.require_backend()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    platform.require_backend()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nonsense", "cuda", "tpu"])
@pytest.mark.parametrize("program", ["experiments.selfcheck", "experiments.ebm_cd"])
def test_programs_on_a_backend_that_is_not_there(program, name, tmp_path):
    if name == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("it is there")
    process = commands.start(program, f"--workdir={tmp_path / 'x'}", JAX_PLATFORMS=name)
    code, _, err = commands.ended(process)
    assert code == 2 and "Traceback" not in err and f"JAX_PLATFORMS is '{name}', which JAX cannot use here" in err
    assert not (tmp_path / "x").exists()
