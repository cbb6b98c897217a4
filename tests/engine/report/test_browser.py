"""The pages in a real browser, where one is installed: no error, images load, filters work, a phone is wide enough."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.artifacts.run_files import read_run
from engine.report.blocks.cases import FIRST_CASES
from engine.report.run_page import write_report
from engine.report.study_page import write_study as write_page
from engine.study.contrasts import make_study
from engine.study.run_replicates import open_replicate
from tests.engine.report import pictures_of_docs
from tests.engine.report.fake_run import make_run
from tests.engine.study.fake_study import write_study

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
    "--dump-dom",
]
PROBE = """<script>
window.addEventListener("load", () => {
  const tell = (seen) => { window.parent.document.documentElement.dataset.probe = JSON.stringify(seen); };
  const set = (id, value) => {
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change", {bubbles: true}));
  };
  const cases = () => [...document.querySelectorAll(".case")].filter((c) => c.checkVisibility());
  const samples = () => [...document.querySelectorAll("[data-verdict]")].filter((c) => c.checkVisibility());
  const form = document.getElementById("filters");
  const seen = {
    width: window.innerWidth,
    broken: [...document.images].filter((i) => !i.complete || i.naturalWidth === 0).length,
    images: document.images.length, all: cases().length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    unreachable: [...document.querySelectorAll(".scroll, pre")].filter((e) => e.tabIndex !== 0).length,
    unnamed: [...document.querySelectorAll("select, button, [role=region], [role=img], nav, svg:not([aria-hidden])")]
      .filter((e) => !(e.labels?.length || e.closest("[aria-label]") || e.textContent.trim())).length,
    filters: Boolean(form) && !form.hidden };
  if (!form) return tell(seen);
  const strip = document.querySelector(".thumbs"), dialog = document.getElementById("enlarged");
  const [first, second] = strip.querySelectorAll("button");
  seen.stops = [...strip.querySelectorAll("button")].filter((b) => b.tabIndex === 0).length;
  first.focus();
  first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  seen.moved = document.activeElement === second && second.tabIndex === 0;
  second.click();
  const same = dialog.querySelector("img").src === second.querySelector("img").src;
  seen.enlarged = [dialog.open, same, dialog.querySelector("p").textContent];
  dialog.querySelector("form button").click();
  seen.closed = !dialog.open && document.activeElement === second;
  const toc = document.querySelector("nav");
  window.scrollTo({top: 4000, behavior: "instant"});
  seen.sticky = toc.getBoundingClientRect().top >= 0;
  window.scrollTo({top: 0, behavior: "instant"});
  const more = document.getElementById("more-cases");
  seen.folded = !more.open;
  seen.edges = [...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth)
    .map((e) => getComputedStyle(e).backgroundAttachment);
  set("filter-dx", "nv"); seen.nv = cases().length; seen.kinds = [...new Set(cases().map((c) => c.dataset.dx))];
  set("filter-verdict", "rejected"); seen.verdicts = [...new Set(samples().map((s) => s.dataset.verdict))];
  seen.said = document.getElementById("filter-count").textContent;
  form.reset();
  setTimeout(() => { seen.again = cases().length; tell(seen); }, 50);
});
</script></body>"""
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")


def look(page: str, folder: Path, width: int) -> dict[str, Any]:
    """Open a page ``width`` pixels wide, in a frame (a browser's window is 500 at least); return what the probe saw."""
    probed = page.replace("</body>", PROBE)
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(probed, quote=True)}"></iframe>'
    outer = folder / f"probed_{width}.html"
    outer.write_text(f'<!doctype html><body style="margin:0">{frame}</body>', encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(BROWSER), *FLAGS, f"--window-size={max(500, width)},900", profile, outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-500:]
    seen: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    assert seen["width"] == width and seen["overflow"] <= 0 and seen["broken"] == 0
    assert seen["unreachable"] == seen["unnamed"] == 0
    return seen


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("run") / "demo", lesions=220, cache=True))


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    paths = write_study(root / "runs", lesions=300, replicates=2)
    files = [read_run(path) for path in paths]
    study = make_study([open_replicate(run) for run in files], draws=50)
    return write_page(study, files, root, "a study")[0]


@pytest.mark.parametrize("width", [1440, 390])
def test_page_of_a_run_in_a_browser(run_page: Path, tmp_path: Path, width: int) -> None:
    seen = look(run_page.read_text(encoding="utf-8"), tmp_path, width)
    assert seen["images"] > 50 and seen["filters"]
    assert seen["folded"] and seen["all"] == FIRST_CASES, "the others unfold when somebody filters"
    assert seen["again"] > FIRST_CASES and 0 < seen["nv"] < seen["again"] and seen["kinds"] == ["nv"]
    assert seen["verdicts"] == ["rejected"]
    assert re.fullmatch(rf"\d+ of {seen['again']} cases", seen["said"])
    assert seen["stops"] == 1 and seen["moved"] and seen["closed"], (
        "a strip is one stop; arrow keys move in it"
    )
    shown, same, said = seen["enlarged"]
    assert shown and same and said.startswith("train image ")
    if width == 390:
        assert len(seen["edges"]) > 3, "a phone cuts tables"
    assert set(seen["edges"]) <= {"local, local, scroll, scroll"}, "a shade where a table goes on"
    assert seen["sticky"] == (width == 1440), "the contents stay in sight where there is room"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_of_a_study_in_a_browser(study_page: Path, tmp_path: Path, width: int) -> None:
    assert not look(study_page.read_text(encoding="utf-8"), tmp_path, width)["filters"]


def test_page_prints_on_a_dozen_pages(run_page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    flags = [flag for flag in FLAGS if flag != "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(BROWSER), *flags, profile, f"--print-to-pdf={paper}", run_page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert paper.is_file(), done.stderr[-500:]
    printed = paper.read_bytes()
    assert printed.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="no pdftoppm on this machine")
def test_pictures_of_the_docs_are_of_the_sizes_that_the_docs_show(run_page: Path, tmp_path: Path) -> None:
    pictures_of_docs.main(run_page.parent, tmp_path, run_page)
    for picture in sorted(tmp_path.rglob("*.*")):
        kept = pictures_of_docs.DOCS / picture.relative_to(tmp_path)
        with Image.open(picture) as new, Image.open(kept) as shown:
            assert new.size == shown.size or picture.name == "missed.png", picture.name
        assert kept.stat().st_size < 100_000
    assert len(list(tmp_path.rglob("*.*"))) == 7
