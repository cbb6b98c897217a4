"""The page in a real browser with real key presses: answers, undo, a killed server, two readers, screens, hostile names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.artifacts import labels
from engine.artifacts.review import read_verdicts
from engine.artifacts.run_layout import RunLayout
from tests.engine.report.fake_run import make_run as make_report
from tests.engine.review.chromium import BROWSER, Chromium, Page, chromium
from tests.engine.review.reviewable import make_run, photographs
from tests.engine.review.served import Served, served

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine"),
    pytest.mark.slow,
]
READY = "!!document.body.dataset.shown && !document.body.hasAttribute('aria-busy')"
HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def shared(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Served]]:
    """One server for tests whose readers have names of their own."""
    folder = tmp_path_factory.mktemp("shared") / "runs"
    shutil.copytree(made.parent, folder)
    with served(folder / made.name) as server:
        yield folder / made.name, server


def begin(browser: Chromium, server: Served, name: str = "Ana", work: str = "diagnose") -> Page:
    """Open the printed address, give a name with the keyboard, and begin a work list with the mouse."""
    page = browser.page(private=True)
    page.screen(1280, 800)
    page.open(server.address)
    page.until("document.activeElement.id === 'name'")
    page.type(name)
    page.press("Enter")
    page.until("document.querySelectorAll('.card').length === 3")
    page.click(f"a[href='/list/{work}']")
    page.until(READY)
    return page


def press(page: Page, *keys: str) -> None:
    """Press keys that answer or undo, each when the image before is on the screen."""
    for key in keys:
        before = page.value("document.getElementById('standing').textContent + document.body.dataset.shown")
        page.press(key)
        page.until(
            f"document.getElementById('standing').textContent + document.body.dataset.shown !== {before!r}"
            " && !document.body.hasAttribute('aria-busy')"
        )


def said(run: Path) -> list[tuple[str, str, str]]:
    return [(a.reader, a.kind, a.dx) for a in labels.read(run)]


def test_keys_answer_and_undo_and_a_killed_server_loses_nothing(run: Path, browser: Chromium) -> None:
    with served(run) as server:
        page = begin(browser, server)
        press(page, "6", "5", "x")
        assert said(run) == [("Ana", "label", "nv"), ("Ana", "label", "mel"), ("Ana", "unsure", "")]
        press(page, "u")
        assert said(run)[3] == ("Ana", "withdrawn", "") and "2 of 8 done" in page.value(
            "document.body.innerText"
        )
        press(page, "1")
        assert "The model said:" in page.value("document.getElementById('last').innerText")
        server.kill()
        kept = said(run)
        page.press("2")
        page.until("!document.getElementById('problem').hidden && !document.body.hasAttribute('aria-busy')")
        assert "does not answer" in page.value("document.getElementById('problem').innerText")
        assert "3 of 8 done" in page.value("document.getElementById('standing').textContent")
        assert said(run) == kept
    assert {address.split("/")[2] for address in page.requested} == {server.origin.split("/")[2]}
    assert [line for line in page.console if "ERR_CONNECTION" not in line] == []
    with served(run) as again:
        page = begin(browser, again)
        assert "3 of 8 done" in page.value("document.getElementById('standing').textContent")
        press(page, "2")
        assert said(run) == [*kept, ("Ana", "label", "bcc")]


def test_two_readers_at_once_and_a_page_without_the_token(
    shared: tuple[Path, Served], browser: Chromium
) -> None:
    run, server = shared
    ana, bo = begin(browser, server, "Ana"), begin(browser, server, "Bo")
    first = ana.value("document.body.dataset.shown")
    assert bo.value("document.body.dataset.shown") == first
    press(ana, "6")
    press(bo, "5", "5")
    press(ana, "u", "1")
    found = labels.standing(labels.read(run))
    assert {a.reader: a.dx for a in next(iter(found.values())).values()} == {"Ana": "akiec", "Bo": "mel"}
    assert "1 of 8" in ana.value("document.body.innerText") and "Bo" not in ana.value(
        "document.body.innerText"
    )
    stranger = browser.page(private=True)
    stranger.open(f"{server.origin}/list/diagnose")
    assert "refused" in stranger.value("document.body.innerText")


def test_verdicts_by_key(run: Path, browser: Chromium) -> None:
    with served(run) as server:
        page = begin(browser, server, work="judge")
        press(page, "a", "r", "u", "a", "r", "r")
        assert "All done" in page.value("document.getElementById('finished').innerText")
    verdicts = read_verdicts(RunLayout(run).review(1, "hard"))
    assert list(verdicts.values()) == ["accept", "accept", "reject", "reject"]


def test_help_zoom_and_what_is_typed_elsewhere_answers_nothing(
    shared: tuple[Path, Served], browser: Chromium
) -> None:
    run, server = shared
    page = begin(browser, server, "Cleo")
    page.press("?")
    page.until("document.getElementById('keys').open")
    page.press("6")
    page.press("Escape")
    page.until("!document.getElementById('keys').open")
    assert "Cleo" not in {reader for reader, _, _ in said(run)}
    scale = "Number(document.getElementById('stage').dataset.scale)"
    page.press("+")
    assert page.value(scale) == 1.5
    page.press("ArrowRight")
    assert "translate(-60px" in page.value("document.getElementById('image').style.transform")
    page.press("f")
    assert page.value(scale) == 1.0
    box = page.value("(() => { const b = document.getElementById('stage').getBoundingClientRect();"
                     " return [b.x + b.width / 4, b.y + b.height / 4]; })()")  # fmt: skip
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=box[0], y=box[1], deltaX=0, deltaY=-300)
    page.until(f"{scale} > 1.5")
    press(page, "6")
    assert page.value(scale) == 1.0, "the next image is whole again"


@pytest.mark.parametrize(
    ("width", "height", "touch"), [(1280, 800, False), (390, 844, True), (820, 1180, True)]
)
def test_screens_and_what_a_screen_reader_is_told(
    shared: tuple[Path, Served], browser: Chromium, width: int, height: int, touch: bool
) -> None:
    _, server = shared
    page = begin(browser, server, f"Dora {width}")
    press(page, "6")
    page.screen(width, height, touch=touch)
    assert page.value("document.documentElement.scrollWidth") <= width
    small = page.value(
        "[...document.querySelectorAll('button, .button')].filter((e) => e.offsetParent)"
        ".filter((e) => { const b = e.getBoundingClientRect(); return b.width < 44 || b.height < 44; })"
        ".map((e) => e.outerHTML)"
    )
    assert small == []
    unnamed = page.value(
        "[...document.querySelectorAll('button, input, progress, section, img, [role=group], [role=toolbar]')]"
        ".filter((e) => !e.hidden && !e.textContent.trim() && !e.ariaLabel && !e.alt && !e.labels?.length"
        " && !e.closest('#neighbours')).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    regions = "['header', 'main', 'footer', 'h1', '[aria-live]'].filter((s) => !document.querySelector(s))"
    assert page.value(regions) == []


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_of_text_is_at_least_four_and_a_half(
    shared: tuple[Path, Served], browser: Chromium, dark: bool
) -> None:
    _, server = shared
    page = begin(browser, server, f"Eve {dark}")
    press(page, "6")
    page.screen(1280, 800, dark=dark)
    page.until(f"document.documentElement.dataset.theme === '{'dark' if dark else 'light'}'")
    assert page.value(CONTRAST) == []


def test_hostile_names_are_shown_and_never_run(tmp_path: Path, browser: Chromium) -> None:
    root = photographs(tmp_path / "data", names={"mel": HOSTILE, "nv": "</script><b>nv"})
    run = make_run(tmp_path / "runs", root, questions=3, malignant=[HOSTILE])
    with served(run) as server:
        page = begin(browser, server, HOSTILE.replace('"', "'"))
        page.click("[data-choice^='label:<img']")
        page.until("document.getElementById('standing').textContent.startsWith('1 of 3') && " + READY)
        text = page.value("document.body.innerText")
        assert text.count("onerror=") >= 3 and page.value("document.title") != "1"
        assert page.value("document.querySelectorAll('img[onerror], main b').length") == 0
    assert (labels.read(run)[0].dx, page.console) == (HOSTILE, [])


def test_the_watched_page_refreshes_without_losing_its_place(tmp_path: Path, browser: Chromium) -> None:
    run = make_report(tmp_path / "demo", lesions=220)
    with served(run, command="watch") as server:
        page = browser.page(private=True)
        page.screen(1280, 800)
        page.open(server.address)
        page.until("document.querySelectorAll('.chart').length === 7")
        page.value("window.scrollTo(0, 900)")
        text = (run / "report.json").read_text()
        (run / "report.json").write_text(text.replace("2 of 2 planned rounds are done", "a new reason"))
        page.until("document.body.innerText.includes('a new reason')")
        assert page.value("window.scrollY") == 900
    assert page.console == []


CONTRAST = """(() => {
  const light = (c) => c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter((e) => e.offsetParent
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return texts.map((e) => {
    const [a, b] = [light(numbers(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""
"""WCAG 2.1, 1.4.3: texts whose contrast is below 4.5."""
