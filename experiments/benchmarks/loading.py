"""Images per second into a training beside a plain `DataLoader`: ``python -m experiments.benchmarks loading``.

Both read the same JPEG files with as many workers, resize them alike by Pillow, and give batches of float32 images in
[0, 1], as torchvision's detectors take them; the plain one as torchvision's documentation has it (``Image.open``,
``resize``, ``to_tensor``), workers kept alive. They take turns in one run, and a ratio is of two passes that followed
one another; absolute numbers are of this machine at this moment. Asked for: at least 1.0 without a cache, 3.0 with one.

Invariant: both sides give the same pixels, which is checked before anything is timed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import resize, to_tensor

from experiments.benchmarks.turns import Finding, by_turns, ratios, spread
from orchestrator.errors import UserError
from workers.batches import Pick
from workers.data.annotated import Annotated, ImageSet
from workers.data.interface import Room
from workers.data.loading import Loaders
from workers.examples import batch_of, example_of
from workers.settings import AnnotatedData

SUFFIXES = {".jpg", ".jpeg"}
BATCH_SIZE = 8
MAX_IMAGES = 256
NUM_GENERATED, WIDTH, HEIGHT = 96, 640, 480
REPEATS = 7
CPU = torch.device("cpu")

Pass = Callable[[], Iterator[list[Tensor]]]


class PlainImages(Dataset[Tensor]):
    """Files as torchvision's documentation reads them."""

    def __init__(self, paths: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
        """Resize each to its height and width."""
        self._paths, self._sizes = paths, sizes

    def __len__(self) -> int:
        """Number of images."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        """Float32 [3, height, width] in [0, 1]."""
        with PillowImage.open(self._paths[index]) as stored:
            resized = resize(stored.convert("RGB"), list(self._sizes[index]))
        tensor: Tensor = to_tensor(resized)
        return tensor


def bench_loading(loaders: int, data: Path | None = None) -> list[Finding]:
    """The median of the ratios and their spread, with images per second.

    Args:
        loaders: threads of ours, processes of the plain one.
        data: a folder with JPEG files at any depth; None makes some.

    Raises:
        UserError: if there are no JPEG files.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths = generated(Path(scratch)) if data is None else found_in(data)
        plain_images = image_set(paths, cache_bytes=0, cache_dir=None)
        sizes = [plain_images.size(index) for index in range(len(paths))]
        plain = DataLoader(
            PlainImages(paths, sizes),
            batch_size=BATCH_SIZE,
            num_workers=loaders,
            collate_fn=list,
            persistent_workers=True,
        )
        expected = [image for batch in plain for image in batch]  # its processes start before ours is made
        ours = Loaders(loaders)
        kinds: dict[str, Pass] = {"plain": lambda: iter(plain)}
        for kind, cache_bytes, cache_dir in (
            ("no cache", 0, None),
            ("cache on disk", 0, str(Path(scratch) / "cache")),
            ("cache in memory", 2**40, None),
        ):
            kinds[kind] = passes(image_set(paths, cache_bytes=cache_bytes, cache_dir=cache_dir), ours)
            given = [image for batch in kinds[kind]() for image in batch]  # which fills the cache
            assert len(given) == len(expected) and all(map(torch.equal, given, expected)), f"{kind}: other pixels"
        del expected, given
        measures = {kind: partial(images_per_second, make) for kind, make in kinds.items()}
        speeds = by_turns(measures, REPEATS, warm_up=0)
        ours.close()
    return [
        Finding(
            f"images/s, {kind} / plain DataLoader, {loaders} workers",
            _ratio(speeds[kind], speeds["plain"]),
            f"at least {asked}",
        )
        for kind, asked in (("no cache", "1.0"), ("cache on disk", "3.0"), ("cache in memory", "3.0"))
    ]


def image_set(paths: Sequence[Path], *, cache_bytes: int, cache_dir: str | None) -> ImageSet:
    """Files as a detector's data set reads them, without a box."""
    sizes = []
    for path in paths:
        with PillowImage.open(path) as stored:
            sizes.append(stored.size)
    found = Annotated(
        paths=[str(path) for path in paths],
        sizes=np.array(sizes, dtype=np.int64),
        ids=np.full(len(paths), -1, dtype=np.int64),
        owners=np.empty(0, dtype=np.int64),
        boxes=np.empty((0, 4)),
        labels=np.empty(0, dtype=np.int64),
        ignore=np.empty(0, dtype=np.bool_),
        crowd=np.empty(0, dtype=np.bool_),
        rows=np.empty(0, dtype=np.int64),
    )
    settings = AnnotatedData(root=".", cache_bytes=cache_bytes, cache_dir=cache_dir)
    return ImageSet(found, settings, Room(limit_bytes=cache_bytes))


def passes(images: ImageSet, loaders: Loaders) -> Pass:
    """Passes over a data set as a training makes them."""

    def make() -> Iterator[list[Tensor]]:
        picks = (Pick(index=index) for index in range(len(images)))
        examples = loaders.map(
            lambda pick: example_of(images, pick, CPU, scales=None, masks=False), picks, batch_size=BATCH_SIZE
        )
        batch = []
        for example in examples:
            batch.append(example)
            if len(batch) == BATCH_SIZE:
                yield batch_of(batch, CPU)[0]
                batch = []
        if batch:
            yield batch_of(batch, CPU)[0]

    return make


def images_per_second(make: Pass) -> float:
    """Of one pass."""
    begun = time.perf_counter()
    num_images = sum(len(batch) for batch in make())
    return num_images / (time.perf_counter() - begun)


def generated(folder: Path) -> list[Path]:
    """JPEG files of a photograph's size and with as much detail: soft colours under grain, some 120 kB each."""
    draws = np.random.default_rng(0)
    paths = []
    for number in range(NUM_GENERATED):
        soft = PillowImage.fromarray(draws.integers(256, size=(HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8))
        smooth = np.asarray(soft.resize((WIDTH, HEIGHT), PillowImage.Resampling.BICUBIC))
        pixels = smooth + draws.normal(scale=6, size=smooth.shape)
        paths.append(folder / f"{number:03d}.jpg")
        PillowImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def found_in(root: Path) -> list[Path]:
    """The first JPEG files of a folder, by name."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"--data: {root} has no {' or '.join(sorted(SUFFIXES))} file; name a folder with some")
    return paths[:MAX_IMAGES]


def _ratio(ours: Sequence[float], plain: Sequence[float]) -> str:
    return f"{spread(ratios(ours, plain))}; {statistics.median(ours):.0f} / {statistics.median(plain):.0f}"
