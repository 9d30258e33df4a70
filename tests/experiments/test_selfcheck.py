"""The self-check says what is wrong, and stays silent where nothing is."""

import shutil
from importlib import metadata

import jax
import pytest

from experiments import selfcheck
from jaxgen import gibbs, runs


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "configure", lambda: None)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.slow
def test_a_sound_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    # The least throughput is not tested, for the machine may be busy; THRML's program takes long to compile.
    monkeypatch.setattr(selfcheck, "ENGINES", ("lattice",))
    findings = selfcheck.Findings()
    for look in (selfcheck.versions, selfcheck.settings, selfcheck.cache, selfcheck.dataset, selfcheck.oracle):
        look(findings)
    printed = capsys.readouterr().out
    assert findings.wrong == []
    assert f"jax {jax.__version__}" in printed and "checksums right" in printed and "XLA_FLAGS: " in printed
    assert "compilation cache: 0 files" in printed and printed.count("standard errors off") == 1


@pytest.mark.slow
def test_each_fault_is_named_with_the_way_to_mend_it(monkeypatch, capsys, tmp_path):
    real = metadata.version

    def version(name):
        if name == "optax":
            raise metadata.PackageNotFoundError(name)
        return {"flax": "0.2.3"}.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(gibbs, "sample", lambda key, lattice, params, x, n, **rest: (x, None))
    monkeypatch.setattr(selfcheck, "LEAST_FREE", 2**80)
    (tmp_path / "cache").write_text("")
    with pytest.raises(SystemExit) as stopped:
        selfcheck.run(selfcheck.SelfcheckConfig(seconds=0.1), tmp_path)
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    for text in (
        "WRONG: flax is 0.2.3, not 0.12.0 to below 0.13; pip install -r requirements.txt",
        "WRONG: optax is missing; pip install -r requirements.txt",
        "WRONG: the compilation cache cannot be written",
        "set JAX_COMPILATION_CACHE_DIR",
        "WRONG: the lattice engine does not sample the enumerated law",
        "WRONG: the thrml engine does not sample the enumerated law",
        "to mend",
    ):
        assert text in printed
