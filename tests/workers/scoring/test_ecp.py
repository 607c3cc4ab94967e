"""EuroCity Persons' files: which objects and detections bear on which class."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.workers.scoring.conftest import WriteJson
from workers.scoring import score

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "ecp_labels"
NOTHING_MISSED = 1e-10

Node = dict[str, Any]
Rates = dict[str, dict[str, float | None]]
Measure = Callable[..., Rates]


def node(identity: str, x0: float, y0: float, x1: float, y1: float, *tags: str, **more: Any) -> Node:
    return {"identity": identity, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "tags": [*tags], "children": [], **more}


def frame(*children: Node) -> Node:
    return {"identity": "frame", "tags": [], "imagewidth": 1920, "imageheight": 1024, "children": [*children]}


def found(identity: str, x0: float, y0: float, x1: float, y1: float, score: float = 0.9) -> Node:
    return {"identity": identity, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score, "orient": 0.0}


@pytest.fixture
def measured(write_json: WriteJson, tmp_path: Path) -> Measure:
    """The miss rates of one frame."""

    def measure(truth: Sequence[Node], detections: Sequence[Node], **options: bool) -> Rates:
        write_json("truth/city/city_1.json", frame(*truth))
        write_json("found/city_1.json", {"identity": "frame", "children": [*detections]})
        rates: Rates = score("ecp", tmp_path / "truth", tmp_path / "found", **options).metrics["LAMR"]
        return rates

    return measure


WALKER = node("pedestrian", 0, 0, 40, 100)
ON_WALKER = found("pedestrian", 0, 0, 40, 100)
ALARM = found("pedestrian", 900, 0, 940, 100, 0.95)


def test_each_class_is_found_by_its_own_detections(measured: Measure) -> None:
    rider = node("rider", 200, 0, 240, 100)
    rates = measured([WALKER, rider], [ON_WALKER, found("pedestrian", 200, 0, 240, 100, 0.5)])
    assert rates["pedestrian"]["reasonable"] == pytest.approx(NOTHING_MISSED)  # the alarm comes after the hit
    assert rates["rider"]["reasonable"] == 1.0
    assert rates["pedestrian"].keys() == rates["rider"].keys() == {"reasonable", "small", "occluded", "all"}


def test_a_rider_is_judged_with_what_it_rides(measured: Measure) -> None:
    rider = node("rider", 200, 0, 240, 60, children=[node("bicycle", 190, 40, 260, 100)])
    assert measured([rider], [found("rider", 190, 0, 260, 100)])["rider"]["reasonable"] == pytest.approx(NOTHING_MISSED)
    assert measured([rider], [found("rider", 200, 0, 240, 60)])["rider"]["reasonable"] == 1.0
    assert measured([rider], [found("cyclist", 190, 0, 260, 100)])["rider"]["all"] == pytest.approx(NOTHING_MISSED)


def test_the_other_class_is_not_there_unless_asked_to_be_ignored(measured: Measure) -> None:
    rider = node("rider", 900, 0, 940, 100, "occluded>80")
    assert measured([WALKER, rider], [ALARM, ON_WALKER])["pedestrian"]["all"] > 1e-2
    lenient = measured([WALKER, rider], [ALARM, ON_WALKER], ignore_other_vru=True)
    assert lenient["pedestrian"]["all"] == pytest.approx(NOTHING_MISSED)


@pytest.mark.parametrize(
    ("other", "forgives"),
    [
        (node("person-group-far-away", 800, 0, 1000, 200), True),
        (node("person-group-far-away", 800, 0, 1000, 200, "depiction"), False),
        (node("rider+vehicle-group-far-away", 800, 0, 1000, 200), False),
        (node("pedestrian", 900, 0, 940, 100, "sitting-lying"), True),
        (node("pedestrian", 900, 0, 940, 100, "behind-glass"), True),
        (node("pedestrian", 900, 0, 940, 100, "occluded>80"), True),
        (node("pedestrian", 900, 0, 940, 100, "truncated>80"), True),
        (node("bicycle-group", 800, 0, 1000, 200), False),
    ],
)
def test_regions_and_tags_forgive_the_detections_they_should(measured: Measure, other: Node, forgives: bool) -> None:
    rate = measured([WALKER, other], [ALARM, ON_WALKER])["pedestrian"]["all"]
    assert rate == pytest.approx(NOTHING_MISSED if forgives else 1e-10 ** (1 / 9))


def test_boxes_are_cut_to_the_picture(measured: Measure) -> None:
    below = node("pedestrian", 100, 1000, 140, 1100)  # 24 pixels of it are in the picture
    rates = measured([below], [found("pedestrian", 100, 990, 140, 1200)])
    assert rates["pedestrian"]["reasonable"] is None or rates["pedestrian"]["reasonable"] == 1.0
    assert rates["pedestrian"]["all"] == pytest.approx(NOTHING_MISSED)


def test_a_class_with_detections_and_no_object_has_no_rate(measured: Measure) -> None:
    rates = measured([WALKER], [ON_WALKER, found("rider", 0, 0, 40, 100)])
    assert rates["rider"]["all"] is None
    assert measured([WALKER], [ON_WALKER])["rider"]["all"] == 1.0  # as the official tool has it


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the folder shared/data with ecp_labels beside the repository")
def test_the_official_sample_of_detections_finds_itself() -> None:
    sample = SAMPLES / "detections"
    rates = score("ecp", sample, sample).metrics["LAMR"]
    assert rates["pedestrian"]["reasonable"] == pytest.approx(NOTHING_MISSED)
    empty = score("ecp", SAMPLES / "conversion_test" / "ecp.json", SAMPLES / "conversion_test" / "ecp.json")
    assert empty.metrics["LAMR"]["pedestrian"]["all"] == 1.0  # both objects are hidden or cut by 80 percent


def test_frames_are_paired_by_name_through_folders_lists_and_single_files(
    write_json: WriteJson, tmp_path: Path
) -> None:
    for number in (1, 2):
        write_json(f"truth/city/city_{number}.json", frame(WALKER))
        write_json(f"found/city_{number}.json", {"identity": "frame", "children": [ON_WALKER]})
    expected = score("ecp", tmp_path / "truth", tmp_path / "found").metrics
    listing = tmp_path / "val.dataset"
    listing.write_text("".join(f"{path}\n" for path in (tmp_path / "truth" / "city").iterdir()))
    assert score("ecp", listing, tmp_path / "found").metrics == expected
    one = score("ecp", tmp_path / "truth" / "city" / "city_1.json", tmp_path / "found" / "city_1.json").metrics
    assert one["LAMR"]["pedestrian"]["all"] == pytest.approx(NOTHING_MISSED)


def test_a_frame_without_its_file_is_refused_with_its_name(write_json: WriteJson, tmp_path: Path) -> None:
    truth = write_json("truth/a_1.json", frame(WALKER)).parent
    detections = write_json("found/a_2.json", {"children": []}).parent
    with pytest.raises(ValueError, match=r"found: 1 frames of .*truth have no file, such as 'a_1\.json'"):
        score("ecp", truth, detections)
    write_json("found/a_1.json", {"children": []})
    with pytest.raises(ValueError, match=r"truth: 1 frames of .*found have no file, such as 'a_2\.json'"):
        score("ecp", truth, detections)
    with pytest.raises(OSError):
        score("ecp", tmp_path / "nowhere", detections)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no \.json file"):
        score("ecp", truth, tmp_path / "empty")


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        ([], "holds no frame"),
        ({"children": [{**ON_WALKER, "score": None}]}, "has no score"),
        ({"children": [{**ON_WALKER, "x1": "40"}]}, "x1 of 'pedestrian' is '40'"),
        ({"children": [{**ON_WALKER, "x1": -40}]}, "needs x0 <= x1"),
        ({"children": [{**ON_WALKER, "identity": None}]}, "identity is None"),
    ],
)
def test_malformed_detections_are_refused_with_their_file(
    write_json: WriteJson, tmp_path: Path, detections: Any, expected: str
) -> None:
    truth, path = write_json("truth/a.json", frame(WALKER)).parent, write_json("found/a.json", detections)
    with pytest.raises(ValueError) as refusal:
        score("ecp", truth, path.parent)
    assert expected in str(refusal.value) and str(path) in str(refusal.value)
