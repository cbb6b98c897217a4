"""Draws the pictures of docs/review.md: ``python -m tests.engine.review.pictures_of_docs``. Phantoms alone; a minute."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from tests.engine.review.chromium import Page, chromium
from tests.engine.review.reviewable import make_run, photographs
from tests.engine.review.served import served

DOCS = Path(__file__).parents[3] / "docs" / "review"
READY = "!!document.body.dataset.shown && !document.body.hasAttribute('aria-busy')"


def main() -> None:
    """Make a run, answer three questions, and take four pictures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        root = photographs(folder / "data", side=400)
        run = make_run(folder / "runs", root, samples=6, image_size=64)
        with served(run, "--reader", "Dr. Ana Lopes") as server, chromium(folder / "profile") as browser:
            page = browser.page()
            page.screen(1280, 800)
            page.open(server.address)
            page.open(f"{server.origin}/list/diagnose")
            for number, key in enumerate("623"):
                page.until(
                    f"document.getElementById('standing').textContent.startsWith('{number} of') && {READY}"
                )
                page.press(key)
            page.until(f"document.getElementById('standing').textContent.startsWith('3 of') && {READY}")
            take(page, "diagnose")
            page.screen(1280, 800, dark=True)
            take(page, "dark", 720)
            page.screen(390, 844, touch=True)
            take(page, "phone", 320)
            page.screen(1280, 800)
            page.open(f"{server.origin}/list/judge")
            page.until(READY)
            take(page, "judge", 720)


def take(page: Page, name: str, width: int = 1000) -> None:
    """Save a picture of at most ``width`` pixels in 128 colours: small enough for a repository."""
    DOCS.mkdir(exist_ok=True)
    path = DOCS / f"{name}.png"
    page.picture(path)
    with Image.open(path) as shot:
        image = shot.convert("RGB")
    image.thumbnail((width, 10_000), Image.Resampling.LANCZOS)
    image.quantize(128, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    main()
