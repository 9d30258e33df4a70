"""What a run was trained on: the shape and the checksum of its data, in data.json of the run folder.

A file of images can change under its name, and a run that goes on would then be trained on a mixture. Only arrays of
integers are compared, as images and labels are: floats that a family draws can differ in the last bit between machines.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Array

from jaxgen.errors import UserError, quoted
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.files import read_json
from jaxgen.runs.processes import fingerprints, is_first, require_same, several
from jaxgen.runs.run_folder import DATA


def require_same_data(folder: Path, data: dict[str, Array | np.ndarray], trained: bool) -> None:
    """Raise UserError if processes hold different data, or the run in `folder` was trained on others.

    Args:
        folder: the run folder. A run without data.json, of an older version, takes the data as its own.
        data: the arrays of the training.
        trained: whether the run has a checkpoint; otherwise data.json is written anew.
    """
    if several():
        require_same("data", fingerprints(data))
    if not is_first():
        return
    now = fingerprints({name: array for name, array in data.items() if np.dtype(array.dtype).kind in "iub"})
    if trained and (folder / DATA).exists():
        before = read_json(folder / DATA, "data of the run", "the file that the run wrote, or none")
        for name in sorted(now.keys() & before.keys()):
            if now[name] != before[name]:
                raise UserError(
                    f"training data {name!r} are {now[name]} now, but {folder} was trained on {quoted(before[name])}; "
                    "allowed: the data of this run, or another --workdir"
                )
    elif now:
        with atomic_write(folder / DATA) as temporary:
            temporary.write_text(json.dumps(now, indent=2) + "\n")
