"""jaxgen: energy-based, thermodynamic and diffusion models in pure JAX, with numbers that can be checked."""

import os

# XLA's CPU back-end emits 256-bit vectors unless told otherwise before JAX starts; the Gibbs engine gains about 1.4x
# from 512. The option limits a preference, not the instruction set: without AVX-512, and on a GPU, nothing changes.
if "xla_cpu_prefer_vector_width" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_cpu_prefer_vector_width=512").strip()
