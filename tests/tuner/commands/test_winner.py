from __future__ import annotations

from rich.console import Console

from tuner.commands.output import table
from tuner.commands.winner import shown


def test_answers_are_written_for_people() -> None:
    spans = [{"text": "Main St", "kind": "Street"}, {"text": "12", "kind": "Number"}]
    assert shown(spans) == "Main St \u00b7 Street\n12 \u00b7 Number"
    assert (shown(0.12345), shown("a text"), shown([])) == ("0.123", "a text", "\u2013")


def test_a_long_answer_leaves_room_for_what_was_asked() -> None:
    console = Console(width=40)
    with console.capture() as capture:
        console.print(table(["written", "input"], [["word " * 30, "asked"]], first_folds=True))
    printed = capture.get()
    assert printed.count("word") == 30 and "asked" in printed
