"""Takes the pictures of docs/report.md and of the site's first page: ``python -m tests.engine.report.pictures_of_docs RUN``.

RUN is the folder of a run, for the docs that of `hardcase demo`. ``make docs`` comes first; needs Chromium and pdftoppm.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.engine.review.chromium import BROWSER, Page, chromium

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "docs" / "index.html"
SCREEN, PHONE = (1440, 900), (500, 900)
START_PAGE, START_PAGE_PHONE = (1300, 1000), (500, 900)
PAPER_PIXELS = 770
"""Height of the printed page."""


def main(run: Path, target: Path = DOCS, site: Path = SITE) -> None:
    """Take five pictures of a report and two of the site."""
    page_of_run = (run / "report.html").resolve()
    (target / "report").mkdir(parents=True, exist_ok=True)
    (target / "site").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        with chromium(Path(place) / "profile") as browser:
            page = browser.page()
            for name, size, dark in (
                ("desktop", SCREEN, False),
                ("dark", SCREEN, True),
                ("phone", PHONE, False),
            ):
                page.screen(*size, dark=dark)
                page.open(page_of_run.as_uri())
                take(page, target / "report" / f"{name}.png")
            page.screen(*SCREEN)
            page.open(page_of_run.as_uri())
            page.value("document.documentElement.style.scrollBehavior = 'auto'; location.hash = 'missed'")
            take(page, target / "report" / "missed.png", box=(250, 0, 1440, 690))
            for name, size in (("start_page", START_PAGE), ("start_page_phone", START_PAGE_PHONE)):
                page.screen(*size)
                page.open(site.resolve().as_uri())
                take(page, target / "site" / f"{name}.webp")
        first_printed_page(page_of_run, Path(place), target / "report" / "print.png")


def take(page: Page, path: Path, box: tuple[int, int, int, int] | None = None) -> None:
    """Save what the screen shows, or a box of it; PNG in 128 colours."""
    shot = path.with_suffix(".shot.png")
    page.picture(shot)
    save(shot, path, box)


def save(shot: Path, path: Path, box: tuple[int, int, int, int] | None = None) -> None:
    with Image.open(shot) as found:
        image = found.convert("RGB").crop(box) if box else found.convert("RGB")
    shot.unlink()
    if path.suffix == ".webp":
        image.save(path, quality=80, method=6)
    else:
        image.quantize(128, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


def first_printed_page(page: Path, place: Path, path: Path) -> None:
    paper, flags = place / "page.pdf", ("--headless", "--no-sandbox", "--disable-gpu")
    profile = f"--user-data-dir={place / 'printer'}"
    call = [str(BROWSER), *flags, profile, f"--print-to-pdf={paper}", "--no-pdf-header-footer", page.as_uri()]
    subprocess.run(call, check=True, capture_output=True, timeout=120)
    scale = ["-png", "-singlefile", "-scale-to-x", "-1", "-scale-to-y", str(PAPER_PIXELS)]
    subprocess.run(["pdftoppm", *scale, str(paper), str(place / "first")], check=True)
    save(place / "first.png", path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
