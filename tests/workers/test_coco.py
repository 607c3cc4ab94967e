"""COCO's layout, sound and broken, and the real thing where it is there."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from tests.fuzz.answers import FEW
from tests.small_data import NEEDS_REAL, REAL, coco_annotation, write_coco, write_image, write_json
from workers.data import annotated as kinds
from workers.data import check_detection_data, open_detection_data
from workers.data.coco import ROW
from workers.data.image_files import NO_IMAGE, TORN
from workers.data.interface import DetectionData, Target
from workers.settings import CocoData

CAT, DOG, TREE = ("cat", (4, 4, 20, 25)), ("dog", (0, 0, 40, 30)), ("tree", (10, 10, 30, 20))


def settings(root: Path, **changes: object) -> CocoData:
    values = {"format": "coco", "root": str(root), "short_side": 60, "long_side": 100, "max_invalid_share": 1.0}
    return CocoData.model_validate({**values, "train": ["train"], "val": ["val"], **changes})


def opened(root: Path, **changes: object) -> DetectionData:
    return open_detection_data(settings(root, **changes))


def found(root: Path, **changes: object) -> dict[str, int]:
    return {p.kind: p.count for p in check_detection_data(settings(root, **changes)).problems}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path, "train", {"a.jpg": [CAT, TREE], "b.jpg": [DOG], "none.jpg": []})
    write_coco(tmp_path, "val", {"c.jpg": [CAT, DOG], "empty.jpg": []})
    return tmp_path


def change(root: Path, split: str = "train", **changes: Any) -> dict[str, Any]:
    """Replace keys of a split's annotation file."""
    path = root / "annotations" / f"instances_{split}.json"
    document: dict[str, Any] = json.loads(path.read_text()) | changes
    write_json(path, {key: value for key, value in document.items() if value is not None})
    return document


def add(root: Path, *annotations: dict[str, Any]) -> None:
    """Add annotations to the training split."""
    change(root, annotations=[*change(root)["annotations"], *annotations])


def test_boxes_categories_and_numbers_are_read(root: Path) -> None:
    data = opened(root, classes=None)
    assert data.class_names == ("cat", "dog", "tree") and data.class_ids == (3, 17, 90)
    assert (data.report.num_train, data.report.num_val, data.report.class_counts) == (2, 2, (2, 2, 1))
    target = data.train.target(0)
    np.testing.assert_array_equal(target.boxes, [[8, 8, 40, 50], [20, 20, 60, 40]])
    assert target.labels.tolist() == [1, 3] and target.area is not None and target.crowd is not None
    np.testing.assert_array_equal(target.area, [16 * 21 / 2, 100])
    assert data.train.image(1).shape == (3, 60, 80) and data.train.size(1) == (60, 80)
    assert [data.val.stored_id(index) for index in range(2)] == [7, 107]  # type: ignore[attr-defined]


def test_images_without_annotations_are_trained_on_if_asked_and_always_evaluated(root: Path) -> None:
    assert found(root) == {kinds.NO_BOX: 1}
    data = opened(root, empty_images="keep")
    assert (len(data.train), len(data.val), data.report.problems) == (3, 2, ())
    assert data.train.target(2).boxes.shape == (0, 4)


def test_crowds_and_ignored_objects_are_marked(root: Path) -> None:
    add(
        root,
        coco_annotation(1, 107, "cat", (1, 1, 9, 9), iscrowd=1),
        coco_annotation(2, 107, "tree", (1, 1, 9, 9), ignore=1),
    )
    target = opened(root).train.target(1)
    assert target.crowd is not None
    assert (target.crowd.tolist(), target.ignore.tolist()) == ([False, True, False], [False, True, True])


def test_an_area_that_is_not_said_is_the_boxs(root: Path) -> None:
    add(root, *(coco_annotation(number, 107, "cat", (1, 1, 9, 9), area=area) for number, area in ((1, None), (2, -1))))
    assert opened(root).train.target(1).area.tolist() == [600, 64, 64]  # type: ignore[union-attr]


def test_annotations_in_any_order_find_their_images(root: Path) -> None:
    change(root, annotations=change(root)["annotations"][::-1])
    assert opened(root).train.target(0).labels.tolist() == [3, 1]


def test_listed_classes_keep_their_order_and_others_are_counted(root: Path) -> None:
    data = opened(root, classes=["tree", "cat"], invalid_boxes="refuse")
    assert data.class_ids == (90, 3) and data.train.target(0).labels.tolist() == [2, 1]
    assert {p.kind: p.count for p in data.report.problems} == {kinds.UNKNOWN_CLASS: 2, kinds.NO_BOX: 2}
    assert len(data.val) == 2
    with pytest.raises(ValueError, match=r"^data\.classes: 'cow' is no category of .*train\.json, which has cat, dog"):
        opened(root, classes=["cow"])


