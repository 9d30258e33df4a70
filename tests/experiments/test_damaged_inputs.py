"""Every command that reads a run folder or a file: whatever lies there, it ends in one line that names the file."""

import commands
import pytest

# What reads the folder of a run that another command has made, and the name of the file that it reads first.
READERS = (
    "diffusion_pretrained", "diffusion_sample", "diffusion_sampling", "ebm_convergence", "ebm_energy", "ebm_guidance",
    "ebm_inpaint", "ebm_likelihood", "ebm_pictures", "ebm_pretrained", "ebm_sample", "vae_sample",
)  # fmt: skip
CONTENTS = {
    "bytes": b"\xff\xfe\0{", "empty": b"", "a list": b"[1]", "nested": b"[" * 100_000, "cut": b'{"format": 2, "se',
    "another run": b'{"format": 2, "colour": "red"}', "a denoiser, other text": b'{"noise_steps": 4}\xff',
    "a denoiser, other fields": b'{"noise_steps": 4, "colour": 1}', "a number": b'{"seed": ' + b"9" * 5000 + b"}",
    "a newer format": b'{"format": 3}',
}  # fmt: skip


def one_line(module, *flags):
    """Return the line with which a command refuses."""
    code, _, err = commands.run(f"experiments.{module}", *flags)
    lines = [line for line in err.splitlines() if not line.startswith("jax ")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err, (module, flags, code, err[-500:])
    return lines[0]


def test_the_readers_are_all_commands_that_restore_a_run():
    texts = {path.stem: path.read_text() for path in (commands.ROOT / "experiments").glob("*.py")}
    restoring = {name for name, text in texts.items() if any(f"{w}(" in text for w in ("add_record", "add_files"))}
    # A study restores runs that it has trained itself, and a sheet is made of samples.
    assert restoring - {"diffusion_parts", "diffusion_study", "ebm_blind"} | {"diffusion_sample"} == set(READERS)


@pytest.mark.parametrize("module", READERS)
def test_a_config_that_is_none(tmp_path, module):
    for name, content in CONTENTS.items():
        (tmp_path / "config.json").write_bytes(content)
        line = one_line(module, f"--workdir={tmp_path}")
        assert str(tmp_path / "config.json") in line, (name, line)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    assert "config.json" in one_line(module, f"--workdir={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        ("ebm_cd", "images"), ("vae", "images"), ("diffusion", "images"), ("ebm_denoising", "images"),
        ("ebm_restricted", "images"), ("data_exploration", "images"), ("ebm_cd", "data_dir"), ("evaluate", "samples"),
        ("ebm_blind", "samples"), ("information_bound", "compare"), ("information_bound", "save_results"),
    ],
)  # fmt: skip
def test_a_home_that_is_unknown(tmp_path, module, flag):
    line = one_line(module, f"--{flag}=~nobody_of_this_name/x.npz", f"--workdir={tmp_path / 'new'}")
    assert f"{flag} is '~nobody_of_this_name/x.npz', whose home folder is unknown" in line
    assert not (tmp_path / "new").exists()
