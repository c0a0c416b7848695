"""An answer in the making: sentences, and the records that each rests on."""

from __future__ import annotations

from dataclasses import dataclass, field

from linkwise.matching.answer_records import Record


@dataclass
class Draft:
    """Lines of an answer with their records; without a line the records do not answer.

    A template gives None where the question is not one of its own.
    """

    lines: list[tuple[str, tuple[Record, ...]]] = field(default_factory=list)
    named: str = ""
    """The id of the one thing that the answer is, where it is one: "its" means this one next."""
    choice: bool = False
    """Things of one name stand to choose from: nothing for a model to put in words."""

    def say(self, text: str, *records: Record) -> Draft:
        """Add a line."""
        self.lines.append((text, records))
        return self

    @property
    def records(self) -> list[Record]:
        """All records, in the order of the lines, each once."""
        return list(dict.fromkeys(record for _, some in self.lines for record in some))


NOTHING = Draft()  # understood, and not in the records