def test_categories_of_another_file_are_told_by_name(root: Path) -> None:
    categories = [{"id": 1, "name": "tree"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}]
    document = change(root, "val", categories=categories)
    change(root, "val", annotations=[one | {"category_id": 3 - i} for i, one in enumerate(document["annotations"])])
    data = opened(root)
    assert data.val.target(0).labels.tolist() == [2]
    assert str(data.report.problems[0]).startswith(f"1 x {kinds.UNKNOWN_CLASS}: instances_val.json annotation 1000 of")


def test_several_splits_are_joined_though_their_numbers_are_the_same(root: Path) -> None:
    data = opened(root, train=["train", "val"], masks=True, empty_images="keep")
    assert len(data.train) == 5
    assert data.train.target(3).labels.tolist() == [1, 2]
    masks = data.train.target(3).masks
    assert masks is not None and [int(run_lengths.area(mask)) for mask in masks] == [336, 1200]


BROKEN: dict[str, dict[str, Any]] = {
    kinds.NO_AREA: {"bbox": [4, 4, 0, 9]},
    kinds.OUTSIDE: {"bbox": [30, 4, 12, 9]},
    kinds.UNKNOWN_CATEGORY: {"category_id": 4},
    kinds.STRAY: {"image_id": 8},
}
MALFORMED: list[dict[str, Any]] = [
    {"bbox": [4, 4, float("nan"), 9]},
    {"bbox": [4, 4, float("inf"), 9]},
    {"bbox": [4, 4, 10**400, 9]},
    {"bbox": [4, 4, "7", 9]},
    {"bbox": [4, 4, 7]},
    {"bbox": []},
    {"bbox": None},
    {"bbox": {"x": 1}},
]


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_boxes_are_left_out_and_counted_or_refused(kind: str, root: Path) -> None:
    add(root, coco_annotation(5, 107, "cat", (1, 1, 9, 9)) | BROKEN[kind])
    assert found(root) == {kind: 1, kinds.NO_BOX: 1}
    assert opened(root).train.target(1).labels.tolist() == [2]
    with pytest.raises(ValueError, match=rf"train\.json: {kind}: annotation 5 of image .*data\.invalid_boxes to drop"):
        opened(root, invalid_boxes="refuse")
    with pytest.raises(ValueError, match=r"max_invalid_share: 1 of 6 boxes are invalid, more than 0\.1 of them"):
        opened(root, max_invalid_share=0.1)


def test_malformed_annotations_are_counted(root: Path) -> None:
    add(root, *(coco_annotation(5, 107, "cat", (1, 1, 9, 9)) | change for change in MALFORMED))
    assert found(root) == {kinds.MALFORMED: len(MALFORMED), kinds.NO_BOX: 1}
    add(root, "no mapping", {"image_id": 107}, {"image_id": "x"})  # type: ignore[arg-type]
    counts = found(root)
    assert sum(counts[kind] for kind in counts if kind in kinds.BOX_KINDS) == len(MALFORMED) + 3


numbers = st.floats() | st.integers() | st.sampled_from([-1, 0, 1e-9, 0.1, 29.9, 30, 39.99, 40, 41, 1e308])


