"""What was found wrong, one entry a fault, so that all of them can be listed."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Problem:
    """One fault of a release.

    Attributes:
        rule: which rule is broken: the name of a section of docs/release_format.md.
        path: the file, relative to the release; empty for the release as a whole.
        message: what is wrong, in plain words.
    """

    rule: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.path}: {self.message}" if self.path else f"[{self.rule}] {self.message}"

    def record(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)


class Broken(Exception):
    """A file cannot be read any further; the text is the problem's message."""
