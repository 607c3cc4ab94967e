"""BDD100K's labels of every release, sound and broken, and the real files where they are there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small_data import NEEDS_REAL, REAL, bdd_label, write_bdd, write_image, write_json
from workers.data import annotated as kinds
from workers.data import open_detection_data
from workers.data.bdd_frames import BddFrame, boxes_of, read_frames
from workers.data.image_files import NO_IMAGE
from workers.data.interface import DetectionData
from workers.settings import BddData

CAR = bdd_label("car", (4, 4, 20, 25), occluded=True)
LIGHT = bdd_label("traffic light", (0, 0, 64, 36))


def opened(root: Path, **changes: object) -> DetectionData:
    values = {"format": "bdd", "root": str(root), "short_side": 72, "long_side": 128, "max_invalid_share": 1.0}
    return open_detection_data(BddData.model_validate({**values, **changes}))


def found(root: Path, **changes: object) -> dict[str, int]:
    return {p.kind: p.count for p in opened(root, **changes).report.problems}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bdd(tmp_path, "train", {"a.jpg": [CAR, LIGHT], "b.jpg": [CAR], "null.jpg": None, "none.jpg": []})
    write_bdd(tmp_path, "val", {"c.jpg": [CAR], "null.jpg": None})
    return tmp_path


def label(root: Path, *labels: object) -> None:
    """Replace the labels of one training image."""
    frames = [{"name": "a.jpg", "labels": [CAR, LIGHT]}, {"name": "b.jpg", "labels": labels}]
    write_json(root / "labels/det_20/det_train.json", frames)


def test_boxes_include_their_last_pixels_and_images_without_labels_are_evaluated(root: Path) -> None:
    data = opened(root)
    assert data.class_names[2] == "car" and len(data.class_names) == 10
    assert (len(data.train), len(data.val)) == (2, 2)
    target = data.train.target(0)
    np.testing.assert_array_equal(target.boxes, [[8, 8, 40, 50], [0, 0, 128, 72]])
    assert target.labels.tolist() == [3, 9]
    assert {p.kind: p.count for p in data.report.problems} == {kinds.NO_BOX: 2}
    assert len(opened(root, empty_images="keep").train) == 4


def test_old_names_crowds_and_ignored_categories_are_the_official_ones(root: Path) -> None:
    names = ["bike", "motor", "person", "van", "caravan", "other person", "other vehicle", "trailer", "rider"]
    label(root, *(bdd_label(name, (4, 4, 20, 25), crowd=name == "rider") for name in names))
    target = opened(root).train.target(1)
    assert target.labels.tolist() == [8, 7, 1, 3, 3, 1, 3, 4, 2]
    assert target.crowd is not None and target.crowd.tolist() == [False] * 5 + [True] * 4
    assert target.ignore.tolist() == target.crowd.tolist()


@pytest.mark.parametrize("attributes", [{"Occluded": True, "Traffic Light Color": [0, "NA"]}, None, [], {}])
def test_attributes_of_any_release_are_taken(attributes: Any, root: Path) -> None:
    label(root, {**CAR, "attributes": attributes, "poly2d": None, "box3d": None})
    assert opened(root).train.target(1).labels.tolist() == [3]


def test_labels_that_are_no_boxes_are_none_of_detections(root: Path) -> None:
    lane = {"category": "lane/single white", "poly2d": [{"vertices": [[1, 2], [3, 4]]}]}
    label(root, CAR, lane, {**CAR, "box2d": None})
    assert found(root) == {}
    assert len(opened(root).train.target(1).boxes) == 1


def test_files_of_every_form_are_read(root: Path) -> None:
    frames = [{"name": "a.jpg", "labels": [CAR]}, {"name": "b.jpg", "index": 0, "labels": [CAR]}]
    oldest = {"frames": [{"timestamp": 1, "objects": [CAR]}], "name": "b", "attributes": {}}
    path = root / "labels/det_20/det_train.json"
    forms: list[object] = [
        frames,
        {"frames": frames, "groups": None, "config": None},
        {"config": None, "frames": frames},
    ]
    for form in forms:
        write_json(path, form)
        assert len(opened(root).train) == 2
    for number, form in enumerate([frames[:1], oldest]):
        write_json(root / "labels/train" / f"{number}.json", form)
    data = opened(root, labels="labels/{split}", val=["train"], images="images/100k/train")
    assert [data.train.path(index).name for index in range(2)] == ["a.jpg", "b.jpg"]  # type: ignore[attr-defined]


def test_images_are_found_by_addresses_and_in_folders_of_videos(root: Path) -> None:
    write_image(root / "images/100k/train/v1/v1-1.jpg", (64, 36))
    frames = [
        {"name": "https://somewhere/val/a.jpg", "videoName": "", "labels": [CAR]},
        {"name": "v1-1.jpg", "videoName": "v1", "labels": [CAR]},
    ]
    write_json(root / "labels/det_20/det_train.json", frames)
    assert found(root) == {} and len(opened(root).train) == 2


BROKEN: list[tuple[str, Any]] = [
    (kinds.MALFORMED, {**CAR, "box2d": {"x1": 1, "x2": 5, "y1": 1}}),
    (kinds.MALFORMED, {**CAR, "box2d": {"x1": 1, "x2": float("nan"), "y1": 1, "y2": 9}}),
    (kinds.MALFORMED, {**CAR, "box2d": [1, 2, 3, 4]}),
    (kinds.MALFORMED, {**CAR, "category": None}),
    (kinds.MALFORMED, 7),
    (kinds.NO_AREA, bdd_label("car", (9, 4, 9, 25))),
    (kinds.OUTSIDE, bdd_label("car", (9, 4, 67, 25))),
    (kinds.UNKNOWN_CATEGORY, bdd_label("spaceship", (4, 4, 20, 25))),
]


@pytest.mark.parametrize(("kind", "broken"), BROKEN)
def test_broken_labels_are_left_out_and_counted_or_refused(kind: str, broken: Any, root: Path) -> None:
    label(root, CAR, broken)
    assert found(root) == {kind: 1}
    with pytest.raises(ValueError, match=rf"det_train\.json: {kind}: .*data\.invalid_boxes to drop"):
        opened(root, invalid_boxes="refuse")
    with pytest.raises(ValueError, match=r"max_invalid_share: 1 of 5 boxes are invalid"):
        opened(root, max_invalid_share=0.1)


def test_a_box_of_one_pixel_has_an_area(root: Path) -> None:
    label(root, bdd_label("car", (9, 4, 10, 5)))
    np.testing.assert_array_equal(opened(root).train.target(1).boxes, [[18, 8, 20, 10]])


def test_missing_and_doubled_images_are_counted(root: Path) -> None:
    frames = [{"name": name, "labels": [CAR]} for name in ("a.jpg", "a.jpg", "gone.jpg")]
    write_json(root / "labels/det_20/det_train.json", frames)
    assert found(root) == {NO_IMAGE: 1, kinds.TWICE: 1}


def test_without_looking_at_the_images_they_have_the_data_sets_size(root: Path) -> None:
    data = opened(root, check_images=False)
    assert data.train.size(0) == (72, 128)
    with pytest.raises(ValueError, match=r"it has 64 x 36 pixels, not 1280 x 720 as at the start"):
        data.train.image(0)


def test_files_without_labels_are_refused(root: Path) -> None:
    write_json(root / "labels/det_20/det_train.json", [{"name": "a.jpg", "attributes": {"weather": "clear"}}])
    with pytest.raises(ValueError, match=r"^data\.train: no frame of .*det_train\.json has labels, as those of test"):
        opened(root)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([{"labels": []}], r"det_train\.json: a frame is .*without a name"),
        ([{"name": "a.jpg", "labels": 4}], r"labels of 'a\.jpg' are 4, not a list"),
        ({"frames": 4}, r"frames is 4, not a list"),
        ("frames", r"is no JSON \(Expecting an object or a list"),
        ([{"name": "../a.jpg", "labels": []}], r"^data\.root: frame '\.\./a\.jpg' of .* leads out of"),
        ([{"name": "x.jpg", "videoName": "..", "labels": []}], r"^data\.root: frame 'x\.jpg' of .* leads out of"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_line(document: object, reason: str, root: Path) -> None:
    write_json(root / "labels/det_20/det_train.json", document)
    with pytest.raises(ValueError, match=reason) as refused:
        opened(root)
    assert "\n" not in str(refused.value)


def test_missing_files_and_classes_name_the_key(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.val: split 'test' needs .*det_test\.json; .* \(see data\.labels\)"):
        opened(root, val=["test"])
    with pytest.raises(ValueError, match=r"^data\.classes: 'person' is none of pedestrian, rider"):
        opened(root, classes=["person"])
    assert opened(root, classes=["car"]).train.target(0).labels.tolist() == [1]


def counted(path: Path) -> tuple[int, int, int]:
    """Frames, boxes and crowds of a file."""
    frames: list[BddFrame] = []
    read_frames(path, frames.append)
    labels = [one for frame in frames for one in boxes_of(frame)]
    assert not any(isinstance(one, ValueError) for one in labels)
    return len(frames), len(labels), sum(one.crowd for one in labels)  # type: ignore[union-attr]


@pytest.mark.skipif(not REAL.is_dir(), reason=NEEDS_REAL)
def test_real_files_of_every_release_are_read(tmp_path: Path) -> None:
    folder = REAL / "bdd100k_labels"
    assert counted(folder / "det20/track_sample_anns.json") == (202, 3241, 132)
    for name, found in {
        "unitest_val_bdd_2020": (1, 34, 0),
        "unitest_val_bdd_2021": (1, 34, 0),
        "scalabel_det": (1, 4, 0),
        "scalabel_box_track": (2, 8, 0),
        "image_list_with_auto_labels": (10, 25, 0),
        "image_list_with_auto_labels_oldkeys": (10, 25, 0),
        "tag_gts": (10, 0, 0),
        "example_annotation": (1, 0, 0),
        "example_ignore_annotation": (2, 2, 1),
    }.items():
        assert counted(folder / "frames" / f"{name}.json") == found
    write_image(tmp_path / "images/100k/x/b1c66a42-6f7d68ca.jpg", (1280, 720))
    labels = tmp_path / "labels/det_20/det_x.json"
    labels.parent.mkdir(parents=True)
    labels.write_bytes((folder / "frames/unitest_val_bdd_2021.json").read_bytes())
    data = opened(tmp_path, train=["x"], val=["x"])
    assert data.report.problems == () and len(data.val.target(0).boxes) == 34
