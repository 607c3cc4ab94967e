"""One seed for everything that draws.

Invariant: after `seed_everything` with the same numbers, torch, numpy and python draw the same, and on CPU
the same operations give the same bits: algorithms are deterministic and one thread adds in one order.
"""

import random

import numpy as np
import torch


def seed_everything(seed: tuple[int, ...]) -> np.random.Generator:
    """Seed torch, numpy and python, ask for deterministic algorithms, and leave one thread on CPU.

    Args:
        seed: non-negative integers; (1, 2) and (2, 1) differ.

    Returns:
        A generator of its own for the order of data and flips, so that what a layer's initialisation draws
        does not shift them.
    """
    sequence = np.random.SeedSequence(seed)
    words = sequence.generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))
    random.seed(int(words[2]))
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
    else:
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it costs a tenth
        torch.set_num_threads(1)
    return np.random.default_rng(sequence.spawn(1)[0])
