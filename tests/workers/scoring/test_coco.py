"""COCO's files: what is taken, what is refused, and that pycocotools' own figures come out."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from tests.workers.scoring.conftest import WriteJson
from workers.metrics.average_precision import TWELVE
from workers.scoring import score

SQUARE = [[10.0, 10.0, 50.0, 10.0, 50.0, 50.0, 10.0, 50.0]]
TRUTH: dict[str, Any] = {
    "images": [{"id": 7, "height": 100, "width": 120}, {"id": 3, "height": 100, "width": 120}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 900.5, "iscrowd": 0,
         "segmentation": SQUARE},
        {"id": 2, "image_id": 3, "category_id": 18, "bbox": [0, 0, 100, 99], "area": 9900, "iscrowd": 0,
         "segmentation": [[0, 0, 100, 0, 100, 99, 0, 99]]},
        {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 60, 60], "area": 3600, "iscrowd": 1,
         "segmentation": {"size": [100, 120], "counts": [0, 6000, 6000]}},
    ],
}  # fmt: skip
FOUND: list[dict[str, Any]] = [
    {"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 36], "score": 0.9, "segmentation": SQUARE},
    {"image_id": 7, "category_id": 1, "bbox": [70, 10, 40, 36], "score": 0.95, "segmentation": SQUARE},
    {"image_id": 3, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.99, "segmentation": SQUARE},
    {"image_id": 3, "category_id": 18, "bbox": [5, 5, 90, 90], "score": 0.5, "segmentation": SQUARE},
]


def test_the_figures_are_those_that_pycocotools_prints(write_json: WriteJson) -> None:
    truth, found = write_json("truth.json", TRUTH), write_json("found.json", FOUND)
    metrics = score("coco", truth, found).metrics
    for kind, prefix in (("bbox", ""), ("segm", "masks/")):
        with contextlib.redirect_stdout(io.StringIO()):
            annotated = COCO(str(truth))
            evaluation = COCOeval(annotated, annotated.loadRes(str(found)), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        mine = [metrics[prefix + name] for name in TWELVE]
        assert [-1 if value is None else value for value in mine] == evaluation.stats.tolist()
        assert metrics[f"{prefix}per_class"].keys() == {"dog", "person", "toothbrush"}
    assert metrics["per_class"]["toothbrush"] is None
    assert metrics["per_class"]["person"] == pytest.approx(0.45)  # overlap 0.9, behind one false alarm


def test_results_without_boxes_are_scored_by_the_boxes_of_their_masks(write_json: WriteJson) -> None:
    pixels = np.zeros((100, 120), dtype=np.uint8, order="F")
    pixels[10:50, 10:50] = 1
    rle = {"size": [100, 120], "counts": encode(pixels)["counts"].decode()}
    bare = {"image_id": 7, "category_id": 1, "score": 0.9, "segmentation": rle}
    metrics = score("coco", write_json("truth.json", TRUTH), write_json("found.json", [bare])).metrics
    assert metrics["per_class"]["person"] == metrics["masks/per_class"]["person"] == pytest.approx(1.0)


def test_no_results_at_all_are_zero_where_there_was_something_to_find(write_json: WriteJson) -> None:
    metrics = score("coco", write_json("truth.json", TRUTH), write_json("found.json", [])).metrics
    assert metrics["AP"] == metrics["AR100"] == metrics["per_class"]["dog"] == 0.0
    assert metrics["APm"] is None  # no object of that size
    assert "masks/AP" not in metrics


def test_missing_areas_and_crowd_flags_are_those_of_a_plain_box(write_json: WriteJson) -> None:
    plain = [{"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40]}]
    truth = write_json("truth.json", {**TRUTH, "annotations": plain})
    metrics = score("coco", truth, write_json("found.json", [dict(plain[0], score=1)])).metrics
    assert metrics["APm"] == metrics["AP"] == pytest.approx(1.0)


def test_results_of_unknown_categories_are_passed_over_with_a_note(write_json: WriteJson) -> None:
    found = write_json("found.json", [*FOUND, {**FOUND[0], "category_id": 4}])
    scored = score("coco", write_json("truth.json", TRUTH), found)
    assert "1 of 5 results" in scored.notes[0]
    assert scored.metrics == score("coco", write_json("truth.json", TRUTH), write_json("f.json", FOUND)).metrics


def with_entry(entries: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    changed = {**entries[0], **changes}
    return [{key: value for key, value in changed.items() if value is not ...}, *entries[1:]]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"annotations": []}, "is no list"),
        ([3], "results[0]: 3 is no mapping"),
        (with_entry(FOUND, image_id=8), "image_id 8 is none of the images"),
        (with_entry(FOUND, image_id=...), "image_id is None"),
        (with_entry(FOUND, category_id="dog"), "category_id is 'dog'"),
        (with_entry(FOUND, score=...), "score is None"),
        (with_entry(FOUND, score=float("nan")), "score is nan"),
        (with_entry(FOUND, bbox=[1, 2, 3]), "bbox is [1, 2, 3]"),
        (with_entry(FOUND, bbox=[1, 2, 3, "4"]), "bbox is '4'"),
        (with_entry(FOUND[::-1], bbox=..., segmentation={"size": [9, 9], "counts": "1"}), "results[1]"),
        (with_entry(FOUND, segmentation=[[1, 2, 3]]), "segmentation has [1, 2, 3]"),
        (with_entry(FOUND, segmentation={"size": [100, 120], "counts": [1]}), "neither polygons nor an RLE"),
        (with_entry(FOUND, segmentation={"size": [9, 120], "counts": "1"}), "neither polygons nor an RLE"),
        (with_entry(FOUND, segmentation={"size": [100, 120], "counts": "T:P1m1"}), "neither polygons nor an RLE"),
        (with_entry(FOUND, segmentation=[[0, 0, 1e9, 0, 0, 1e9]]), "segmentation has 1000000000.0"),
    ],
)
def test_malformed_results_are_refused_with_their_place(write_json: WriteJson, found: Any, expected: str) -> None:
    path = write_json("found.json", found)
    with pytest.raises(ValueError) as refusal:
        score("coco", write_json("truth.json", TRUTH), path)
    assert expected in str(refusal.value) and str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ([], "is no mapping"),
        ({"images": []}, "categories: None is no list"),
        ({**TRUTH, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "are no different names"),
        ({**TRUTH, "images": [{"id": 7}, {"id": 7}]}, "images: an id is there twice"),
        ({**TRUTH, "annotations": with_entry(TRUTH["annotations"], bbox=None)}, "annotations[0]: bbox is None"),
        ({**TRUTH, "annotations": with_entry(TRUTH["annotations"], area="big")}, "area is 'big'"),
        ({**TRUTH, "annotations": with_entry(TRUTH["annotations"], segmentation=[])}, "annotations[0]: segmentation"),
    ],
)
def test_malformed_truth_is_refused_with_its_place(write_json: WriteJson, truth: Any, expected: str) -> None:
    path = write_json("truth.json", truth)
    with pytest.raises(ValueError) as refusal:
        score("coco", path, write_json("found.json", FOUND))
    assert expected in str(refusal.value) and str(path) in str(refusal.value)


def test_what_is_no_json_or_not_there_is_refused(write_json: WriteJson, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('[{"image_id": 7')
    with pytest.raises(ValueError, match="no JSON"):
        score("coco", write_json("truth.json", TRUTH), tmp_path / "torn.json")
    with pytest.raises(OSError):
        score("coco", tmp_path / "nowhere.json", tmp_path / "torn.json")


def test_options_of_other_benchmarks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--split"):
        score("coco", tmp_path, tmp_path, split="val")
    with pytest.raises(ValueError, match="--ignore-other-vru"):
        score("coco", tmp_path, tmp_path, ignore_other_vru=True)
