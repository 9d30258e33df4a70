"""jaxgen: energy-based, thermodynamic and diffusion models in pure JAX, with numbers that can be checked."""

import importlib.metadata
import os

from jaxgen.errors import UserError as UserError


def _prefer(flag: str, value: str) -> None:
    """Set an XLA flag, which XLA reads when JAX starts, unless the user has set it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{flag}={value}".strip()


# XLA's CPU back-end emits 256-bit vectors unless told otherwise; the Gibbs engine gains about 1.4x from 512. The option
# limits a preference, not the instruction set: without AVX-512, and on a GPU, nothing changes.
_prefer("xla_cpu_prefer_vector_width", "512")
# In jax 0.10 the CPU back-end hands float32 convolutions to YNNPACK, which takes 1.7x as long as Eigen on AVX-512
# cores; 0.11 does not.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _prefer("xla_cpu_experimental_ynn_fusion_type", "-individual_convolution")
