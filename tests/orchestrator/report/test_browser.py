"""The page in a real browser: Chromium and its driver, as the distribution has them (chromium, chromium-driver)."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from orchestrator.report.comparison import compare
from orchestrator.report.page import comparison_page, report_page
from orchestrator.report.story import Story
from tests.orchestrator.report.pages import hostile
from tests.orchestrator.report.test_page import detections

PHONE, TABLET, DESKTOP = 360, 768, 1280
WAIT_S = 60


def program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or pytest.skip(f"no {names[0]} on this machine; apt-get install chromium chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
    options = ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium's own needs another user
    for flag in flags:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    chrome.set_script_timeout(WAIT_S)
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def pages(paper_story: Story, msnas_story: Story, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    again = replace(paper_story, facts=replace(paper_story.facts, name="again", address="/again", seed=1))
    texts = {
        "paper": report_page(paper_story, detections()),
        "msnas": report_page(msnas_story),
        "hostile": report_page(hostile(paper_story), detections()),
        "comparison": comparison_page(compare([paper_story, again]), 0.0),
    }
    paths = {name: folder / f"{name}.html" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text)
    return paths


def until(what: Callable[[], Any]) -> Any:
    """What becomes true, once it has; a browser needs its time."""
    end = time.monotonic() + WAIT_S
    while not (value := what()):
        assert time.monotonic() < end, "the browser did not come to it"
        time.sleep(0.02)
    return value


def look(browser: Chrome, width: int, scheme: str) -> None:
    """Take another window and another colour scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def opened(browser: Chrome, path: Path, width: int = DESKTOP, scheme: str = "light") -> None:
    """Open a page, all its charts drawn."""
    look(browser, width, scheme)
    browser.get(path.as_uri())
    until(lambda: browser.execute_script("return document.body.dataset.ready"))
    browser.execute_script("for (const chart of Chart.all.values()) chart.draw()")


def column(browser: Chrome, number: int) -> list[str]:
    """The cells in view of the table of jobs."""
    return browser.execute_script(  # type: ignore[no-any-return]
        "const rows = [...document.querySelectorAll('#table tbody tr:not(.filler)')];"
        "return rows.map(row => row.cells[arguments[0]].innerText)",
        number,
    )


def note(browser: Chrome) -> str:
    """The note beside the pointer, "" while there is none."""
    box = browser.find_element(By.ID, "tip")
    return box.text if box.is_displayed() else ""


@pytest.mark.parametrize("name", ["paper", "msnas", "comparison", "hostile"])
def test_pages_open_at_every_size_in_light_and_dark_without_a_word_on_the_console(
    name: str, browser: Chrome, pages: dict[str, Path]
) -> None:
    opened(browser, pages[name])
    for width, scheme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "dark"), (TABLET, "light")):
        look(browser, width, scheme)
        fits = "return [...Chart.all.values()].every(chart => chart.drawn && chart.width === chart.place.clientWidth)"
        until(lambda: browser.execute_script(f"{fits} && innerWidth === arguments[0]", width))  # noqa: B023
        inner = browser.execute_script("return document.documentElement.scrollWidth")
        assert inner <= width, f"{width} pixels are too few"
    assert browser.get_log("browser") == []
    assert not browser.execute_script("return window.owned")


def test_what_is_compared_fills_its_charts(browser: Chrome, pages: dict[str, Path]) -> None:
    """A band that is drawn elsewhere than its lines would stretch the axes."""
    opened(browser, pages["comparison"])
    ends = browser.execute_script(
        "return [...Chart.all.values()].map(({drawn, extent}) => {"
        "  const at = (x, y) => drawn.convertToPixel({xAxisIndex: 0, yAxisIndex: 0}, [x, y]);"
        "  const [left, bottom] = at(extent.x.low, extent.y.low), [right, top] = at(extent.x.high, extent.y.high);"
        "  return [(right - left) / drawn.getWidth(), (bottom - top) / drawn.getHeight()];"
        "})"
    )
    assert len(ends) == 2 and all(width > 0.6 and height > 0.3 for width, height in ends), ends


def test_colours_follow_the_system_until_they_are_chosen(browser: Chrome, pages: dict[str, Path]) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = {}
    opened(browser, pages["paper"])
    for scheme in ("light", "dark"):
        look(browser, DESKTOP, scheme)
        seen[scheme] = browser.execute_script(background)
    Select(browser.find_element(By.ID, "theme")).select_by_value("light")
    assert seen["light"] != seen["dark"] and browser.execute_script(background) == seen["light"]
    browser.refresh()
    assert browser.execute_script(background) == seen["light"]
    Select(browser.find_element(By.ID, "theme")).select_by_value("")
    assert browser.execute_script(background) == seen["dark"]


