"""What is wrong with images' files, told without decoding them."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from workers.data import image_files
from workers.data.image_files import CHUNK, NO_IMAGE, TORN, Listings, inspect

PIXELS = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


def encoded(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIXELS.save(file, format, **options)
    return file.getvalue()


def with_text(length: int) -> PngInfo:
    found = PngInfo()
    found.add_text("comment", "x" * length)
    return found


SOUND = {
    "JPEG": encoded("JPEG"),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "JPEG with a long profile": encoded("JPEG", icc_profile=bytes(150_000)),
    "JPEG with a comment": encoded("JPEG", comment=b"\xff\xd9" * 3000),
    "PNG": encoded("PNG"),
    "PNG with a long text": encoded("PNG", pnginfo=with_text(10_000)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_images_size_is_found_without_a_decoder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(SOUND[kind])
    monkeypatch.setattr(image_files, "opened", None)
    sizes, broken = inspect([str(tmp_path / "a.jpg")])
    assert (sizes.tolist(), broken) == ([[40, 30]], [])


@pytest.mark.parametrize("kind", SOUND)
def test_an_image_that_is_cut_off_anywhere_is_found(kind: str, tmp_path: Path) -> None:
    data = SOUND[kind]
    end = len(data) - (2 if "JPEG" in kind else 24)  # checksums and the last chunk are not missed
    lengths = sorted({0, 1, 2, 100, *range(200, end, len(data) // 20), end - 1})
    for length in lengths:
        (tmp_path / f"{length}.jpg").write_bytes(data[:length])
    sizes, broken = inspect([str(tmp_path / f"{length}.jpg") for length in lengths])
    assert [one.row for one in broken] == list(range(len(lengths)))
    assert not sizes.any()
    assert {one.kind for one in broken} == {NO_IMAGE, TORN}


def test_a_file_that_was_filled_up_with_zeros_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(SOUND["JPEG"][:1000] + bytes(5000))
    assert [one.kind for one in inspect([str(path)])[1]] == [TORN]


def test_what_a_camera_writes_behind_the_end_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(SOUND["JPEG"] + b"a trailer" * 100)
    sizes, broken = inspect([str(path)])
    assert (sizes.tolist(), broken) == ([[40, 30]], [])


def test_what_is_no_file_is_no_image_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("link.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    names = ["pipe", "folder", "link", "text", "gone", "gone/gone", "x" * 300]
    _, broken = inspect([str(tmp_path / f"{name}.jpg") for name in names])
    assert [(one.row, one.kind) for one in broken] == [(row, NO_IMAGE) for row in range(len(names))]
    assert "it does not exist" in broken[4].reason and "it is no file" in broken[0].reason


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(SOUND["JPEG"])
    paths = [str(tmp_path / "a.jpg")] * (2 * CHUNK + 5)
    for row in (3, CHUNK + 1, 2 * CHUNK + 2):
        paths[row] = str(tmp_path / "gone.jpg")
    sizes, broken = inspect(paths)
    assert [one.row for one in broken] == [3, CHUNK + 1, 2 * CHUNK + 2]
    assert np.flatnonzero(sizes[:, 0] == 0).tolist() == [3, CHUNK + 1, 2 * CHUNK + 2]


def test_storage_that_fails_is_no_fault_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(file: int, length: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    (tmp_path / "a.jpg").write_bytes(SOUND["JPEG"])
    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(OSError, match=r"Input/output error: '.*a\.jpg'"):
        inspect([str(tmp_path / "a.jpg")])


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").touch()
    listings = Listings()
    assert listings.has(f"{tmp_path}/in/a.jpg") and not listings.has(f"{tmp_path}/in/b.jpg")
    shutil.rmtree(tmp_path / "in")
    assert listings.has(f"{tmp_path}/in/a.jpg")
    assert not listings.has(f"{tmp_path}/none/a.jpg") and not listings.has(f"{tmp_path}/in/a.jpg/b.jpg")
