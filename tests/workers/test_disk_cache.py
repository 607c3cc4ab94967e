"""What is kept on disk is either the very image or made anew."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workers.data import disk_cache
from workers.data.disk_cache import DiskCache
from workers.data.interface import Image

SIZE = (4, 5)
IMAGE = np.arange(60, dtype=np.uint8).reshape(3, *SIZE)


class Reading:
    """One image of a cache, with a count of how often it was decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder / "cache", folder / "image.jpg"
        self.file.write_bytes(b"a picture")
        self.num_made = 0

    def make(self) -> Image:
        self.num_made += 1
        return IMAGE.copy()

    def read(self, *, manner: str = "bilinear") -> Image:
        return DiskCache(str(self.folder)).image(self.file, SIZE, self.make, manner=manner)

    def kept(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    return Reading(tmp_path)


def test_an_image_is_decoded_once_for_all_who_share_the_folder(reading: Reading) -> None:
    for _ in range(3):
        assert (reading.read() == IMAGE).all()
    assert reading.num_made == len(reading.kept()) == 1


def test_without_a_folder_nothing_is_kept(reading: Reading) -> None:
    for _ in range(2):
        assert (DiskCache(None).image(reading.file, SIZE, reading.make, manner="") == IMAGE).all()
    assert reading.num_made == 2


def test_what_the_pixels_depend_on_gives_another_file(reading: Reading) -> None:
    reading.read()
    reading.read(manner="nearest")
    os.utime(reading.file, ns=(0, 1))
    reading.read()
    reading.file.write_bytes(b"another picture")
    os.utime(reading.file, ns=(0, 1))
    reading.read()
    assert reading.num_made == len(reading.kept()) == 4


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
def test_a_torn_or_changed_file_is_made_anew_and_mended(reading: Reading, data: st.DataObject) -> None:
    reading.read()
    (kept,) = reading.kept()
    whole = kept.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "zeros", "changed", "longer"]))
    damaged = {
        "cut": whole[:place],
        "zeros": whole[:place] + bytes(len(whole) - place),
        "changed": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
        "longer": whole + b"x",
    }[kind]
    kept.write_bytes(damaged)
    assert (reading.read() == IMAGE).all()
    assert reading.kept() == [kept] and kept.read_bytes() == whole


def test_many_may_write_the_same_image_at_once(reading: Reading) -> None:
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: reading.read(), range(64)))
    assert all((image == IMAGE).all() for image in images)
    assert len(reading.kept()) == 1


@pytest.mark.parametrize("obstacle", ["full disk", "file in the way"])
def test_a_folder_that_takes_nothing_costs_one_note_and_no_image(
    reading: Reading, obstacle: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if obstacle == "full disk":
        monkeypatch.setattr(disk_cache, "RESERVE_BYTES", 2**62)
    else:
        reading.folder.write_text("no folder")
    cache = DiskCache(str(reading.folder))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (cache.image(reading.file, SIZE, reading.make, manner="") == IMAGE).all()
    assert reading.num_made == 3
    assert [str(reading.folder) in record.message for record in caplog.records] == [True]


def test_what_a_killed_process_left_unfinished_is_removed_but_not_what_is_being_written(reading: Reading) -> None:
    reading.read()
    old, new = (reading.folder / disk_cache.TEMPORARY / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    reading.read()
    assert new.exists() and not old.exists()


def test_a_file_that_cannot_be_reached_is_an_error_of_storage(reading: Reading) -> None:
    reading.read()
    reading.file.unlink()
    with pytest.raises(FileNotFoundError):
        reading.read()