def test_the_table_is_sorted_by_click_and_by_key(browser: Chrome, pages: dict[str, Path], paper_story: Story) -> None:
    opened(browser, pages["paper"])
    scores = sorted((trial.score for trial in paper_story.trials if trial.score is not None), reverse=True)
    head = browser.find_elements(By.CSS_SELECTOR, "#table th")[1]
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(browser, 1)[:10] == [f"{100 * score:.2f}" for score in scores[:10]]
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(browser, 1)[0] == f"{100 * scores[-1]:.2f}"


def test_the_table_is_filtered_and_its_rows_open(browser: Chrome, pages: dict[str, Path], paper_story: Story) -> None:
    opened(browser, pages["paper"])
    failed = [trial for trial in paper_story.trials if trial.status == "failed"]
    status = Select(browser.find_element(By.ID, "filter-status"))
    status.select_by_value("failed")
    until(lambda: column(browser, 0) == [f"#{trial.index}" for trial in failed] != [])
    status.select_by_value("")
    browser.find_element(By.ID, "filter-text").send_keys("pretrain")
    until(lambda: set(column(browser, 5)) == {"pretrain"})
    assert f"of {len(paper_story.trials)} jobs" in browser.find_element(By.ID, "table-count").text
    browser.find_element(By.ID, "filter-text").clear()
    browser.find_element(By.ID, "filter-text").send_keys(f"#{failed[0].index} ")
    until(lambda: column(browser, 0) == [f"#{failed[0].index}"])
    browser.find_element(By.CSS_SELECTOR, "#table tbody button").click()
    dialog = browser.find_element(By.ID, "details")
    until(lambda: dialog.is_displayed())
    assert failed[0].error in dialog.text and failed[0].architecture in dialog.text
    dialog.find_element(By.CLASS_NAME, "close").click()
    until(lambda: not dialog.is_displayed())


def test_pointing_at_a_job_tells_what_it_is(browser: Chrome, pages: dict[str, Path], paper_story: Story) -> None:
    opened(browser, pages["paper"])
    best = paper_story.best
    assert best is not None
    chart = browser.find_element(By.ID, "chart-trajectory")
    browser.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto'; arguments[0].scrollIntoView()", chart
    )
    x, y, width, height = browser.execute_script(
        "const chart = Chart.all.get('trajectory'), point = chart.points.find(p => trials.is_best[p.row]);"
        "return [...chart.toPixels()(point), chart.place.clientWidth, chart.place.clientHeight]"
    )
    ActionChains(browser).move_to_element_with_offset(chart, x - width / 2, y - height / 2).perform()
    said = until(lambda: note(browser))
    assert (
        f"#{best.index} {best.role}" in said and best.architecture in said and f"{100 * (best.score or 0):.2f}" in said
    )
    assert all(morph in said for morph in best.morphs)


def test_the_arrow_keys_go_from_job_to_job(browser: Chrome, pages: dict[str, Path]) -> None:
    opened(browser, pages["paper"])
    chart = browser.find_element(By.ID, "chart-trajectory")
    chart.send_keys(Keys.HOME)
    until(lambda: note(browser).startswith("#0 start"))
    chart.send_keys(Keys.ARROW_RIGHT)
    until(lambda: note(browser).startswith("#1 "))
    chart.send_keys(Keys.ENTER)
    until(lambda: browser.find_element(By.ID, "details-title").text.startswith("#1 "))


def test_ten_thousand_jobs_are_few_elements_and_the_last_can_be_reached(
    browser: Chrome, paper_story: Story, tmp_path: Path
) -> None:
    rows = [paper_story.trials[i % len(paper_story.trials)] for i in range(10_000)]
    trials = tuple(replace(trial, index=index) for index, trial in enumerate(rows))
    (tmp_path / "long.html").write_text(report_page(replace(paper_story, trials=trials)))
    browser.get((tmp_path / "long.html").as_uri())
    until(lambda: browser.execute_script("return document.body.dataset.ready"))
    assert browser.execute_script("return document.querySelectorAll('*').length") < 4000
    browser.execute_script("document.getElementById('table').scrollTop = 1e9")
    assert until(lambda: column(browser, 0)[-1] == "#9999")
    assert browser.get_log("browser") == []
