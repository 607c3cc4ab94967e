"""``spnas score`` as its user meets it: JSON on standard output, notes and one-line errors on standard error."""

import json
from pathlib import Path

from tests.orchestrator.test_cli import spnas


def test_metrics_are_json_on_standard_output_and_notes_stay_off_it(tmp_path: Path) -> None:
    label = {"id": "1", "category": "car", "box2d": {"x1": 0, "y1": 0, "x2": 39, "y2": 39}, "score": 0.9}
    truth, found = tmp_path / "truth.json", tmp_path / "found.json"
    truth.write_text(json.dumps([{"name": "a.jpg", "labels": [label]}, {"name": "b.jpg"}]))
    found.write_text(json.dumps([{"name": "a.jpg", "labels": [label]}]))
    answer = spnas("score", "bdd", truth, found)
    assert answer.returncode == 0, answer.stderr
    metrics = json.loads(answer.stdout)
    assert metrics["AP50"] > 0.999 and metrics["APs"] is None and metrics["per_class"]["car"] > 0.999
    assert answer.stderr == "note: 1 of 2 frames have no detections and count as empty\n"


def test_miss_rates_take_the_other_class_for_nothing_or_ignore_it(tmp_path: Path) -> None:
    rider = {"identity": "rider", "x0": 0, "y0": 0, "x1": 40, "y1": 100, "tags": [], "children": []}
    walker = rider | {"identity": "pedestrian", "x0": 200, "x1": 240}
    (tmp_path / "truth.json").write_text(json.dumps({"identity": "frame", "children": [rider, walker]}))
    found = [rider | {"identity": "pedestrian", "score": 0.9}, walker | {"score": 0.8}]
    (tmp_path / "found.json").write_text(json.dumps({"identity": "frame", "children": found}))
    files = (tmp_path / "truth.json", tmp_path / "found.json")
    plain, lenient = spnas("score", "ecp", *files), spnas("score", "ecp", *files, "--ignore-other-vru")
    assert json.loads(plain.stdout)["LAMR"]["pedestrian"]["reasonable"] > 0.05
    assert json.loads(lenient.stdout)["LAMR"]["pedestrian"]["reasonable"] < 1e-9


def test_what_is_missing_malformed_or_another_benchmarks_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text("[")
    (tmp_path / "empty").mkdir()
    for arguments in (
        ("coco", tmp_path / "nowhere.json", tmp_path / "torn.json"),
        ("coco", tmp_path / "torn.json", tmp_path / "torn.json"),
        ("coco", tmp_path, tmp_path / "torn.json"),
        ("bdd", tmp_path / "empty", tmp_path / "torn.json"),
        ("ecp", tmp_path / "empty", tmp_path / "nowhere"),
        ("voc", tmp_path / "nowhere", tmp_path / "empty"),
        ("coco", tmp_path / "torn.json", tmp_path / "torn.json", "--split", "val"),
    ):
        answer = spnas("score", *arguments)
        assert answer.returncode == 2 and answer.stdout == "", answer.stdout
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
