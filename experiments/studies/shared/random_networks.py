"""Networks at random, of the size of another: what a search has to beat (SP-NAS, section 4.2, Table 9).

Invariant: they have the blocks, the stages and the doublings of the network that they are drawn for; every such
encoding is as likely as any other.
"""

from dataclasses import replace

import numpy as np

from models.architecture import Architecture


def random_networks(like: Architecture, count: int, seed: int) -> list[Architecture]:
    """Different encodings at random, none of them `like` itself.

    Args:
        like: whose numbers of blocks, stages and doublings they have.
        count: how many; there are fewer if the space has no more.
        seed: what they are drawn from.
    """
    rng = np.random.default_rng(seed)
    blocks = "".join(like.stages)
    found: dict[str, Architecture] = {}
    for _ in range(100 * count):
        order = rng.permutation(list(blocks))
        cuts = [0, *sorted(rng.choice(np.arange(1, len(blocks)), like.num_stages - 1, replace=False)), len(blocks)]
        stages = tuple("".join(order[first:last]) for first, last in zip(cuts, cuts[1:], strict=False))
        drawn = Architecture(like.block, stages)
        if drawn != replace(like, subnets=()):
            found.setdefault(str(drawn), drawn)
        if len(found) == count:
            break
    return list(found.values())
