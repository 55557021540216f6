"""The report page in a real browser: it draws, stays within the screen and off the network."""

import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.operations.report_inputs import EVIL, make_report_input, rename_sensors
from vae_anomaly.operations.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.integration

BROWSER = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
    },
}
PIECES = ".js-line, .js-fill, .barlayer .point path"


@dataclass
class Seen:
    """What the browser complained of or asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    report = make_report_input(num_rows=1500)
    return write_report(report, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def evil_file(tmp_path_factory) -> Path:
    report = rename_sensors(make_report_input(num_rows=600, assets=EVIL[:2]), EVIL)
    return write_report(report, tmp_path_factory.mktemp("evil") / "report.html")


@contextmanager
def opened(browser, file, screen="light") -> Iterator[tuple]:
    context = browser.new_context(**SCREENS[screen], reduced_motion="reduce")
    page, seen = context.new_page(), Seen()
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    yield page, seen
    context.close()


def draw_all(page):
    """Scroll to every chart, as a reader would, closed parts opened."""
    page.evaluate("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    charts = page.locator(".plot").all()
    for chart in charts:
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for(state="attached")
    return charts


def count_colors(png):
    """Count the different bytes of a picture; a blank one has next to none."""
    place, packed = 8, b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        packed += png[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    return len(set(zlib.decompress(packed)))


def check_width(page, screen):
    """The page must not scroll sideways; a wide table scrolls within itself."""
    widths = page.evaluate(
        "[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    )
    assert max(widths[:2]) <= SCREENS[screen]["viewport"]["width"] == widths[2]


def read_color(page, name):
    return page.evaluate(
        "(name) => { const probe = document.body.appendChild(document.createElement('i'));"
        "probe.style.color = `var(--${name})`; const color = getComputedStyle(probe).color;"
        "probe.remove(); return color; }",
        name,
    )


def read_stroke(page):
    return page.eval_on_selector("#score-1 .js-line", "(line) => line.style.stroke")


@pytest.mark.parametrize("screen", SCREENS)
def test_every_chart_has_content_and_fits_the_screen(browser, file, screen):
    with opened(browser, file, screen) as (page, seen):
        charts = draw_all(page)
        assert len(charts) == 17
        for chart in charts:
            key = chart.get_attribute("id")
            drawn = chart.locator(PIECES).evaluate_all(
                "(pieces) => pieces.filter((p) => (p.getAttribute('d') ?? '').length > 8).length"
            )
            assert drawn > 0, key
            assert count_colors(chart.screenshot()) > 40, key
        assert read_stroke(page) == read_color(page, "accent")
        check_width(page, screen)
        assert seen == Seen(requests=[file.as_uri()])


@pytest.mark.parametrize("screen", ["light", "phone"])
def test_harmful_names_are_shown_and_do_nothing(browser, evil_file, screen):
    with opened(browser, evil_file, screen) as (page, seen):
        draw_all(page)
        page.wait_for_timeout(300)
        assert page.locator("h1").inner_text() == EVIL[0]
        titles = page.locator("#event-1-blame .yaxislayer-above text").all_text_contents()
        assert {EVIL[0], EVIL[1], EVIL[3]} <= set(titles)
        headings = page.locator("#sensors h4").all_inner_texts()
        assert EVIL[2] in " ".join(headings)
        assert page.locator("img, main b, main i, main u, svg a").count() == 0
        check_width(page, screen)
        assert seen == Seen(requests=[evil_file.as_uri()])


def test_the_page_forbids_other_scripts_and_the_network(browser, file):
    with opened(browser, file) as (page, _):
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'window.intruded = true'}))"
        )
        assert page.evaluate("window.intruded") is None
        answer = "fetch('file:///etc/hostname').then(() => 'let through', () => 'refused')"
        assert page.evaluate(answer) == "refused"


def test_charts_follow_a_change_of_the_color_scheme(browser, file):
    with opened(browser, file) as (page, seen):
        draw_all(page)
        light = read_stroke(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "(old) => document.querySelector('#score-1 .js-line').style.stroke !== old", arg=light
        )
        assert read_stroke(page) == read_color(page, "accent")
        assert seen.errors == []


def test_a_link_opens_the_details_of_its_event(browser, file):
    with opened(browser, file) as (page, _):
        details = page.locator("details#event-2")
        assert details.get_attribute("open") is None
        page.locator("#events td, #events th").get_by_role("link").nth(1).click()
        page.locator("#event-2-sensors .main-svg").first.wait_for()
        assert details.get_attribute("open") is not None


def test_printing_draws_everything_on_light_ground(browser, file):
    with opened(browser, file, "dark") as (page, seen):
        dark = read_color(page, "accent")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function(
            "document.querySelectorAll('.plot').length ==="
            " document.querySelectorAll('.plot.js-plotly-plot').length"
        )
        assert read_color(page, "accent") != dark
        assert page.evaluate("document.body.scrollWidth") <= 720
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert read_color(page, "accent") == dark
        assert seen.errors == []


def test_the_score_chart_can_be_zoomed(browser, file):
    with opened(browser, file) as (page, _):
        page.locator("#score-1").scroll_into_view_if_needed()
        box = page.locator("#score-1 .nsewdrag").first.bounding_box()
        middle = box["y"] + box["height"] / 2
        before = page.evaluate("document.getElementById('score-1').layout.xaxis.range")
        page.mouse.move(box["x"] + 0.3 * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], middle, steps=5)
        page.mouse.up()
        page.wait_for_function(
            "(old) => String(document.getElementById('score-1').layout.xaxis.range) !== old",
            arg=",".join(str(edge) for edge in before),
        )
