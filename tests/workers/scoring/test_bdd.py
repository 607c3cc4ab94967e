"""BDD100K's files by the rules of its own tool; the real sequence to the digits that the tool's test has."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.scoring.conftest import WriteJson
from workers.scoring import score

DET20 = Path(__file__).parents[4] / "shared" / "data" / "bdd100k_labels" / "det20"
OFFICIAL = {  # scalabel/scalabel, tests/eval/detect_test.py, in percent
    "AP": 34.02939,
    "AP50": 55.32390,
    "AP75": 34.93873,
    "APs": 20.91625,
    "APm": 48.43647,
    "APl": 64.28530,
    "AR1": 23.87734,
    "AR10": 38.05004,
    "AR100": 40.95160,
    "ARs": 25.55305,
    "ARm": 58.38595,
    "ARl": 66.04262,
}
OFFICIAL_OF_CLASSES = {
    "pedestrian": 41.37670,
    "rider": 41.70986,
    "car": 66.14186,
    "truck": 50.07078,
    "bus": 0.30253,
    "motorcycle": 4.57463,
}
WITHOUT_TRUTH = {"train", "bicycle", "traffic light", "traffic sign"}


@pytest.mark.skipif(not DET20.is_dir(), reason="needs the folder shared/data with bdd100k_labels beside the repository")
def test_the_real_sequence_has_the_official_tools_figures() -> None:
    scored = score("bdd", DET20 / "track_sample_anns.json", DET20 / "bbox_predictions.json")
    assert scored.notes == ()
    per_class = scored.metrics.pop("per_class")
    assert scored.metrics == {name: pytest.approx(value / 100, abs=5.1e-8) for name, value in OFFICIAL.items()}
    assert {name for name, value in per_class.items() if value is None} == WITHOUT_TRUTH
    for name, value in OFFICIAL_OF_CLASSES.items():
        assert per_class[name] == pytest.approx(value / 100, abs=5.1e-8)


def box(category: str, x1: float, y1: float, x2: float, y2: float, **more: Any) -> dict[str, Any]:
    return {"id": "0", "category": category, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}, **more}


def frame(name: str, *labels: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "labels": list(labels), **more}


CAR = box("car", 10, 10, 49, 49)
TRUTH = [frame("b.jpg", CAR), frame("a.jpg", box("rider", 0, 0, 99, 99))]


def test_corners_are_inclusive(write_json: WriteJson) -> None:
    """20 of 40 rows are an overlap of one half by inclusive corners, and less if 49 were not part of it."""
    found = [frame("b.jpg", box("car", 10, 10, 49, 29, score=0.9))]
    metrics = score("bdd", write_json("truth.json", TRUTH[:1]), write_json("found.json", found)).metrics
    assert metrics["per_class"]["car"] == pytest.approx(0.1)
    assert metrics["APm"] == pytest.approx(0.1) and metrics["APs"] is None


def test_old_names_are_taken_for_new_ones_and_ignored_categories_for_crowds(write_json: WriteJson) -> None:
    truth = [frame("a.jpg", box("person", 0, 0, 39, 39), box("other person", 100, 100, 199, 199))]
    found = [
        frame("a.jpg", box("pedestrian", 110, 110, 129, 129, score=0.9), box("person", 0, 0, 39, 39, score=0.8)),
    ]
    metrics = score("bdd", write_json("truth.json", truth), write_json("found.json", found)).metrics
    assert metrics["per_class"]["pedestrian"] == pytest.approx(1.0)


def test_crowds_and_ignored_labels_count_neither_way(write_json: WriteJson) -> None:
    for attribute in ("crowd", "ignored"):
        truth = [frame("a.jpg", CAR, box("car", 100, 100, 199, 199, attributes={attribute: True, "occluded": True}))]
        found = [frame("a.jpg", box("car", 110, 110, 129, 129, score=0.9), {**CAR, "score": 0.8})]
        metrics = score("bdd", write_json("truth.json", truth), write_json("found.json", found)).metrics
        assert metrics["AP"] == pytest.approx(1.0)


def test_missing_frames_are_empty_and_strange_ones_passed_over_with_notes(write_json: WriteJson) -> None:
    found = [frame("b.jpg", {**CAR, "score": 0.9}), frame("z.jpg", {**CAR, "score": 0.9})]
    scored = score("bdd", write_json("truth.json", {"frames": TRUTH}), write_json("found.json", found))
    assert scored.metrics["per_class"]["car"] == pytest.approx(1.0) and scored.metrics["per_class"]["rider"] == 0.0
    assert "1 of 2 frames" in scored.notes[0] and "1 frames" in scored.notes[1]


def test_frames_of_one_name_are_told_apart_by_their_videos_or_else_the_last_is_taken(write_json: WriteJson) -> None:
    truth = [frame("1.jpg", CAR, videoName="u"), frame("1.jpg", box("rider", 0, 0, 99, 99), videoName="v")]
    found = [
        frame("1.jpg", box("rider", 0, 0, 99, 99, score=0.9), videoName="v"),
        frame("1.jpg", {**CAR, "score": 0.9}, videoName="u"),
    ]
    paths = write_json("truth.json", truth), write_json("found.json", found)
    assert score("bdd", *paths).metrics["AP"] == pytest.approx(1.0)
    for one in found:
        del one["videoName"]
    scored = score("bdd", paths[0], write_json("found.json", found))
    assert scored.metrics["per_class"]["rider"] == 0.0 and "twice" in scored.notes[0]


def test_labels_that_are_missing_null_or_without_a_box_have_nothing_to_find(write_json: WriteJson) -> None:
    truth = [
        {"name": "a.jpg"},
        {"name": "b.jpg", "labels": None},
        frame("c.jpg", {"id": 1, "category": "lane/road curb", "poly2d": []}, {**CAR, "box2d": None}, CAR),
    ]
    found = [frame("c.jpg", {**CAR, "score": 0.9})]
    metrics = score("bdd", write_json("truth.json", truth), write_json("found.json", found)).metrics
    assert metrics["AP"] == pytest.approx(1.0)


def test_without_a_detection_all_is_zero_for_every_class_with_a_box(write_json: WriteJson) -> None:
    truth = [*TRUTH, frame("c.jpg", box("bus", 0, 0, 9, 9, attributes={"crowd": True}))]
    scored = score("bdd", write_json("truth.json", truth), write_json("found.json", [frame("a.jpg")]))
    per_class = scored.metrics.pop("per_class")
    assert set(scored.metrics.values()) == {0.0}
    assert {name for name, value in per_class.items() if value is not None} == {"car", "rider", "bus"}


def test_other_categories_are_passed_over_with_a_note(write_json: WriteJson) -> None:
    found = [frame("b.jpg", {**CAR, "score": 0.9}, box("tram", 0, 0, 9, 9, score=0.5))]
    scored = score("bdd", write_json("truth.json", TRUTH[:1]), write_json("found.json", found))
    assert scored.metrics["AP"] == pytest.approx(1.0) and "['tram']" in scored.notes[0]


def test_folders_of_files_are_read_as_one(write_json: WriteJson, tmp_path: Path) -> None:
    write_json("truth/1.json", TRUTH[:1])
    write_json("truth/2.json", {"frames": TRUTH[1:], "config": None})
    write_json("found/all.json", [frame("b.jpg", {**CAR, "score": 0.9})])
    scored = score("bdd", tmp_path / "truth", tmp_path / "found")
    assert scored.metrics["per_class"]["car"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, "has no frame"),
        ([], "has no frame"),
        ([{"labels": []}], "without a name"),
        ([frame("b.jpg", CAR)], "has no score"),
        ([frame("b.jpg", {**CAR, "box2d": {"x1": 1}, "score": 1})], "y1 is None"),
        ([frame("b.jpg", {**CAR, "score": "high"})], "score is 'high'"),
    ],
)
def test_malformed_detections_are_refused_with_their_place(write_json: WriteJson, found: Any, expected: str) -> None:
    path = write_json("found.json", found)
    with pytest.raises(ValueError) as refusal:
        score("bdd", write_json("truth.json", TRUTH), path)
    assert expected in str(refusal.value) and str(path) in str(refusal.value)
