"""EuroCity Persons' layout, sound and broken, and its real files where they are there."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.small_data import NEEDS_REAL, REAL, ecp_object, write_ecp, write_image, write_json
from workers.data import annotated as kinds
from workers.data import check_detection_data, open_detection_data
from workers.data.ecp_frames import read_frame
from workers.data.image_files import NO_IMAGE, TORN
from workers.data.interface import DetectionData
from workers.settings import EcpData

WALKER = ecp_object("pedestrian", (4, 4, 12, 30))


def opened(root: Path, **changes: object) -> DetectionData:
    values = {"format": "ecp", "root": str(root), "short_side": 40, "long_side": 64, "max_invalid_share": 1.0}
    return open_detection_data(EcpData.model_validate({**values, **changes}))


def found(root: Path, **changes: object) -> dict[str, int]:
    return {p.kind: p.count for p in opened(root, **changes).report.problems}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bicycle = ecp_object("bicycle", (20, 20, 40, 36))
    rider = ecp_object("rider", (24, 6, 34, 30), "occluded>10", children=[bicycle])
    write_ecp(tmp_path, "day/train", {"rome/a": [WALKER, rider], "rome/b": [WALKER], "oslo/none": []})
    write_ecp(tmp_path, "day/val", {"rome/c": [WALKER, rider]})
    write_ecp(tmp_path, "night/train", {"rome/a": [WALKER]})
    return tmp_path


def annotate(root: Path, *objects: object) -> None:
    """Replace the objects of one training image."""
    path = root / "day/labels/train/rome/b.json"
    write_json(path, {**json.loads(path.read_text()), "children": objects})


def test_cities_are_read_in_order_and_riders_with_what_they_ride(root: Path) -> None:
    data = opened(root)
    assert data.class_names == ("pedestrian", "rider")
    assert (data.report.num_train, data.report.num_val, data.report.class_counts) == (2, 1, (3, 2))
    target = data.train.target(0)
    np.testing.assert_array_equal(target.boxes, [[4, 4, 12, 30], [20, 6, 40, 36]])
    assert target.labels.tolist() == [1, 2]
    assert data.train.image(0).shape == (3, 40, 64)
    np.testing.assert_array_equal(opened(root, rider_boxes="person").train.target(0).boxes[1], [24, 6, 34, 30])


def test_other_objects_keep_their_own_box_whatever_their_children(root: Path) -> None:
    bag = ecp_object("bicycle", (20, 20, 40, 36))
    annotate(root, ecp_object("pedestrian", (24, 6, 34, 30), children=[bag]))
    np.testing.assert_array_equal(opened(root).train.target(1).boxes, [[24, 6, 34, 30]])


def test_day_and_night_are_joined_though_their_names_are_the_same(root: Path) -> None:
    assert len(opened(root, train=["day/train", "night/train"]).train) == 3


def test_groups_are_regions_and_some_pedestrians_are_ignored(root: Path) -> None:
    annotate(
        root,
        ecp_object("person-group-far-away", (0, 0, 20, 20)),
        ecp_object("rider+vehicle-group-far-away", (0, 0, 20, 20)),
        ecp_object("pedestrian", (0, 0, 20, 20), "sitting-lying"),
        ecp_object("pedestrian", (0, 0, 20, 20), "behind-glass"),
        ecp_object("rider", (0, 0, 20, 20), "behind-glass"),
        ecp_object("person-group-far-away", (0, 0, 20, 20), "depiction"),
        ecp_object("bicycle-group", (0, 0, 20, 20)),
    )
    target = opened(root).train.target(1)
    assert target.labels.tolist() == [1, 2, 1, 1, 2]
    assert target.ignore.tolist() == [True, True, True, True, False]
    assert target.crowd is not None and target.crowd.tolist() == [True, True, False, False, False]


def test_tags_tell_what_is_hidden_or_cut_off(root: Path) -> None:
    tags = [[], ["occluded>10"], ["occluded>40", "truncated>80"], ["skating", "occluded>80"], ["occluded"]]
    annotate(root, *(ecp_object("pedestrian", (0, 0, 20, 20), *some) for some in tags))
    target = opened(root).train.target(1)
    assert target.occlusion is not None and target.truncation is not None
    np.testing.assert_array_equal(target.occlusion, np.float32([0, 0.1, 0.4, 0.8, 0]))
    np.testing.assert_array_equal(target.truncation, np.float32([0, 0, 0.8, 0, 0]))


def test_boxes_that_reach_over_the_border_are_cut_and_those_beyond_it_counted(root: Path) -> None:
    annotate(root, *(ecp_object("pedestrian", box) for box in ((-30, 5, 9, 90), (70, 5, 90, 9), (5, 5, 5, 9))))
    np.testing.assert_array_equal(opened(root).train.target(1).boxes, [[0, 5, 9, 40]])
    assert found(root) == {kinds.OUTSIDE: 1, kinds.NO_AREA: 1, kinds.NO_BOX: 1}
    with pytest.raises(ValueError, match=r"b\.json: box without area: pedestrian \(5, 5, 5, 9\) needs a width"):
        opened(root, invalid_boxes="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        {"identity": "pedestrian"},
        {"identity": "pedestrian", "x0": 1, "y0": 1, "x1": "9", "y1": 9},
        {"identity": "pedestrian", "x0": 1, "y0": 1, "x1": float("nan"), "y1": 9},
        {"x0": 1, "y0": 1, "x1": 9, "y1": 9},
        {**WALKER, "tags": "occluded>40"},
        {**WALKER, "tags": [4]},
        {**WALKER, "children": 7},
        {**WALKER, "children": [{}]},
        "pedestrian",
    ],
)
def test_malformed_objects_are_counted_and_the_others_kept(broken: object, root: Path) -> None:
    annotate(root, WALKER, broken)
    assert found(root) == {kinds.MALFORMED: 1, kinds.NO_BOX: 1}
    assert len(opened(root).train.target(1).boxes) == 1


def test_an_object_without_tags_or_children_is_one(root: Path) -> None:
    annotate(root, {key: WALKER[key] for key in ("identity", "x0", "y0", "x1", "y1")})
    assert found(root) == {kinds.NO_BOX: 1}


def test_frames_are_found_in_every_layout_of_the_benchmark(tmp_path: Path) -> None:
    frame = {"identity": "frame", "children": [WALKER]}
    old = {"identity": "pedestrian", "mincol": 4, "minrow": 4, "maxcol": 11, "maxrow": 29, "confidencevalues": [0.5]}
    for document in (
        frame,
        {"@converter": "x", "children": [{"children": [frame]}]},
        {"identity": "seqlist", "children": {"children": frame}},
        {"objects": [old]},
    ):
        (one,) = read_frame(write_json(tmp_path / "x.json", document)).objects
        assert (one.identity, one.box) == ("pedestrian", (4, 4, 12, 30))
    assert one.score == 0.5
    for document in ({"identity": "frame"}, [], {"children": 4}, "frame", {"identity": "seqlist", "children": []}):
        with pytest.raises(ValueError, match=r"x\.json: holds no frame"):
            read_frame(write_json(tmp_path / "x.json", document))


def test_images_and_labels_without_each_other_and_broken_ones_are_counted(root: Path) -> None:
    labels, images = root / "day/labels/train/rome", root / "day/img/train/rome"
    for stem in ("no_labels", "torn_labels", "torn", "wide"):
        write_image(images / f"{stem}.png", (65, 40) if stem == "wide" else (64, 40))
    for stem in ("no_image", "torn", "wide"):
        (labels / f"{stem}.json").write_text((labels / "b.json").read_text())
    (labels / "torn_labels.json").write_text('{"identity": "frame", "children": [')
    torn = images / "torn.png"
    torn.write_bytes(torn.read_bytes()[:-300])
    assert found(root, empty_images="keep") == {NO_IMAGE: 1, TORN: 1, kinds.NO_ANNOTATION: 2, kinds.WRONG_SIZE: 1}
    with pytest.raises(
        ValueError, match=r"no_image\.png: missing or unreadable image: it does not exist, but .*\.json"
    ):
        opened(root, invalid_boxes="refuse")


def test_classes_are_the_benchmarks(root: Path) -> None:
    data = opened(root, classes=["rider"])
    assert data.train.target(0).labels.tolist() == [1]
    assert {p.kind: p.count for p in data.report.problems} == {kinds.UNKNOWN_CLASS: 3, kinds.NO_BOX: 2}
    with pytest.raises(ValueError, match=r"^data\.classes: 'bicycle' is none of pedestrian, rider"):
        opened(root, classes=["bicycle"])


def test_missing_folders_name_the_key(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.root: '/no/such' is no folder; it must hold day/img"):
        opened(Path("/no/such"))
    for split in ("train", "../day/train", "/day/train", "day/"):
        with pytest.raises(ValueError, match=r"^data\.train: '.*' is no split; give TIME/SPLIT, such as day/train"):
            opened(root, train=[split])
    write_image(root / "day/img/test/rome/x.png")
    with pytest.raises(ValueError, match=r"^data\.val: .*labels/test is no folder; .* which test images have not"):
        opened(root, val=["day/test"])


def test_no_image_is_decoded_to_check_the_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.data.image_files.opened", None)
    settings = EcpData(format="ecp", root=str(root))
    assert check_detection_data(settings).num_train == 2


@pytest.mark.skipif(not REAL.is_dir(), reason=NEEDS_REAL)
def test_real_files_of_the_benchmark_are_read() -> None:
    found = read_frame(REAL / "ecp_labels/detections/roma_01393.json").objects
    assert len(found) == 19 and {one.identity for one in found} == {"pedestrian", "rider"}
    assert all(one.score is not None and 0 < one.score < 1 for one in found)
    rider, walker = read_frame(REAL / "ecp_labels/conversion_test/ecp.json").objects
    assert (rider.identity, rider.occlusion, rider.truncation) == ("rider", 0.8, 0.0)
    assert (walker.identity, walker.occlusion, walker.truncation) == ("pedestrian", 0.0, 0.8)
