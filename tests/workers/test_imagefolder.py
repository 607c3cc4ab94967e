"""Images to classify in folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.data import check_classification_data, open_classification_data
from workers.data.image_files import TORN
from workers.settings import ImageFolderData


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 1)):
        for label, name in enumerate(("apple", "pear")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                suffix = ("jpg", "png", "JPEG")[number]
                colour = (250 * label, 0, 0)
                Image.new("RGB", (40, 30), colour).save(tmp_path / split / name / f"{number}.{suffix}")
    (tmp_path / "train/pear/notes.txt").write_text("not an image")
    return tmp_path


def settings(root: Path, **changes: object) -> ImageFolderData:
    return ImageFolderData.model_validate({"format": "imagefolder", "root": str(root), "image_size": 28, **changes})


def test_classes_are_the_sorted_folders(root: Path) -> None:
    data = open_classification_data(settings(root))
    assert data.class_names == ("apple", "pear")
    assert [data.train.label(index) for index in range(len(data.train))] == [0, 0, 0, 1, 1, 1]
    assert data.report.class_counts == (4, 4)


def test_images_keep_a_margin_around_the_crop(root: Path) -> None:
    image = open_classification_data(settings(root)).train.image(5)
    assert image.shape == (3, 32, 32) and image.dtype == np.uint8
    assert image[0].min() > 200


def test_missing_folders_and_classes_name_the_key(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^reignition\.data\.root: '/no/such' is no folder"):
        check_classification_data(settings(Path("/no/such")))
    with pytest.raises(ValueError, match=r"^reignition\.data\.val: 'test' is no folder"):
        check_classification_data(settings(root, val="test"))
    (root / "val/plum").mkdir()
    with pytest.raises(ValueError, match=r"'plum', which is no class of the training split"):
        check_classification_data(settings(root))
    (root / "train/plum").mkdir()
    with pytest.raises(ValueError, match=r"train/plum has no image; put \.jpeg, \.jpg, \.png files there"):
        check_classification_data(settings(root))


def test_one_class_is_too_few(root: Path) -> None:
    with pytest.raises(ValueError, match="has 0 folders; each of 2 or more classes has one"):
        check_classification_data(settings(root, train="train/pear"))


def test_a_broken_image_is_named(root: Path) -> None:
    data = open_classification_data(settings(root))
    path = root / "train/apple/1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"apple/1\.png: can't be read as an image"):
        data.train.image(1)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        data.train.image(1)


def test_broken_images_are_left_out_and_counted_or_refused(root: Path) -> None:
    torn = root / "train/pear/1.png"
    torn.write_bytes(torn.read_bytes()[:60])
    data = open_classification_data(settings(root, max_invalid_share=0.2))
    assert [data.train.label(index) for index in range(len(data.train))] == [0, 0, 0, 1, 1]
    assert data.report.class_counts == (4, 3)
    assert [str(problem) for problem in data.report.problems] == [f"1 x {TORN}: pear/1.png"]
    with pytest.raises(
        ValueError, match=r"^reignition\.data\.max_invalid_share: 1 of 8 images are broken, more than 0\.05"
    ):
        check_classification_data(settings(root))
    assert len(open_classification_data(settings(root, check_images=False)).train) == 6


def test_a_split_of_broken_images_alone_is_refused(root: Path) -> None:
    for name in ("apple", "pear"):
        (root / "val" / name / "0.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"^reignition\.data\.val: no image is left \(2 x missing or unreadable image"):
        check_classification_data(settings(root, max_invalid_share=1))


def test_imagenets_folders_are_read_as_they_come_unpacked(tmp_path: Path) -> None:
    home = tmp_path / "ILSVRC/Data/CLS-LOC"
    for split in ("train", "val"):
        for name in ("n01440764", "n02105855"):
            (home / split / name).mkdir(parents=True)
            Image.new("CMYK", (40, 30)).save(home / split / name / f"{name}_1.JPEG", "JPEG")
            Image.new("RGB", (40, 30)).save(home / split / name / f"{name}_2.JPEG", "PNG")  # there is one such
    changes = {"train": "ILSVRC/Data/CLS-LOC/train", "val": "ILSVRC/Data/CLS-LOC/val"}
    data = open_classification_data(settings(tmp_path, **changes))
    assert data.class_names == ("n01440764", "n02105855") and len(data.val) == 4
    assert data.val.image(0).shape == data.val.image(1).shape == (3, 32, 32)
    for path in (home / "val").glob("*/*"):
        path.rename(home / "val" / path.name)
    for folder in ("n01440764", "n02105855"):
        (home / "val" / folder).rmdir()
    with pytest.raises(ValueError, match=r"CLS-LOC/val has 0 folders; .* side by side, as ImageNet's"):
        check_classification_data(settings(tmp_path, **changes))


def test_a_folder_that_can_not_be_read_is_refused_by_the_check(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", failing)
    with pytest.raises(PermissionError):
        open_classification_data(settings(root))
    with pytest.raises(ValueError, match=r"^reignition\.data: .*train can't be read \(Permission denied\)"):
        check_classification_data(settings(root))
