"""Which images a training takes at each step, and what is drawn for each of them.

Invariants:
- Order, flips and seeds depend only on the generator, the number of images, their groups and the settings; neither
  on the network, so children with one seed see the same pictures at the same steps, nor on ranks and loaders.
- In an epoch that is not cut short every image is taken once, but for those left over of the last batch; a batch of
  one image breaks batch normalisation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One image of a batch.

    Attributes:
        index: its number in the split.
        flip: whether to flip it from left to right.
        seed: of whatever else is drawn for it.
    """

    index: int
    flip: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The batches of one training.

    Attributes:
        num_images: in the split.
        batch_size: images of a step, over all ranks.
        flip: whether half of the images are flipped.
        epochs: how often the images are taken; None where `iterations` count.
        iterations: batches in all, which may end within an epoch; None where `epochs` count.
        groups: int64 [num_images]; only the last batches of an epoch hold images of several groups. None for one group.
    """

    num_images: int
    batch_size: int
    flip: bool
    epochs: int | None = None
    iterations: int | None = None
    groups: NDArray[np.int64] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.num_images // self.batch_size

    @property
    def num_steps(self) -> int:
        """Batches in all."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None
        return self.epochs * self.steps_per_epoch

    @property
    def num_epochs(self) -> int:
        """Epochs in all, of which the last one may be cut short."""
        return -(-self.num_steps // self.steps_per_epoch)

    def steps(
        self, draws: np.random.Generator, *, first: int = 0, order: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], list[Pick]]]:
        """The order of the images in each step's epoch, and the step's batch.

        Args:
            draws: stands, whenever a step has been given, where a training needs it to go on with the next one.
            first: the step to begin with, from 0.
            order: the one of that step's epoch, where the step is not an epoch's first.
        """
        for step in range(first, self.num_steps):
            number = step % self.steps_per_epoch
            if number == 0:
                order = self._order(draws)
            assert order is not None
            indices = order[number * self.batch_size : (number + 1) * self.batch_size].tolist()
            flips = (draws.random(self.batch_size) < (0.5 if self.flip else 0.0)).tolist()
            seeds = draws.integers(2**63, size=self.batch_size).tolist()
            yield (
                order,
                [
                    Pick(index=index, flip=flip, seed=seed)
                    for index, flip, seed in zip(indices, flips, seeds, strict=True)
                ],
            )

    def _order(self, draws: np.random.Generator) -> NDArray[np.int64]:
        order = draws.permutation(self.num_images)
        return order if self.groups is None else grouped(order, self.groups, self.batch_size)


def grouped(order: NDArray[np.int64], groups: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """The same images so that batches are of one group, as torchvision's references batch by aspect ratio.

    A batch comes where the last of its images came in `order`. What no group has a batch of is put together at the end,
    group by group, so that there are as many batches as before; torchvision takes images twice there.

    Args:
        order: int64 [N], each image once.
        groups: int64 [N], the group of each image by its number.
        batch_size: images of a batch.
    """
    found = groups[order]
    batches: list[tuple[int, NDArray[np.int64]]] = []
    rest: list[NDArray[np.int64]] = []
    for group in np.unique(found):
        places = np.flatnonzero(found == group)
        num_whole = len(places) // batch_size * batch_size
        batches += [
            (int(places[end - 1]), places[end - batch_size : end])
            for end in range(batch_size, num_whole + 1, batch_size)
        ]
        rest.append(places[num_whole:])
    batches.sort(key=lambda batch: batch[0])
    taken: NDArray[np.int64] = np.concatenate([*(places for _, places in batches), *rest])
    return order[taken]


def aspect_groups(sizes: Sequence[tuple[int, int]], num_groups: int) -> NDArray[np.int64]:
    """The group of each image by its width over its height.

    Two groups part at 1; more part at equal steps of the logarithm from 1/2 to 2, of which 1 is one, too, where their
    number is even (as torchvision's always is).

    Args:
        sizes: height and width of each image.
        num_groups: at least 2, and even.
    """
    edges = np.array([1.0]) if num_groups == 2 else 2 ** np.linspace(-1, 1, num_groups - 1)
    ratios = np.array([width / height for height, width in sizes])
    groups: NDArray[np.int64] = np.searchsorted(edges, ratios, side="right")
    return groups


def batches_by_size(
    size: Callable[[int], tuple[int, int]], indices: Iterable[int], batch_size: int, *, divisor: int
) -> list[list[int]]:
    """Each image once, in batches of images that are padded to the same multiples of a divisor.

    Args:
        size: height and width of an image, by its number.
        indices: the images' numbers; those of one batch keep their order.
        batch_size: the most images of a batch.
        divisor: what heights and widths are padded to multiples of.
    """

    def padded(index: int) -> tuple[int, int]:
        height, width = size(index)
        return -(-height // divisor), -(-width // divisor)

    alike = [list(group) for _, group in groupby(sorted(indices, key=padded), key=padded)]
    return [group[start : start + batch_size] for group in alike for start in range(0, len(group), batch_size)]
