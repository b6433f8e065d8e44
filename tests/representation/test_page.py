"""The page with a picture: complete, self-contained, and safe whatever stands in names, texts and errors."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from everstep.errors import WorkflowRuntimeError
from everstep.representation import (
    draw_all_possible_flows,
    draw_all_possible_flows_mermaid,
    draw_most_recent_execution,
    get_run_representation,
    get_workflow_representation,
    to_html,
    to_mermaid,
)
from everstep.testing import LocalEnvironment, TemporalEnvironment
from tests.support.shop_flow import Shop

SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """What stands in a page: tags with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def picture(html: str) -> ElementTree.Element:
    """The SVG of a page, which is XML."""
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found is not None
    return ElementTree.fromstring(found[0])


async def shop_page(pieces: int, bad: int) -> str:
    """The page of a run of the shop."""
    async with LocalEnvironment() as env:
        handler = await env.run(Shop, pieces=pieces, bad=bad)
        if pieces:
            async for event in handler.stream_events():
                if type(event).__name__ == "AskApproval":
                    await handler.respond({"approved": True})
        assert await handler in ("sent", "nothing to send")
        return to_html(get_run_representation(await handler.path()))


def test_each_node_is_a_link_to_what_is_known_of_it() -> None:
    """And every link of the page leads somewhere in it."""
    html = to_html(get_workflow_representation(Shop))
    links = [link.get("href", "") for link in picture(html).iter(f"{SVG}a")]
    page = Page(html)
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    # Steps, events, the resource; the world outside is drawn as the arrow from a question to its answer.
    assert len(links) == len(get_workflow_representation(Shop).nodes) - 1
    assert {attributes.get("href") for tag, attributes in page.tags if tag == "a"} <= ids
    assert set(links) <= ids


def test_the_page_needs_nothing_else() -> None:
    """No address but those of the page itself, and a policy that forbids the browser to ask for any."""
    html = to_html(get_workflow_representation(Shop))
    page = Page(html)
    outside = [
        (tag, name) for tag, attributes in page.tags for name in attributes if name in ("src", "srcset", "action")
    ]
    assert outside == []
    assert "link" not in [tag for tag, _ in page.tags]
    assert "url(#" in html
    assert re.findall(r"url\((?!#)", html) == []
    assert "default-src 'none'" in html
    assert re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", html) == []


async def test_what_users_write_stays_text() -> None:
    """Docstrings, field descriptions and errors cannot become markup."""
    html = await shop_page(3, 1)
    assert html.count("<script>") == 1
    assert "<b>things</b>" not in html
    assert "<shelf>" not in html
    assert "&lt;/script&gt;" in html


def test_fields_are_listed_with_types_and_defaults() -> None:
    """From the event's schema."""
    text = Page(to_html(get_workflow_representation(Shop))).text
    assert "How many <b>things</b> are wanted" in text
    assert re.search(r"pieces\s*integer\s*required", text)


async def test_the_picture_of_a_run_shows_what_it_did() -> None:
    """Counts on arrows, attempts, what was not taken; and the words for people who do not see it."""
    html = await shop_page(3, 1)
    svg = picture(html)
    classes = {link.get("data-node"): link.get("class", "") for link in svg.iter(f"{SVG}a")}
    assert "was-done" in classes["pack"]
    assert "untaken" in classes["nothing"]
    assert "untaken" in classes["Broken"]
    said = {link.get("data-node"): link.get("aria-label", "") for link in svg.iter(f"{SVG}a")}
    assert "3×" in said["pack"]
    assert "4 attempts" in said["pack"]
    tags = {
        (edge.get("data-from"), edge.get("data-to")): "".join(text.text or "" for text in edge.iter(f"{SVG}text"))
        for edge in svg.iter(f"{SVG}g")
    }
    assert tags["split", "Item"] == "list 3×"
    assert tags["AskApproval", "Approval"] == "answered by 1×"
    assert tags["join", "Broken"] == ""
    assert "not taken in this run" in html


async def test_a_run_without_members_goes_another_way() -> None:
    """The same flow, another picture; as Mermaid, too."""
    async with LocalEnvironment() as env:
        handler = await env.run(Shop, pieces=0)
        assert await handler == "nothing to send"
        text = to_mermaid(get_run_representation(await handler.path()))
    assert "step_nothing --> |1×| event_StopEvent" in text.replace("-->|", "--> |")
    assert ":::untaken" in next(line for line in text.splitlines() if "step_send[" in line)


async def test_files_are_drawn_under_the_names_of_old(tmp_path: Path) -> None:
    """As code calls them that was written for LlamaIndex."""
    flow, run, text = tmp_path / "flow.html", tmp_path / "run.html", tmp_path / "flow.mermaid"
    draw_all_possible_flows(Shop(), filename=str(flow), notebook=False, max_label_length=6)
    assert "AskAp*" in flow.read_text()
    assert draw_all_possible_flows_mermaid(Shop(), str(text)) == text.read_text()
    handler = Shop().run(pieces=0)
    await handler
    draw_most_recent_execution(handler, filename=str(run))
    assert "run " + handler.run_id in run.read_text()


async def test_a_run_elsewhere_is_drawn_by_waiting_for_it(dev_server_env: TemporalEnvironment) -> None:
    """The call that cannot wait says which one can."""
    handler = await dev_server_env.run(Shop, pieces=0)
    with pytest.raises(WorkflowRuntimeError, match="draw_run"):
        draw_most_recent_execution(handler)
    await handler
