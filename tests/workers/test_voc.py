"""Pascal VOC's layout, sound and broken."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from workers.data import annotated as kinds
from workers.data import check_detection_data, open_detection_data, voc
from workers.data.image_files import NO_IMAGE, TORN
from workers.settings import VocData

GOOD = ("cell", 5, 5, 20, 25)
WriteVoc = Callable[..., Path]


def settings(root: Path, **changes: object) -> VocData:
    values = {"format": "voc", "root": str(root), "short_side": 60, "long_side": 100, "max_invalid_share": 1.0}
    return VocData.model_validate({**values, **changes})


def sound(write_voc: WriteVoc, **more: object) -> Path:
    write_voc("train", {"a": [GOOD], "b": [("dot", 1, 1, 40, 30), GOOD], **more})
    return write_voc("val", {"c": [GOOD]})


def found(root: Path, **changes: object) -> dict[str, int]:
    return {p.kind: p.count for p in check_detection_data(settings(root, **changes)).problems}


def test_flat_layout_is_read(write_voc: WriteVoc) -> None:
    data = open_detection_data(settings(sound(write_voc)))
    assert (len(data.train), len(data.val)) == (2, 1)
    assert data.class_names == ("cell", "dot")
    assert data.report.class_counts == (3, 1)
    assert data.report.problems == ()


def test_devkit_layout_joins_the_splits_of_several_years(write_voc: WriteVoc) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_voc("trainval", {f"{year}_1": [GOOD]}, folder=year)
    root = write_voc("test", {"t": [GOOD]}, folder="VOC2007")
    data = open_detection_data(settings(root, train=["VOC2007/trainval", "VOC2012/trainval"], val=["VOC2007/test"]))
    assert (len(data.train), len(data.val)) == (2, 1)


def test_boxes_count_pixels_from_one_and_include_both_ends(write_voc: WriteVoc) -> None:
    data = open_detection_data(settings(sound(write_voc), short_side=30))
    np.testing.assert_array_equal(data.train.target(1).boxes, [[0, 0, 40, 30], [4, 4, 20, 25]])


def test_images_and_boxes_are_resized_alike(write_voc: WriteVoc) -> None:
    data = open_detection_data(settings(sound(write_voc)))
    image, target = data.train.image(1), data.train.target(1)
    assert image.shape == (3, 60, 80) and image.dtype == np.uint8
    assert target.scale == (2.0, 2.0)
    np.testing.assert_array_equal(target.boxes[0], [0, 0, 80, 60])
    assert data.train.image(1) is image  # kept in memory


def test_the_long_side_limits_the_size(write_voc: WriteVoc) -> None:
    data = open_detection_data(settings(sound(write_voc), long_side=60, cache_bytes=0))
    assert data.train.image(0).shape == (3, 45, 60)
    assert data.train.image(0) is not data.train.image(0)


def test_difficult_objects_are_to_be_ignored(write_voc: WriteVoc) -> None:
    write_voc("train", {"a": [GOOD, ("dot", 2, 2, 9, 9)]}, difficult=["dot"])
    data = open_detection_data(settings(write_voc("val", {"c": [GOOD]})))
    assert data.train.target(0).ignore.tolist() == [False, True]


def test_listed_classes_keep_their_order_and_others_are_counted(write_voc: WriteVoc) -> None:
    data = open_detection_data(settings(sound(write_voc, e=[("tree", 1, 1, 9, 9)]), classes=["tree", "cell"]))
    assert data.class_names == ("tree", "cell")
    assert data.train.target(1).labels.tolist() == [2]
    assert [(p.kind, p.count) for p in data.report.problems] == [(kinds.UNKNOWN_CLASS, 1)]


def test_a_class_that_no_object_has_is_refused_with_the_nearest_names(write_voc: WriteVoc) -> None:
    root = sound(write_voc)
    with pytest.raises(ValueError, match=r"data\.classes: no object of .* is 'dott'; there are dot$"):
        check_detection_data(settings(root, classes=["cell", "dott"]))
    with pytest.raises(ValueError, match=r"is 'ghost'; there are cell, dot$"):
        check_detection_data(settings(root, classes=["cell", "ghost"]))


BROKEN = {
    kinds.NO_AREA: ("cell", 5, 5, 5, 25),
    kinds.OUTSIDE: ("cell", 5, 5, 43, 25),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_invalid_boxes_are_left_out_and_counted_or_refused(kind: str, write_voc: WriteVoc) -> None:
    root = sound(write_voc, bad=[BROKEN[kind], GOOD])
    report = check_detection_data(settings(root))
    (problem,) = report.problems
    assert (problem.kind, problem.count) == (kind, 1)
    assert "bad.xml cell (5, 5," in str(problem)
    assert report.class_counts == (4, 1)
    with pytest.raises(ValueError, match=rf"bad\.xml: {kind}: cell \(5, 5, .*data\.invalid_boxes to drop"):
        check_detection_data(settings(root, invalid_boxes="refuse"))


def test_boxes_one_pixel_over_the_border_are_cut(write_voc: WriteVoc) -> None:
    root = sound(write_voc, edge=[("cell", 0, 0, 41, 31)])
    data = open_detection_data(settings(root, short_side=30))
    assert data.report.problems == ()
    np.testing.assert_array_equal(data.train.target(2).boxes, [[0, 0, 40, 30]])


def test_images_without_a_box_are_left_out_and_counted(write_voc: WriteVoc) -> None:
    root = sound(write_voc, empty=[], hollow=[BROKEN[kinds.NO_AREA]])
    assert found(root) == {kinds.NO_BOX: 2, kinds.NO_AREA: 1}
    assert check_detection_data(settings(root)).num_train == 2


def test_images_with_ignored_boxes_alone_are_trained_on_only_if_asked(write_voc: WriteVoc) -> None:
    write_voc("train", {"a": [GOOD], "b": [("dot", 2, 2, 9, 9)]}, difficult=["dot"])
    root = write_voc("val", {"c": [GOOD]})
    assert found(root) == {kinds.NO_BOX: 1}
    assert len(open_detection_data(settings(root)).train) == 1
    assert len(open_detection_data(settings(root, empty_images="keep")).train) == 2
    with pytest.raises(ValueError, match=r"data\.train: train has no image with a box left \(.*listed"):
        check_detection_data(settings(root, classes=["dot"]))


def test_images_without_a_box_are_trained_on_if_asked_and_always_evaluated(write_voc: WriteVoc) -> None:
    root = sound(write_voc, empty=[])
    write_voc("val", {"c": [GOOD], "nothing": []})
    data = open_detection_data(settings(root, empty_images="keep"))
    assert (len(data.train), len(data.val), data.report.problems) == (3, 2, ())
    assert data.train.target(2).boxes.shape == (0, 4)
    assert len(open_detection_data(settings(root)).val) == 2


def test_images_listed_twice_and_cut_off_ones_are_counted(write_voc: WriteVoc) -> None:
    root = sound(write_voc, torn=[GOOD])
    torn = root / "JPEGImages/torn.jpg"
    torn.write_bytes(torn.read_bytes()[:-20])
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write("a\n")
    assert found(root) == {TORN: 1, kinds.TWICE: 1}
    assert found(root, train=["train", "val", "train"]) == {TORN: 1, kinds.TWICE: 5}


def test_missing_and_unreadable_files_are_counted_or_refused(write_voc: WriteVoc) -> None:
    root = sound(write_voc, no_image=[GOOD], no_xml=[GOOD], torn_xml=[GOOD], torn_image=[GOOD])
    (root / "JPEGImages/no_image.jpg").unlink()
    (root / "JPEGImages/torn_image.jpg").write_bytes(b"no image")
    (root / "Annotations/no_xml.xml").unlink()
    (root / "Annotations/torn_xml.xml").write_text("<annotation><object>")
    assert found(root) == {NO_IMAGE: 2, kinds.NO_ANNOTATION: 2}
    with pytest.raises(ValueError, match=r"no_image\.jpg: missing or unreadable image"):
        check_detection_data(settings(root, invalid_boxes="refuse"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<xmin>5</xmin>", "<xmin>five</xmin>", "xmin of cell is 'five', not a number"),
        ("<xmin>5</xmin>", "", "xmin of cell is None"),
        ("<xmin>5</xmin>", "<xmin>nan</xmin>", "not finite"),
        ("<name>cell</name>", "", "an object without a name"),
        ("<annotation>", '<?xml version="1.0" encoding="none"?><annotation>', "unknown encoding"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY e "e">]><annotation>', "Entit"),
    ],
)
def test_malformed_annotations_name_what_is_wrong(old: str, new: str, reason: str, write_voc: WriteVoc) -> None:
    root = sound(write_voc)
    path = root / "Annotations/a.xml"
    path.write_text(path.read_text().replace(old, new))
    assert found(root) == {kinds.NO_ANNOTATION: 1}
    with pytest.raises(ValueError, match=reason):
        check_detection_data(settings(root, invalid_boxes="refuse"))


def test_too_many_invalid_boxes_are_refused(write_voc: WriteVoc) -> None:
    root = sound(write_voc, bad=[GOOD, BROKEN[kinds.OUTSIDE]])
    with pytest.raises(ValueError, match=r"data\.max_invalid_share: 1 of 6 boxes are invalid, more than 0\.1"):
        check_detection_data(settings(root, max_invalid_share=0.1))
    assert check_detection_data(settings(root, max_invalid_share=0.2)).num_train == 3


def test_an_image_id_can_not_lead_out_of_the_folder(write_voc: WriteVoc) -> None:
    root = sound(write_voc)
    (root / "ImageSets/Main/train.txt").write_text("../../../etc/passwd\n")
    with pytest.raises(ValueError, match=r"data\.root: image id '\.\./\.\./\.\./etc/passwd' .* leads out of"):
        check_detection_data(settings(root))


def test_a_split_can_not_lead_out_of_the_folder(write_voc: WriteVoc) -> None:
    with pytest.raises(ValueError, match=r"data\.train: '\.\./x/train' leads out of"):
        check_detection_data(settings(sound(write_voc), train=["../x/train"]))


def test_missing_folders_and_lists_name_the_key(write_voc: WriteVoc, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.root: '/no/such' is no folder; it must hold JPEGImages"):
        check_detection_data(settings(Path("/no/such")))
    with pytest.raises(ValueError, match=r"^data\.val: split 'test' needs the file .*test\.txt"):
        check_detection_data(settings(sound(write_voc), val=["test"]))
    (tmp_path / "ImageSets/Main/none.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"^data\.val: none has no image with a box left \(the lists are empty\)"):
        check_detection_data(settings(tmp_path, val=["none"]))


def test_an_image_that_breaks_while_it_is_decoded_is_named(write_voc: WriteVoc) -> None:
    root = sound(write_voc)
    path = root / "JPEGImages/a.jpg"
    data = open_detection_data(settings(root))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.jpg: can't be read as an image"):
        data.train.image(0)


def test_an_image_too_large_to_decode_is_named(write_voc: WriteVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_detection_data(settings(sound(write_voc)))
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"a\.jpg: can't be read as an image \(Image size \(1200 pixels\) exceeds"):
        data.train.image(0)


def fail_on(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: type[OSError], ending: str) -> None:
    """Let a function fail as storage does, on paths that end so."""
    whole = getattr(owner, name)

    def failing(path: Path, *args: object, **kwargs: object) -> object:
        if str(path).endswith(ending):
            raise error(5, "Input/output error", str(path))
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


def test_storage_that_fails_is_no_fault_of_the_image(write_voc: WriteVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_detection_data(settings(sound(write_voc)))
    fail_on(monkeypatch, PillowImage, "open", OSError, "a.jpg")
    with pytest.raises(OSError, match="Input/output error"):
        data.train.image(0)


@pytest.mark.parametrize(
    ("owner", "name", "ending"),
    [(os, "open", "a.jpg"), (voc, "parse_xml", "a.xml"), (Path, "is_file", "train.txt")],
)
def test_what_can_not_be_reached_is_not_left_out_and_refused_by_the_check(
    owner: object, name: str, ending: str, write_voc: WriteVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sound(write_voc)
    fail_on(monkeypatch, owner, name, PermissionError, ending)
    with pytest.raises(PermissionError):
        open_detection_data(settings(root))
    with pytest.raises(ValueError, match=rf"^data: .*{ending} can't be read \(Input/output error\); correct its"):
        check_detection_data(settings(root))


def test_a_list_that_is_no_text_is_named(write_voc: WriteVoc) -> None:
    root = sound(write_voc)
    (root / "ImageSets/Main/train.txt").write_bytes(b"a\nb\xe9\n")
    with pytest.raises(ValueError, match=r"^data\.train: .*train\.txt is not UTF-8 text \(byte 3\); write one"):
        check_detection_data(settings(root))
