"""The report in a browser: whole, quiet, offline, and no wider than the screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from benchmarks.report import write_report
from tests.benchmarks.browser import CHROMIUM, Browser
from tests.benchmarks.reports import ATTACKS, compared_runs, make_sequence

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")

TROUBLE = (
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
    "Page.javascriptDialogOpening",
)
PLOTS = """[...document.querySelectorAll("svg")].map(svg => {
  const box = svg.getBoundingClientRect();
  const marks = [...svg.querySelectorAll("path, use, text")].filter(mark => {
    const {fill, stroke} = getComputedStyle(mark), own = mark.getBBox();
    return own.width + own.height > 0 && !(fill === "none" && stroke === "none");
  });
  return [svg.getAttribute("aria-label"), box.width, box.height, marks.length];
})"""
UNDEFINED = """(() => {
  const root = getComputedStyle(document.documentElement);
  const used = document.documentElement.outerHTML.matchAll(/var\\((--[a-z0-9-]+)\\)/g);
  return [...new Set([...used].map(one => one[1]))].filter(one => !root.getPropertyValue(one));
})()"""
LABELS = """[...document.querySelectorAll("[id^=pareto-halo] text")].map(text => {
  const box = text.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ordinary")
    names = [f"student number {number}" for number in range(8)] + ["YOLOX + ByteTrack", "FairMOT"]
    return write(folder, names)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hostile"), list(ATTACKS), title="\n".join(ATTACKS))


def write(folder: Path, names: list[str], title: str = "Report") -> Path:
    for name in ("ONE", "TWO"):
        make_sequence(folder / "data" / name)
    runs = compared_runs(folder / "runs", names, rivals=2)
    page = folder / "report.html"
    write_report(runs, page, title=title, sources=[folder / "data"], command=title)
    return page


def assert_quiet(browser: Browser, page: Path) -> None:
    trouble = [event for event in browser.events if event["method"] in TROUBLE]
    assert not trouble, json.dumps(trouble[:3])
    asked = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert page.as_uri() in asked
    assert not [url for url in asked if not url.startswith("data:") and url != page.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_is_whole(browser: Browser, ordinary: Path, width: int, scheme: str) -> None:
    browser.open(ordinary, width, scheme)
    browser.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
    plots = browser.evaluate(PLOTS)
    # Five comparisons, the loss and its parts, and two timelines of two models.
    assert len(plots) == 5 + 2 + 4
    for label, *measures in plots:
        assert min(measures) > 0, label
        assert measures[-1] >= 5, label
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate('matchMedia("(prefers-color-scheme: dark)").matches') == (
        scheme == "dark"
    )
    assert browser.evaluate(UNDEFINED) == []
    assert_quiet(browser, ordinary)


def test_names_in_the_scatter_do_not_cover_each_other(browser: Browser, ordinary: Path) -> None:
    browser.open(ordinary, 390, "light")
    boxes = browser.evaluate(LABELS)
    assert len(boxes) == 10
    for index, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = max(other[0] - right, left - other[2], other[1] - bottom, top - other[3])
            assert apart > -1


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_words_do_nothing(browser: Browser, hostile: Path, width: int) -> None:
    browser.open(hostile, width, "light")
    assert browser.evaluate('document.querySelectorAll("script, iframe, [onerror]").length') == 0
    heading = browser.evaluate('document.querySelector("h1").textContent')
    assert "</script><img src=x onerror=alert(1)>" in heading
    assert "{{7*7}}" in heading
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert_quiet(browser, hostile)


def test_the_keyboard_finds_its_way(browser: Browser, ordinary: Path) -> None:
    browser.open(ordinary, 1280, "light")
    key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, **key)
    assert browser.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.evaluate(style) == "solid"
