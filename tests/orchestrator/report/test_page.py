import base64
import hashlib
import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.report import page as page_module
from orchestrator.report.comparison import compare
from orchestrator.report.detections import Detections, Detector, ObjectBox, Picture
from orchestrator.report.library import chart_library
from orchestrator.report.page import comparison_page, report_page
from orchestrator.report.payload import embedded
from orchestrator.report.story import Story
from tests.conftest import REPOSITORY
from tests.orchestrator.report.pages import HOSTILE, Page, hostile, parse

HERE = Path(page_module.__file__).parent
SECTIONS = "overview trajectory costs architecture lineage counter workers failures candidates config".split()


def sections(page: Page) -> list[str]:
    return [values["id"] for values in page.all("section")]


def detections() -> Detections:
    true = ObjectBox(box=(10, 20, 60, 80), label=HOSTILE, score=None, is_right=True)
    found = ObjectBox(box=(12, 20, 60, 80), label=HOSTILE, score=0.9, is_right=True)
    wrong = ObjectBox(box=(50, 20, 90, 80), label="car", score=0.6, is_right=False)
    picture = Picture(
        index=7,
        data=b"a picture",
        media_type="image/jpeg",
        width=100,
        height=90,
        truth=(true,),
        found=((wrong,), (found,)),
        missed=((true,), ()),
    )
    detectors = (Detector(name="start", index=0, score=0.3), Detector(name="best", index=9, score=0.4))
    return Detections(detectors=detectors, pictures=(picture,))


def test_every_section_of_a_search_is_there_and_in_the_navigation(paper_story: Story) -> None:
    page = parse(report_page(paper_story))
    assert sections(page) == SECTIONS
    assert [values["href"] for values in page.all("a") if values["href"].startswith("#")][1:] == [
        f"#{name}" for name in SECTIONS
    ]
    labels = {values["aria-labelledby"] for values in page.all("section")}
    assert labels <= {values.get("id") for values in page.all("h2")}


def test_the_page_names_nothing_outside_itself(paper_story: Story) -> None:
    for text in (report_page(paper_story, detections()), comparison_page(compare([paper_story]), 0.0)):
        page = parse(text)
        for _, values in page.elements:
            for name in ("src", "href", "action", "poster", "srcset"):
                assert values.get(name, "#").startswith(("#", "data:")), values
            assert "style" not in values and not any(name.startswith("on") for name in values)
        assert not page.all("link") and not page.all("iframe") and not page.all("object")
        assert "@import" not in text and "url(" not in page.inside("style")[0]


def test_the_policy_lets_run_what_is_inlined_and_nothing_else(paper_story: Story) -> None:
    page = parse(report_page(paper_story))
    policy = next(values["content"] for values in page.all("meta") if values.get("http-equiv"))
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"] and rules["base-uri"] == ["'none'"] and rules["img-src"] == ["data:"]
    for tag in ("script", "style"):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.inside(tag)]
        assert rules[f"{tag}-src"] == [f"'sha256-{digest}'" for digest in digests]


@pytest.mark.parametrize("name", ["paper_story", "msnas_story"])
def test_hostile_text_from_a_run_stays_text(name: str, request: pytest.FixtureRequest) -> None:
    story: Story = request.getfixturevalue(name)
    tame, page = parse(report_page(story, detections())), parse(report_page(hostile(story), detections()))
    assert not page.all("img") and len(page.all("script")) == len(tame.all("script"))
    assert sections(page) == sections(tame)
    assert page.data["trials"]["architecture"]["names"] == [HOSTILE]
    assert page.data["trials"]["error"]["names"] == [HOSTILE]
    assert HOSTILE in page.inside("h1")[0] and HOSTILE in page.inside("pre")[1]


def test_embedded_data_ends_no_element_whatever_it_holds() -> None:
    text = embedded({"</script>": ["<!--", "&lt;", "]]>", "\u2028", "\x00", "é"]})
    assert text.isascii() and not re.search("[<>&]", text)


def test_a_comparison_names_runs_groups_and_states(paper_story: Story) -> None:
    other = replace(paper_story, facts=replace(paper_story.facts, name="again", address="/runs/again", state="gone"))
    page = parse(comparison_page(compare([paper_story, other]), 0.0))
    assert sections(page) == ["overview", "candidates", "hours", "config"]
    assert [curve["name"] for curve in page.data["curves"]] == ["paper", "again"]
    assert len(page.data["groups"]) == 1 and "complete" in page.text and "not running" in page.text