@FEW
@given(boxes=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5))
def test_any_coordinates_are_a_box_in_the_image_or_counted(
    boxes: list[list[float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "any_coordinates"
    if not root.is_dir():
        write_coco(root, "train", {"a.jpg": [CAT]})
        write_coco(root, "val", {"a.jpg": [CAT]})
    written = [coco_annotation(0, 7, *CAT), *(coco_annotation(1, 7, *CAT, bbox=box) for box in boxes)]
    change(root, annotations=written)
    data = opened(root, short_side=16, long_side=16)
    left = data.train.target(0).boxes
    assert len(left) + sum(problem.count for problem in data.report.problems) == len(written)
    assert np.isfinite(left).all() and (left >= 0).all() and (left[:, 2:] > left[:, :2]).all()
    assert (left[:, 2:] <= data.train.size(0)[::-1]).all()


def test_boxes_a_pixel_over_the_border_are_cut(root: Path) -> None:
    add(root, coco_annotation(5, 107, "cat", (-0.5, 3, 40.9, 31)))
    np.testing.assert_array_equal(opened(root).train.target(1).boxes[1], [0, 6, 80, 60])


def test_images_that_are_missing_broken_doubled_or_of_another_size_are_counted(root: Path) -> None:
    document = change(root)
    more = [
        {"id": 1, "file_name": "gone.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "torn.jpg", "width": 40, "height": 30},
        {"id": 3, "file_name": "wide.jpg", "width": 41, "height": 30},
        {"id": 4, "file_name": "text.jpg", "width": 40, "height": 30},
        {"id": 7, "file_name": "wide.jpg", "width": 40, "height": 30},
        {"id": 5, "file_name": "a.jpg", "width": 40, "height": 30},
    ]
    boxes = [coco_annotation(number, number, "cat", (1, 1, 9, 9)) for number in range(1, 6)]
    change(root, images=document["images"] + more, annotations=document["annotations"] + boxes)
    for name in ("torn", "wide"):
        write_image(root / "train" / f"{name}.jpg")
    (root / "train/text.jpg").write_text("no image")
    torn = root / "train/torn.jpg"
    torn.write_bytes(torn.read_bytes()[:-200])
    assert found(root, empty_images="keep") == {
        NO_IMAGE: 2,
        TORN: 1,
        kinds.WRONG_SIZE: 1,
        kinds.TWICE: 2,
    }
    with pytest.raises(ValueError, match=r"max_invalid_share: 6 of 11 images are invalid, more than 0\.5 of them"):
        opened(root, max_invalid_share=0.5)
    unchecked = found(root, empty_images="keep", check_images=False)
    assert unchecked == {NO_IMAGE: 1, kinds.TWICE: 2}


def test_an_image_of_another_size_than_at_the_start_is_named(root: Path) -> None:
    data = opened(root, check_images=False)
    write_image(root / "train/a.jpg", (41, 30))
    with pytest.raises(ValueError, match=r"a\.jpg: can't be read as an image \(it has 41 x 30 pixels, not 40 x 30"):
        data.train.image(0)


def test_an_image_that_was_kept_for_another_size_than_is_said_is_named(root: Path, tmp_path: Path) -> None:
    kept = {"check_images": False, "cache_dir": str(tmp_path / "cache")}
    opened(root, **kept).train.image(0)
    change(root, images=[{**one, "width": 80, "height": 60} for one in change(root)["images"]])
    with pytest.raises(ValueError, match="it has 40 x 30 pixels, not 80 x 60"):
        opened(root, **kept).train.image(0)


def test_sizes_that_are_not_said_are_taken_from_the_files(root: Path) -> None:
    change(root, images=[{"id": one["id"], "file_name": one["file_name"]} for one in change(root)["images"]])
    assert opened(root, check_images=False).train.size(0) == (60, 80)


def test_test_images_without_annotations_are_refused(root: Path) -> None:
    for nothing in (None, []):
        change(root, annotations=nothing)
        with pytest.raises(ValueError, match=r"^data\.train: .*train\.json has no annotations, as those of test"):
            opened(root)


def test_a_file_that_is_something_else_is_refused_in_one_line(root: Path) -> None:
    path = root / "annotations/instances_train.json"
    whole = path.read_text()
    for text, reason in (
        (whole[:-5], r"train\.json: is no JSON \("),
        (whole + "x", r"train\.json: is no JSON \(Extra data"),
        ("[1, 2]", r"train\.json: is no JSON \(Expecting an object"),
        (whole.replace('"file_name"', '"name"'), r"train\.json: an image is .*; it needs a whole number as id and"),
        (whole.replace('"categories"', '"other"'), r"train\.json: categories are None, not a list"),
        (
            whole.replace('"id": 17', '"id": 3'),
            r"train\.json: categories can't be used: 'dog' or its id 3 is there twice",
        ),
        (
            whole.replace('"name": "dog"', '"name": "a\\nb"'),
            r"categories can't be used: 'a\\nb' is no name of a class",
        ),
        (whole.replace('"a.jpg"', '"../../a.jpg"'), r"^data\.root: image '\.\./\.\./a\.jpg' of .* leads out of"),
        (whole.replace('"file_name": "a.jpg"', '"file_name": ' + "[" * 10**5), r"nested too deeply"),
        (whole.replace('"image_id": 7', '"image_id": ' + "9" * 5000), r"train\.json: is no JSON \(Exceeds the limit"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=reason) as refused:
            opened(root)
        assert "\n" not in str(refused.value)


def test_missing_files_and_folders_name_the_key(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.root: '/no/such' is no folder; it must hold annotations/instances_"):
        opened(Path("/no/such"))
    with pytest.raises(
        ValueError, match=r"^data\.val: split 'test' needs the file .*instances_test\.json; .* \(see data"
    ):
        opened(root, val=["test"])
    with pytest.raises(ValueError, match=r"^data\.train: 'annotations/instances_\.\./\.\./x\.json' leads out of"):
        opened(root, train=["../../x"])


def test_other_places_of_files_can_be_said(root: Path) -> None:
    for split in ("train", "val"):
        (root / "annotations" / f"instances_{split}.json").rename(root / split / "_annotations.coco.json")
    assert opened(root, annotations="{split}/_annotations.coco.json").report.num_train == 2


def square(*runs: int) -> dict[str, Any]:
    return {"size": [30, 40], "counts": list(runs)}


def test_masks_come_from_polygons_and_runs(root: Path) -> None:
    grid = np.zeros((30, 40), dtype=np.uint8)
    grid[5:12, 3:9] = 1
    letters = run_lengths.encode(np.asfortranarray(grid))["counts"].decode()
    polygons = [[3, 5, 9, 5, 9, 12, 3, 12], [20, 20, 24, 20, 24, 1e6, 20, 1e6]]
    outlines = [polygons, square(95, 7, 1098), {"size": [30, 40], "counts": letters}]
    add(root, *(coco_annotation(i, 107, "cat", (3, 5, 9, 12), segmentation=one) for i, one in enumerate(outlines)))
    masks = opened(root, masks=True).train.target(1).masks
    assert masks is not None and [mask["size"] for mask in masks] == [[30, 40]] * 4
    assert [int(run_lengths.area(mask)) for mask in masks] == [1200, 6 * 7 + 4 * 10, 7, 6 * 7]
    np.testing.assert_array_equal(run_lengths.decode(masks[3]), grid)
    assert opened(root).train.target(1).masks is None


# pycocotools rounds 5 x + 0.5: 2.5 x 0.7 and the like fall to the other side in single precision.
SLANTED = [[30.37, 3.1, 38.9, 20.13, 41.5, 33.2, 20.7, 29.9, -3.3, 12.3], [1.1, 1.3, 9.9, 2.7, 7.7, 11.9]]


def test_masks_are_those_of_pycocotools_to_the_last_pixel(root: Path) -> None:
    draws = np.random.default_rng(0)
    corners = np.round(draws.uniform(0, 30, (200, 5, 2)), 1)
    outlines = [SLANTED, *([polygon.ravel().tolist()] for polygon in corners)]
    add(root, *(coco_annotation(i, 107, "cat", (3, 5, 9, 12), segmentation=one) for i, one in enumerate(outlines)))
    target = opened(root, masks=True).train.target(1)
    assert_official(target, official_of(root / "annotations" / "instances_train.json"), 107)


def official_of(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def assert_official(target: Target, official: COCO, image_id: int) -> None:
    annotations = official.imgToAnns[image_id]
    assert target.masks is not None and len(target.masks) == len(annotations)
    for mask, annotation in zip(target.masks, annotations, strict=True):
        np.testing.assert_array_equal(run_lengths.decode(mask), official.annToMask(annotation))


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        "polygon",
        square(1199),
        square(-1, 1201),
        {"size": [40, 30], "counts": [1200]},
        {"size": [30, 40], "counts": "\x00"},
        {"size": [30, 40], "counts": "ooooooooooooo"},
        {"size": [30, 40], "counts": "0" * 5},
        {"size": [30], "counts": [1]},
        {"counts": [1]},
    ],
)
def test_unsound_segmentations_are_counted_where_masks_are_wanted(segmentation: object, root: Path) -> None:
    add(root, coco_annotation(5, 107, "cat", (1, 1, 9, 9), segmentation=segmentation))
    assert found(root, masks=True, empty_images="keep") == {kinds.NO_OUTLINE: 1}
    assert found(root, empty_images="keep") == {}


def test_an_annotation_is_a_row_of_an_array() -> None:
    assert ROW.itemsize == 66


@pytest.mark.skipif(not REAL.is_dir(), reason=NEEDS_REAL)
def test_real_images_of_coco_are_read_whole() -> None:
    data = open_detection_data(CocoData(format="coco", root=str(REAL / "coco_cc"), masks=True, short_side=100))
    assert (len(data.train), len(data.val)) == (59, 66)
    assert len(data.class_names) == 80 and data.class_ids[-1] == 90
    assert sum(data.report.class_counts) == 583 + 560 and data.report.problems == ()
    targets = [data.val.target(index) for index in range(66)]
    assert sum(int(target.crowd.sum()) for target in targets if target.crowd is not None) == 8
    assert sorted(data.val.stored_id(i) for i, target in enumerate(targets) if not len(target.boxes)) == [58636, 226111]  # type: ignore[attr-defined]
    for part in ("train", "val"):
        split = getattr(data, part)
        official = official_of(REAL / "coco_cc" / "annotations" / f"instances_{part}2017.json")
        for index in range(len(split)):
            assert_official(split.target(index), official, split.stored_id(index))
    for target in targets:
        assert target.masks is not None and target.area is not None and target.crowd is not None
        for mask, area, crowd in zip(target.masks, target.area, target.crowd, strict=True):
            assert crowd or abs(int(run_lengths.area(mask)) - area) <= 0.1 * area + 30
