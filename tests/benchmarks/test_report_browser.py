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
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of ten models with everything on it, and with hostile words wherever there are any."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("ONE", "TWO"):
        make_sequence(folder / "data" / name)
    runs = compared_runs(folder / "runs", list(ATTACKS), rivals=2)
    target, words = folder / "report.html", "\n".join(ATTACKS)
    write_report(runs, target, title=words, sources=[folder / "data"], command=words)
    return target


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
def test_the_page_is_whole(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.open(page, width, scheme)
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
    assert_quiet(browser, page)


def test_names_in_the_scatter_do_not_cover_each_other(browser: Browser, page: Path) -> None:
    browser.open(page, 390, "light")
    boxes = browser.evaluate(LABELS)
    assert len(boxes) == 10
    for index, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = max(other[0] - right, left - other[2], other[1] - bottom, top - other[3])
            # The typefaces of emoji differ in width from the one that measures.
            assert apart > -3


def test_hostile_words_do_nothing(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, "light")
    assert browser.evaluate('document.querySelectorAll("script, iframe, [onerror]").length') == 0
    heading = browser.evaluate('document.querySelector("h1").textContent')
    assert "</script><img src=x onerror=alert(1)>" in heading
    assert "{{7*7}}" in heading
    assert_quiet(browser, page)


def test_the_keyboard_finds_its_way(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, "light")
    key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, **key)
    assert browser.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.evaluate(style) == "solid"
