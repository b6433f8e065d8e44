"""The page in a real browser: it loads nothing, boxes can be chosen, and what belongs together stands out.

The page is opened in a frame of a page of ours, which looks at it and writes down what it found; the browser prints
that. It needs Chromium, which comes with no package of ours: without it the test is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

from everstep.representation import get_workflow_representation, to_html
from tests.support.shop_flow import Shop

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --virtual-time-budget=4000 --dump-dom"
)

LOOK = """
<!doctype html><iframe id="page" width="1200" height="900" srcdoc="%s"></iframe><pre id="found"></pre>
<script>
const frame = document.getElementById("page");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const shown = (name) => view.getComputedStyle(page.getElementById("about-" + name)).display !== "none";
  const pack = page.querySelector('[data-node="pack"]');
  const found = { title: page.title, before: shown("pack") };
  pack.focus();
  found.near = [...page.querySelectorAll(".node.near")].map((node) => node.dataset.node).sort();
  pack.blur();
  found.after = page.querySelectorAll(".near").length;
  found.asked = view.performance.getEntriesByType("resource").map((entry) => entry.name);
  found.overflow = page.documentElement.scrollWidth > page.documentElement.clientWidth;
  const texts = [...page.querySelectorAll("a.node")].map((node) => {
    const box = node.querySelector("rect").getBBox();
    return [...node.querySelectorAll("text")].every((text) => text.getBBox().width <= box.width);
  });
  found.fits = texts.every(Boolean) && texts.length;
  pack.dispatchEvent(new view.MouseEvent("click", { bubbles: true, cancelable: true }));
  setTimeout(() => {
    found.chosen = shown("pack") && !shown("split") && pack.classList.contains("chosen");
    document.getElementById("found").textContent = JSON.stringify(found);
  }, 200);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: install the package `chromium` to run this test")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    """Focus lights up the neighbours, a chosen box shows its text, words fit their boxes, and nothing is asked for."""
    assert BROWSER is not None
    look = tmp_path / "look.html"
    look.write_text(LOOK % escape(to_html(get_workflow_representation(Shop))))
    done = subprocess.run(
        [BROWSER, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", look.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert answer is not None, done.stderr
    assert answer[1], done.stderr
    found = json.loads(unescape(answer[1]))
    resource = found["near"].pop(-1)
    assert resource.startswith("resource")
    assert found == {
        "title": "Shop",
        "before": False,
        "near": ["Item", "Packed", "mend", "pack"],
        "after": 0,
        "asked": [],
        "overflow": False,
        "fits": len(get_workflow_representation(Shop).nodes) - 1,
        "chosen": True,
    }
