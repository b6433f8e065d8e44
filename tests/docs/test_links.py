"""Links of the documentation lead somewhere: to files, to headings, to tests; the index and the site know all pages."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.pages import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them; the site makes the same."""
    seen: Counter[str] = Counter()
    made: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = page.parent / unquote(path) if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Relative links with their anchors, what is written as a path of the repository, and tests that are named."""
    text = page.read_text()
    missing = list(broken(page))
    for path in re.findall(r"`((?:everstep|workflows|activities|tests|docs|scripts|bench|\.ci)/[\w./-]*)`", text):
        if not (ROOT / path).exists():
            missing.append(path)
    for path, name in re.findall(r"`(?:tests/)?([\w/]+\.py)::(\w+)`", text):
        file = ROOT / "tests" / path
        if not file.exists() or f"def {name}(" not in file.read_text():
            missing.append(f"{path}::{name}")
    assert not missing


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """A file that is not there, and a heading that is not."""
    (tmp_path / "b.md").write_text("# B\n\n## What `it` is: a test\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[1](b.md#what-it-is-a-test) [2](b.md#twice-1) [3](b.md#twice-2) [4](c.md) [5](#a) [6](https://x.org)"
    )
    assert list(broken(page)) == ["b.md#twice-2", "c.md", "#a"]


def in_nav(entry: Any) -> Iterator[str]:
    """The pages of a part of the site's navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from in_nav(part)


def test_the_site_has_all_pages() -> None:
    """Each page stands in the navigation, once; what stands there exists."""
    nav = Counter(in_nav(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    pages = {str(page.relative_to(ROOT)) for page in (*PAGES, ROOT / "CHANGELOG.md")}
    pages = {page.replace("README.md", "index.md") for page in pages}
    assert nav.keys() == pages
    assert set(nav.values()) == {1}


@pytest.mark.parametrize("folder", ["docs", "docs/decisions", "docs/patterns", "docs/reference"])
def test_the_index_of_a_folder_names_its_pages(folder: str) -> None:
    """On GitHub the README of a folder is the way to its pages."""
    index = ROOT / folder / "README.md"
    linked = {link.partition("#")[0] for link in _LINK.findall(index.read_text())}
    assert {page.name for page in (ROOT / folder).glob("*.md")} - {"README.md"} <= linked


def test_pictures_are_small() -> None:
    """Each picture of the documentation has less than 150 kB."""
    pictures = list(itertools.chain(*((ROOT / "docs").rglob(kind) for kind in ("*.png", "*.jpg", "*.svg"))))
    assert pictures
    assert all(picture.stat().st_size < 150_000 for picture in pictures)
