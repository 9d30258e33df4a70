"""jaxgen: energy-based, thermodynamic and diffusion models in pure JAX, with numbers that can be checked.

Importing jaxgen sets environment variables that XLA reads once, when JAX first uses a device. Flags that the user has
set are left alone.

    XLA_FLAGS += --xla_cpu_prefer_vector_width=512                                 every version of jaxlib
    XLA_FLAGS += --xla_cpu_experimental_ynn_fusion_type=-individual_convolution    jaxlib 0.10 only

Both concern the speed on CPUs, and both apply to everything that the process computes with JAX. If JAX was in use
before the import, they come too late, and a warning says so.
"""

import importlib.metadata
import os
import sys
import warnings

from jaxgen.errors import UserError as UserError

__version__ = "0.2.0"


def _prefer(flag: str, value: str) -> bool:
    """Set an XLA flag unless the user has set it; return whether it was set here."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag in flags:
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --{flag}={value}".strip()
    return True


def _jax_in_use() -> bool:
    """Return whether JAX has started a backend, after which XLA reads its flags no more.

    JAX has no public function for this; if this one is gone, the answer is False.
    """
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(getattr(bridge, "backends_are_initialized", lambda: False)())


# XLA's CPU backend emits 256-bit vectors unless told otherwise; the Gibbs engine gains about 1.4x from 512. The option
# limits a preference, not the instruction set: without AVX-512, and on a GPU, nothing changes.
_changed = [_prefer("xla_cpu_prefer_vector_width", "512")]
# In jax 0.10 the CPU backend hands float32 convolutions to YNNPACK, which takes 1.7x as long as Eigen on AVX-512
# cores; 0.11 does not.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _changed.append(_prefer("xla_cpu_experimental_ynn_fusion_type", "-individual_convolution"))
if any(_changed) and _jax_in_use():
    warnings.warn(
        "jaxgen was imported after JAX had started, so the XLA flags that it sets for speed on CPUs have no effect; "
        "import jaxgen before the first use of JAX",
        stacklevel=2,
    )
