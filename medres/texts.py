"""Texts that others wrote, as they may stand on a terminal, in Markdown, or as a name on a page.

A question, an answer, a file name or an error that repeats one of them can hold anything: escape
sequences that rewrite a terminal, overrides that turn what follows them around, markup.
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import IO

CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Characters that are no part of a text but do something to it: controls, line separators,
overrides of direction, tags, halves of surrogate pairs. The marks and joiners that Arabic, Persian,
Hebrew and emoji need are not among them."""
LINES = "\n\t"
"""Controls that a text of several lines may hold."""
MARKUP = re.compile(r"[\\`*{}\[\]<>#|~$&!^=]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|@")
"""What may be markup in Markdown; an underscore within a word is none."""


SERVED = "served:"
"""Begins the name of a model that a server answers for."""


def visible(text: object, *, keep: str = "") -> str:
    r"""Return a text with everything that is no text of its own written out.

    Args:
        text: Anything; its `str` is taken.
        keep: Controls that may stay, such as `LINES`; a line end of two characters becomes one.

    >>> visible("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """

    def shown(found: re.Match[str]) -> str:
        one = found[0]
        return one if one in keep else one.encode("unicode_escape", "surrogatepass").decode()

    plain = str(text)
    return CONTROLS.sub(shown, plain.replace("\r\n", "\n") if "\n" in keep else plain)


def one_line(text: object) -> str:
    """Return a text on one line, as a terminal may show it."""
    return visible(" ".join(str(text).split()))


def in_markdown(text: object) -> str:
    r"""Return a text on one line as Markdown that shows it as it is: no markup, links, formulas.

    >>> in_markdown("[x](y) *a_b* _c_")
    '\\[x\\](y) \\*a_b\\* \\_c\\_'
    """
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def listed(names: Sequence[str], word: str = "and") -> str:
    """Return names as a sentence lists them.

    >>> listed(["low", "native", "scale-2"], "or")
    'low, native or scale-2'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def named(path: str) -> str:
    """Return a path as pages show it: as it was given, or only its last name if it is absolute.

    Folders above it may name a user, a ward, a patient. A served model is shown by what its server
    calls it and a digest of the whole name, so that no two servers share a page.
    """
    if path.startswith(SERVED):
        model = re.sub(r"@[^@]*$", "", path.partition("#")[2])
        safe = re.sub(r"[^A-Za-z0-9._]+", "-", model).strip("-._").replace("..", ".")
        return f"served-{safe[:40]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    pure = PurePath(path)
    return pure.name if pure.is_absolute() or path.startswith("~") else path


def say(message: object, *, file: IO[str] | None = None, end: str = "\n") -> None:
    """Print a message, line by line, with nothing in it that could act on a terminal."""
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    plain = visible(message, keep=LINES) + end
    # A terminal that does not know a character must not end the command.
    print(plain.encode(encoding, "backslashreplace").decode(encoding), end="", file=file)
    file.flush()


def fail(error: object) -> None:
    """Print what went wrong on one line, as every command of ours ends then."""
    say(f"medres: {one_line(error)}", file=sys.stderr)


class Shown:
    """A stream that passes on what is written to it as `say` would print it."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length, as streams do."""
        say(text, file=self.stream, end="")
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind."""
        self.stream.flush()
