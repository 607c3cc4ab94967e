import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from orchestrator.report import detections
from orchestrator.report.detections import ObjectBox, find_detections
from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from workers.data.interface import Target

ASSETS = Path(__file__).parents[2] / "assets"
boxes = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(9, 16), st.integers(9, 16))


@pytest.fixture(scope="module")
def told() -> Story:
    """A tiny run that has kept the weights of its start, which is its best."""
    return read_story(str(ASSETS / "run-format-2"))


def box(corners: tuple[int, ...], label: str, score: float | None = None) -> ObjectBox:
    left, top, right, bottom = map(float, corners)
    return ObjectBox(box=(left, top, right, bottom), label=label, score=score, is_right=False)


def test_detections_are_those_of_the_stored_weights_on_the_configs_data(
    told: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detections, "THRESHOLD", 0.0)
    seen = find_detections(told, 100)
    assert seen.missing == "" and [(each.name, each.index) for each in seen.detectors] == [("start", 0)]
    assert [picture.index for picture in seen.pictures] == list(range(8))
    assert any(picture.found[0] for picture in seen.pictures)
    for picture in seen.pictures:
        assert PillowImage.open(io.BytesIO(picture.data)).size == (picture.width, picture.height) == (64, 64)
        assert picture.truth and len(picture.found) == len(picture.missed) == 1
        scores = [each.score or 0.0 for each in picture.found[0]]
        assert scores == sorted(scores, reverse=True)
        assert len(picture.missed[0]) + sum(each.is_right for each in picture.found[0]) == len(picture.truth)


def test_none_are_looked_for_where_none_are_asked_for(told: Story) -> None:
    assert find_detections(told, 0).missing == "none were asked for (--detections 0)"


def test_weights_that_are_gone_are_one_line(paper_story: Story) -> None:
    seen = find_detections(paper_story, 2)
    assert not seen.pictures and "\n" not in seen.missing
    assert "job 0 has no weights any more" in seen.missing


def test_data_that_are_gone_are_one_line(told: Story, tmp_path: Path) -> None:
    config = told.facts.config_yaml
    begin, end = config.index("data:\n"), config.index("training:\n  epochs: 6")
    voc = f"data:\n  format: voc\n  root: {tmp_path}/gone\n"
    elsewhere = replace(told, facts=replace(told.facts, config_yaml=config[:begin] + voc + config[end:]))
    seen = find_detections(elsewhere, 2)
    assert seen.missing.startswith("the data can't be read (") and "gone" in seen.missing


def test_large_images_are_made_smaller_with_their_boxes() -> None:
    image = np.zeros((3, 1000, 1600), dtype=np.uint8)
    target = Target(
        image_id=1,
        boxes=np.array([[0, 0, 1600, 500], [0, 0, 4, 4]], dtype=np.float32),
        labels=np.array([1, 1]),
        ignore=np.array([False, True]),
        scale=(1.0, 1.0),
    )
    picture = detections._picture(0, image, target, [[]], ("car",))
    assert (picture.width, picture.height) == (800, 500)
    assert [each.box for each in picture.truth] == [(0, 0, 800, 250)] and picture.missed == (picture.truth,)


@settings(max_examples=40)
@given(
    st.lists(st.builds(box, boxes, st.sampled_from("ab")), max_size=5),
    st.lists(st.builds(box, boxes, st.sampled_from("ab"), st.floats(0.5, 1)), max_size=8),
)
def test_each_object_is_found_once_and_by_its_own_class(truth: list[ObjectBox], found: list[ObjectBox]) -> None:
    found.sort(key=lambda each: -(each.score or 0.0))
    judged = list(detections._judged(found, truth))
    assert [each for each, _ in judged] == found
    matches = [match for _, match in judged if match is not None]
    assert len(matches) == len(set(matches))
    for each, match in judged:
        near = [n for n, true in enumerate(truth) if true.label == each.label]
        near = [n for n in near if detections._overlap(each.box, truth[n].box) >= detections.MIN_OVERLAP]
        assert match in near if match is not None else set(near) <= set(matches)


@given(st.integers(1, 1000), st.integers(1, 50))
def test_images_are_spread_over_the_split(length: int, count: int) -> None:
    chosen = detections._spread(length, count)
    assert len(chosen) == min(length, count) == len(set(chosen))
    assert chosen == sorted(chosen) and 0 <= chosen[0] and chosen[-1] < length
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_weights_for_other_classes_than_the_datas_are_one_line(told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    class Data:
        class_names = ("car",)
        val = (None,)

    monkeypatch.setattr(detections, "open_detection_data", lambda settings: Data())
    assert find_detections(told, 1).missing == "the detector of job 0 has other classes than the data"


def test_without_torch_there_is_one_line(told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "models.portable", None)
    assert find_detections(told, 1).missing.startswith("torch can't be loaded (")
