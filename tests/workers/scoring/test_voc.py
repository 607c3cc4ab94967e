"""Pascal VOC's folders of annotations and results."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workers.metrics.average_precision import TWELVE
from workers.scoring import score

Box = tuple[str, float, float, float, float]
WriteTruth = Callable[..., Path]
WriteFound = Callable[..., Path]
CAT: Box = ("cat", 1, 1, 40, 40)
DOG: Box = ("dog", 50, 50, 99, 99)


@pytest.fixture
def write_truth(tmp_path: Path) -> WriteTruth:
    def write(images: dict[str, Sequence[Box]], difficult: Sequence[str] = (), split: str = "test") -> Path:
        home = tmp_path / "VOC2007"
        for folder in ("Annotations", "ImageSets/Main"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        for image_id, boxes in images.items():
            objects = "".join(
                f"<object><name>{name}</name><difficult>{int(name in difficult)}</difficult><bndbox><xmin>{x1}</xmin>"
                f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                for name, x1, y1, x2, y2 in boxes
            )
            (home / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
        (home / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in images))
        return home

    return write


@pytest.fixture
def write_found(tmp_path: Path) -> WriteFound:
    def write(prefix: str = "comp4_det_test", **lines: str) -> Path:
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        for name, text in lines.items():
            (folder / f"{prefix}_{name}.txt").write_text(text)
        return folder

    return write


def test_perfect_results_are_one_by_every_measure(write_truth: WriteTruth, write_found: WriteFound) -> None:
    truth = write_truth({"a": [CAT], "b": [CAT, DOG]})
    found = write_found(cat="a 0.9 1 1 40 40\nb 0.8 1 1 40 40\n", dog="b 0.7 50 50 99 99\n")
    scored = score("voc", truth, found)
    assert scored.notes == ()
    present = {name: value for name, value in scored.metrics.items() if not name.startswith("per_class")}
    assert present == {
        **dict.fromkeys(TWELVE, pytest.approx(1.0)),
        "APs": None, "ARs": None, "APl": None, "ARl": None,
        "AP50/11-point": pytest.approx(1.0), "AP50/area": pytest.approx(1.0),
    }  # fmt: skip
    for name in ("per_class", "per_class/11-point", "per_class/area"):
        assert scored.metrics[name] == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}


def test_half_found_and_a_false_alarm_by_hand(write_truth: WriteTruth, write_found: WriteFound) -> None:
    truth = write_truth({"a": [CAT], "b": [CAT]})
    found = write_found(cat="a 0.9 60 60 90 90\na 0.8 1 1 40 20\n")  # an alarm, then an overlap of just one half
    metrics = score("voc", truth, found).metrics
    assert metrics["AP50/11-point"] == pytest.approx(6 * 0.5 / 11)
    assert metrics["AP50/area"] == pytest.approx(0.5 * 0.5)
    assert metrics["AP50"] == pytest.approx(51 * 0.5 / 101)
    assert metrics["AP"] == pytest.approx(51 * 0.5 / 101 / 10)


def test_difficult_objects_count_neither_way(write_truth: WriteTruth, write_found: WriteFound) -> None:
    truth = write_truth({"a": [CAT, DOG]}, difficult=["dog"])
    metrics = score("voc", truth, write_found(cat="a 0.8 1 1 40 40", dog="a 0.9 50 50 99 99")).metrics
    assert metrics["AP50/area"] == pytest.approx(1.0) and metrics["AP50"] == pytest.approx(1.0)
    assert metrics["per_class"]["dog"] is None and metrics["per_class/11-point"]["dog"] is None


def test_the_split_is_the_one_the_files_name_or_the_one_asked_for(
    write_truth: WriteTruth, write_found: WriteFound
) -> None:
    home = write_truth({"a": [CAT]}, split="test")
    write_truth({"b": [("traffic_light", 1, 1, 40, 40)]}, split="my_val")
    found = write_found("comp4_det_my_val", traffic_light="b 1 1 1 40 40\n")
    assert score("voc", home, found).metrics["per_class"] == {"traffic_light": pytest.approx(1.0)}
    write_found("comp4_det_test", cat="a 1 1 1 40 40\n")
    with pytest.raises(ValueError, match="--split: the files of results are of 'my_val', 'test'; name one"):
        score("voc", home, found)
    assert score("voc", home, found, split="test").metrics["per_class"] == {"cat": pytest.approx(1.0)}
    assert score("voc", home.parent, found, split="VOC2007/test").metrics["per_class"].keys() == {"cat"}


def test_a_folder_of_annotations_and_a_single_file_of_results_will_do(
    write_truth: WriteTruth, write_found: WriteFound
) -> None:
    home = write_truth({"a": [CAT], "b": []})
    found = write_found(cat="a 1 1 1 40 40\n")
    for results in (found, found / "comp4_det_test_cat.txt"):
        assert score("voc", home / "Annotations", results).metrics["AP50/area"] == pytest.approx(1.0)


def test_a_class_without_a_file_has_nothing_found_and_one_without_objects_no_score(
    write_truth: WriteTruth, write_found: WriteFound
) -> None:
    scored = score("voc", write_truth({"a": [CAT, DOG]}), write_found(cat="a 1 1 1 40 40\n", cow="a 1 1 1 9 9\n"))
    assert scored.metrics["per_class/area"] == {"cat": pytest.approx(1.0), "cow": None, "dog": 0.0}
    assert scored.metrics["AP50/area"] == 0.5 and scored.metrics["AP50"] == pytest.approx(0.5)
    assert scored.notes == (
        "dog: no file of results, so nothing is found",
        "cow: no object in the split, so no score",
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c 1 1 1 40 40", "comp4_det_test_cat.txt:1: image 'c' is not in the split"),
        ("a 1 1 1 40", "is not IMAGE SCORE XMIN YMIN XMAX YMAX"),
        ("a high 1 1 40 40", "is not IMAGE SCORE XMIN YMIN XMAX YMAX"),
        ("a nan 1 1 40 40", "is not IMAGE SCORE XMIN YMIN XMAX YMAX"),
    ],
)
def test_malformed_results_are_refused_with_their_line(
    write_truth: WriteTruth, write_found: WriteFound, line: str, expected: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        score("voc", write_truth({"a": [CAT]}), write_found(cat=f"{line}\n"))
    assert expected in str(refusal.value)


def test_missing_and_broken_truth_is_refused_with_its_place(
    write_truth: WriteTruth, write_found: WriteFound, tmp_path: Path
) -> None:
    home, found = write_truth({"a": [CAT]}), write_found(cat="a 1 1 1 40 40\n")
    with pytest.raises(ValueError, match=r"val\.txt: does not exist"):
        score("voc", home, write_found("comp4_det_val", cat=""), split="val")
    with pytest.raises(ValueError, match=r"comp3_det_test_cat\.txt is of the same class"):
        score("voc", home, write_found("comp3_det_test", cat=""), split="test")
    with pytest.raises(ValueError, match="is no folder"):
        score("voc", tmp_path / "nowhere", found)
    with pytest.raises(ValueError, match="has no file such as"):
        score("voc", home, tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        score("voc", home, tmp_path / "nowhere")
    (home / "ImageSets" / "Main" / "test.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match="an image is there twice"):
        score("voc", home, found, split="test")
    (home / "ImageSets" / "Main" / "test.txt").write_text("a\nb\n")
    (found / "comp3_det_test_cat.txt").unlink()
    with pytest.raises(ValueError, match=r"b\.xml: does not exist"):
        score("voc", home, found, split="test")
    (home / "Annotations" / "b.xml").write_text("<annotation><object></annotation>")
    with pytest.raises(ValueError, match=r"b\.xml: can't be read as an annotation"):
        score("voc", home, found, split="test")
