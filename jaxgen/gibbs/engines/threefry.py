"""Threefry-2x32, a counter-based random number generator (Salmon et al. 2011), written out so that XLA fuses it.

`jax.random` uses the same generator but lowers it on CPUs as a loop that cannot fuse with its consumer; here the rounds
are plain additions, rotations and exclusive ors over a counter, and no random number is ever stored.
"""

import numpy as np
from jaxtyping import Array, ArrayLike, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry2x32(
    key: tuple[UInt32[ArrayLike, "..."], UInt32[ArrayLike, "..."]],
    counter: tuple[UInt32[ArrayLike, "..."], UInt32[ArrayLike, "..."]],
    rounds: int = 20,
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Return two random words for a two-word key and a two-word counter; the arrays broadcast.

    rounds: 20 gives the very bits of jax.random's threefry2x32; 13 is the fewest that pass BigCrush (Salmon et al.,
    table 2), with no security margin.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for done in range(rounds):
        rotation = _ROTATIONS[done // 4 % 2][done % 4]
        x0 = x0 + x1
        x1 = ((x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))) ^ x0
        if done % 4 == 3:
            group = done // 4 + 1
            x0, x1 = x0 + schedule[group % 3], x1 + schedule[(group + 1) % 3] + np.uint32(group)
    return x0, x1
