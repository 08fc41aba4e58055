"""What a code means: for `idjax explain`, the report and the table in the docs."""

import dataclasses

from idjax.results.outcomes import Kind


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A finding in general.

    means:    what is wrong, in a few sentences.
    formula:  the number that decides it, and its section in docs/theory.md.
    source:   who found it first.
    example:  a command that shows it.
    fix:      what to change.
    apart:    what tells it from its neighbours.
    """

    code: str
    kind: Kind
    title: str
    means: str
    formula: str
    source: str
    example: str
    fix: str
    apart: str
