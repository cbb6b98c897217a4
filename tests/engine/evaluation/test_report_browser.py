"""The page in a real browser, where one is installed: no error, every image loads, filters work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.evaluation.report import write_report
from tests.engine.evaluation.fake_run import make_run

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
  const set = (id, value) => {
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change", {bubbles: true}));
  };
  const cases = () => [...document.querySelectorAll(".case")].filter((c) => c.offsetParent !== null);
  const samples = () => [...document.querySelectorAll("[data-verdict]")].filter((c) => c.offsetParent !== null);
  const seen = {
    broken: [...document.images].filter((i) => !i.complete || i.naturalWidth === 0).length,
    images: document.images.length, all: cases().length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    filters: !document.getElementById("filters").hidden };
  set("filter-dx", "nv"); seen.nv = cases().length; seen.kinds = [...new Set(cases().map((c) => c.dataset.dx))];
  set("filter-verdict", "rejected"); seen.verdicts = [...new Set(samples().map((s) => s.dataset.verdict))];
  seen.said = document.getElementById("filter-count").textContent;
  document.getElementById("filters").reset();
  setTimeout(() => {
    seen.again = cases().length;
    document.documentElement.dataset.probe = JSON.stringify(seen);
  }, 50);
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_page_in_a_browser(tmp_path: Path, width: int) -> None:
    run = make_run(tmp_path / "demo", lesions=220)
    page = write_report(run).read_text(encoding="utf-8")
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    command = [
        str(BROWSER),
        *FLAGS,
        f"--window-size={width},900",
        f"--user-data-dir={tmp_path / 'profile'}",
        probed.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert errors == []
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-500:]
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["broken"] == 0 and seen["images"] > 50
    assert seen["filters"] and seen["overflow"] <= 0
    assert 0 < seen["nv"] < seen["all"] == seen["again"] and seen["kinds"] == ["nv"]
    assert seen["verdicts"] == ["rejected"]
    assert re.fullmatch(rf"\d+ of {seen['all']} cases", seen["said"])
