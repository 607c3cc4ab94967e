"""Metrics as tables."""

import io

from rich.console import Console

from orchestrator.result_tables import result_parts


def shown(metrics: dict[str, float]) -> list[list[str]]:
    """The words of every line."""
    console = Console(file=io.StringIO(), width=100)
    for part in result_parts(metrics):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [words for line in console.file.getvalue().splitlines() if (words := line.split()) and "─" not in line]


def test_classes_stand_apart_from_what_is_over_all_of_them() -> None:
    metrics = {"AP": 0.25, "AP50": 0.5, "AP50/11-point": 0.4, "AP/car": 0.3, "AP/A": 0.2, "masks/AP": 0.1}
    metrics |= {"masks/AP/A": 0.05}
    assert shown(metrics) == [
        ["metric", "%", "masks", "%"],
        ["AP", "25.00", "10.00"],
        ["AP50", "50.00"],
        ["AP50/11-point", "40.00"],
        ["class", "AP", "masks/AP"],
        ["car", "30.00"],
        ["A", "20.00", "5.00"],
    ]


def test_what_was_measured_at_steps_has_a_row_for_each_step() -> None:
    metrics = {"AP": 0.25, "step 0/AP": 0.1, "step 0/loss": 1.25, "step 40/AP": 0.2, "step 40/loss": 0.5}
    assert shown(metrics) == [
        ["metric", "%"],
        ["AP", "25.00"],
        ["step", "AP", "loss"],
        ["0", "10.00", "1.25"],
        ["40", "20.00", "0.50"],
    ]


def test_miss_rates_have_a_column_for_each_subset() -> None:
    metrics = {"LAMR": 0.1, "LAMR/rider/small": 0.2, "LAMR/rider/all": 0.3, "AP/rider": 0.9}
    assert shown(metrics) == [
        ["metric", "%"],
        ["LAMR", "10.00"],
        ["class", "LAMR/small", "LAMR/all", "AP"],
        ["rider", "20.00", "30.00", "90.00"],
    ]


def test_speed_is_no_percentage() -> None:
    assert shown({"images_per_second": 31.25, "latency_ms": 30.0}) == [
        ["31.2", "images/s,", "30.0", "ms", "for", "the", "median", "image"]
    ]
