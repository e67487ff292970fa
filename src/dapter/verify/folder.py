"""The files of a release as they lie on the disk: listed, opened without following links, hashed in pieces."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dapter.errors import UsageError
from dapter.verify.limits import CHUNK, MAX_FILES, TOTAL_BYTES, limit_of, name_fault
from dapter.verify.problems import Broken, Problem

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Stamp:
    """What identifies the content of a file.

    Attributes:
        sha256: 64 hex digits.
        size: in bytes.
    """

    sha256: str
    size: int


@dataclass
class Folder:
    """A folder whose files are listed and hashed.

    Attributes:
        root: where it lies.
        stamps: of every plain file that could be read, by its path from the root with `/`.
        problems: what may not be in a release, or could not be read.
    """

    root: Path
    stamps: dict[str, Stamp] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def scan(cls, root: Path) -> "Folder":
        """List and hash everything below `root`.

        Raises:
            UsageError: no such folder.
        """
        if not root.is_dir():
            what = "a file" if root.exists() else "not there"
            raise UsageError(f"{root} is {what}, a release is a folder. Cure: name the folder, unpacked")
        found = cls(root)
        total = 0
        seen: dict[str, str] = {}
        for path in found._walk():
            twin = seen.setdefault(path.casefold(), path)
            if twin != path:
                found._note(path, f"differs from {twin} in upper and lower case only")
            try:
                found.stamps[path] = stamp = found._hash(path, min(limit_of(path), TOTAL_BYTES - total))
                total += stamp.size
            except Broken as fault:
                found._note(path, str(fault))
        return found

    def read(self, path: str) -> bytes:
        """The bytes of a file, the same that were hashed.

        Raises:
            Broken: it is not there, or has changed.
        """
        known = self.stamps.get(path)
        if known is None:
            raise Broken("is missing or unreadable")
        data = b"".join(self._chunks(path, known.size))
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise Broken("has changed while it was read")
        return data

    def _note(self, path: str, message: str) -> None:
        self.problems.append(Problem("files", ascii(path)[1:-1], message))

    def _walk(self) -> Iterator[str]:
        """The paths of all plain files, sorted; everything else becomes a problem."""
        todo, count = [""], 0
        while todo:
            folder = todo.pop()
            try:
                entries = os.scandir(self.root / folder)
            except OSError as error:
                self._note(folder, f"cannot be listed ({error.strerror})")
                continue
            with entries:
                for entry in entries:
                    count += 1
                    if count > MAX_FILES:
                        self.problems.append(Problem("files", "", f"more than {MAX_FILES} files and folders"))
                        return
                    path = f"{folder}/{entry.name}".lstrip("/")
                    if fault := name_fault(path):
                        self._note(path, fault)
                    elif entry.is_symlink():
                        self._note(path, "a symbolic link; a release holds plain files only")
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        yield path
                    else:
                        self._note(path, "neither a plain file nor a folder (a device, a pipe or a socket)")

    def _hash(self, path: str, limit: int) -> Stamp:
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(path, limit):
            digest.update(chunk)
            size += len(chunk)
        return Stamp(digest.hexdigest(), size)

    def _chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """The file in pieces, `limit` bytes at most.

        Raises:
            Broken: it is larger, no plain file, has a second name, or cannot be read.
        """
        try:
            with os.fdopen(os.open(self.root / path, _FLAGS), "rb") as file:
                state = os.fstat(file.fileno())
                if not stat.S_ISREG(state.st_mode):
                    raise Broken("is no plain file")
                if state.st_nlink > 1:
                    raise Broken("a hard link: it has another name, under which it can be changed")
                if state.st_size > limit:
                    raise Broken(f"has {state.st_size:,} bytes, more than the {limit:,} that are allowed")
                while chunk := file.read(min(CHUNK, limit + 1)):
                    limit -= len(chunk)
                    if limit < 0:
                        raise Broken("grows while it is read")
                    yield chunk
        except OSError as error:
            raise Broken(f"cannot be read ({error.strerror})") from error