def test_detections_stand_side_by_side_with_the_picture_once(paper_story: Story) -> None:
    page = parse(report_page(paper_story, detections()))
    assert len(page.all("image")) == 1 and [values["href"] for values in page.all("use")] == ["#picture-7"]
    assert page.all("image")[0]["href"] == f"data:image/jpeg;base64,{base64.b64encode(b'a picture').decode()}"
    labels = [values["aria-label"] for values in page.all("svg") if values.get("class") == "picture"]
    assert labels == ["image 7, 0 of 1 objects found, 1 wrong", "image 7, 1 of 1 objects found"]


def test_without_detections_the_reason_stands_there(paper_story: Story) -> None:
    assert "None are shown: no data at /x." in parse(report_page(paper_story, Detections(missing="no data at /x"))).text


def test_a_single_training_shows_its_metrics_and_no_charts_of_a_search(paper_story: Story) -> None:
    first = replace(paper_story.trials[0], is_best=True)
    story = replace(
        paper_story,
        trials=(first,),
        phases=paper_story.phases[:1],
        baselines=(),
        reignitions=(),
        front=(0,),
        networks=paper_story.networks[:1],
        lineage=paper_story.lineage[:1],
        attempts=paper_story.attempts[:1],
        failures=(),
    )
    page = parse(report_page(story))
    assert sections(page) == ["overview", "architecture", "workers", "failures", "candidates", "config"]
    assert "AP75" in page.text and "No job failed" in page.text
    assert any("open" in values for values in page.all("details"))


def test_a_run_that_goes_on_says_when_it_was_looked_at(paper_story: Story) -> None:
    story = replace(paper_story, facts=replace(paper_story.facts, state="running", made_at=1.8e9))
    assert "running; this page shows it as it was at 2027-01-15 08:00 UTC" in parse(report_page(story)).text


def test_ten_thousand_jobs_stay_under_15_megabytes(paper_story: Story) -> None:
    trials = tuple(
        replace(
            trial,
            index=index,
            architecture=f"BNB(1111111111,d1111111111,d1111111111,d1111111111)+({index})",
            morphs=tuple(f"swap({index + k})" for k in range(8)),
            metrics={f"AP/class {k}": 0.123456789 + index / 7e6 for k in range(30)},
            notes=f"backbone.fpn.inner_blocks.{index} is refitted, R2 0.849",
        )
        for index, trial in enumerate(paper_story.trials[i % len(paper_story.trials)] for i in range(10_000))
    )
    attempts = tuple(replace(paper_story.attempts[0], job=index) for index in range(11_000))
    text = report_page(replace(paper_story, trials=trials, attempts=attempts))
    assert len(text.encode()) < 15e6


def test_every_file_that_the_page_is_made_of_is_in_the_package() -> None:
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    names = [str(path.relative_to(HERE.parent)) for path in files]
    assert len(names) > 10
    assert all(any(fnmatch(name, pattern) for pattern in patterns["orchestrator"]) for name in names)


def test_a_page_holds_the_chart_library_with_its_licence(paper_story: Story) -> None:
    assert "Licensed to the Apache Software Foundation" in chart_library()
    assert chart_library() in report_page(paper_story)


def test_a_missing_chart_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.report.library.find_spec", lambda name: None)
    with pytest.raises(UserError, match="panel is not installed.*constraints.txt"):
        chart_library.__wrapped__()


def test_text_can_be_read_in_light_and_dark() -> None:
    """WCAG's contrast for normal text is 4.5, for what is drawn 3."""
    style = (HERE / "assets" / "page.css").read_text()
    pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w+, #\w+)\)", style))
    colours = {name: pair.split(", ") for name, pair in pairs.items()}
    for scheme in (0, 1):
        grounds = [colours[name][scheme] for name in ("page", "card", "band")]
        for names, least in (("text soft accent best good bad warn", 4.5), ("dot muted", 3)):
            for name in names.split():
                assert min(contrast(colours[name][scheme], ground) for ground in grounds) >= least, (name, scheme)
        for box in ("box", "new", "moved"):
            assert contrast(colours["text"][scheme], colours[box][scheme]) >= 4.5


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
