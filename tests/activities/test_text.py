"""Terms, their weights, and sentences."""

from __future__ import annotations

from activities.text import document_weights, query_weights, sentences, term_id, terms


def test_names_are_found_whole_and_in_parts() -> None:
    """Identifiers match as they stand and by their words; stop words and plurals do not matter."""
    assert terms("the retryPolicy of send_event") == [
        "retrypolicy",
        "retry",
        "policy",
        "send_event",
        "send",
        "event",
    ]
    assert terms("How do the Policies differ?") == ["policy", "differ"]


def test_places_never_change() -> None:
    """A term's place is part of the data on disk, so it is fixed here."""
    assert term_id("retry") == 786452963


def test_weights_saturate_and_favour_short_texts() -> None:
    """Repeating a term counts less each time, and a short passage with it beats a long one."""
    place = term_id("retry")
    once, twice = document_weights("retry x")[place], document_weights("retry retry x")[place]
    assert once < twice < 2 * once
    assert document_weights("retry " + "filler " * 300)[place] < once
    assert query_weights("retry retry the") == {place: 1.0}


def test_sentences_of_markdown() -> None:
    """Paragraphs, list items, table rows; markup goes, a command stays with the words that announce it."""
    text = """# Heading

One sentence here. Another one, e.g. this
goes on. "Quoted." Last?

1. first item
2. second item
   continued

Run this:

```bash
make demo
```

```python
x = 1
```

    indented code

| name | meaning |
|---|---|
> quoted words
"""
    assert sentences(text) == [
        "One sentence here.",
        "Another one, e.g. this goes on.",
        '"Quoted."',
        "Last?",
        "first item",
        "second item continued",
        "Run this: `make demo`",
        "name – meaning",
        "quoted words",
    ]
