"""The bytes of a text file as UTF-8, and what tells that they once were something else."""

import codecs
import re

from medres.tables.columns import cut

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_LINE_BREAK = re.compile(rb"\r\n?|\n")
# Latin-1 and Greek letters and typographic signs in UTF-8, whose bytes are no words of cp1252.
_TWO_OR_MORE = re.compile(rb"[\xc2\xc3\xce\xcf][\x80-\xbf]|\xe2[\x80-\x84][\x80-\xbf]")
_NOT_WESTERN = re.compile(r"[^\W\d_a-zA-Z]{4,}|(?<=[^\W\d_])[‚„†‡ˆ‰‹”“™›](?=[^\W\d_])")
# UTF-8 bytes read as cp1252: of Latin-1 letters, Greek ones, and typographic signs.
_TWICE = re.compile(
    r"[ÂÃ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|[ÎÏ][\x80-\xbf]|[ÐÑ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\x80-\xbf™œž“”¦¢]"
)
SAVE = "save it as CSV UTF-8"


def line_of(content: bytes, offset: int) -> int:
    """Return the line of an editor in which a byte stands; lines end in LF, CRLF or CR."""
    return len(_LINE_BREAK.findall(content, 0, offset)) + 1


def as_utf8(name: str, content: bytes) -> tuple[bytes, list[str]]:
    """Return a text file's bytes as UTF-8 without a mark, and notes on its encoding.

    Raises:
        ValueError: If it is not text, or in an encoding that cannot be told.
    """
    found, notes = _recoded(name, content.removeprefix(codecs.BOM_UTF8))
    at = found.find(b"\0")
    if at >= 0:
        raise ValueError(
            f"{name}, line {line_of(found, at)}: it holds a NUL byte, which no text has; {SAVE}"
        )
    if not found.isascii():
        notes += _spoilt(found)
    return found, notes


def _recoded(name: str, content: bytes) -> tuple[bytes, list[str]]:
    for mark, codec, called in _MARKS:
        if content.startswith(mark):
            return _decoded(name, content[len(mark) :], codec, called), [f"read as {called}"]
    sample = content[:2000]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if min(even, odd) == 0 and max(even, odd) > 0.4 * len(sample[::2]):
        codec = "utf-16-le" if odd else "utf-16-be"
        note = "read as UTF-16, by its zero bytes; it does not begin with the mark of UTF-16"
        return _decoded(name, content, codec, "UTF-16"), [note]
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return _of_one_byte_each(name, content, error.start)
    return content, []


def _decoded(name: str, content: bytes, codec: str, called: str) -> bytes:
    try:
        return content.decode(codec).encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"{name} begins like {called} but is not ({error}); {SAVE}") from error


def _of_one_byte_each(name: str, content: bytes, at: int) -> tuple[bytes, list[str]]:
    """Decode a file that is not UTF-8; `at` is the first byte that says so."""
    line = line_of(content, at)
    whole = _TWO_OR_MORE.search(content)
    if whole:
        raise ValueError(
            f"{name}, line {line}: the byte 0x{content[at]:02X} is not UTF-8, but "
            f"{whole[0].decode()!r} in line {line_of(content, whole.start())} is; two programs "
            f"wrote this file in two encodings: write these characters anew and {SAVE}"
        )
    is_mac = b"\n" not in content and b"\r" in content
    codec, called = ("mac_roman", "Mac Roman") if is_mac else ("cp1252", "cp1252 (Windows)")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ValueError(
            f"{name}, line {line_of(content, error.start)}: the byte 0x{byte:02X} is neither UTF-8 "
            f"nor cp1252 (Windows); {SAVE}"
        ) from error
    foreign = _NOT_WESTERN.search(text)
    if foreign:
        where = line_of(content, foreign.start())
        raise ValueError(
            f"{name}, line {where}: it is not UTF-8, and read as {called} it would hold "
            f"{cut(foreign[0])}; {SAVE}"
        )
    first = content[at : at + 1]
    others = {"cp1250": "cp1250", "mac_roman": "Mac Roman", "cp1252": "cp1252"}
    doubts = [
        f"{as_read!r} in {label}"
        for other, label in others.items()
        if (as_read := first.decode(other, "replace")) not in (text[at], "\ufffd")
    ]
    before, after = (
        re.split(r"\W", text[max(0, at - 30) : at]),
        re.split(r"\W", text[at + 1 :][:30]),
    )
    word = before[-1] + text[at] + after[0]
    note = (
        f"read as {called}, because it is not UTF-8: line {line} has {text[at]!r} in {cut(word)}"
        + (f" (the same byte is {', '.join(doubts)})" if doubts else "")
        + f"; if that is wrong, {SAVE}"
    )
    return text.encode(), [note]


def _spoilt(content: bytes) -> list[str]:
    """Return notes on characters that were lost or read in another encoding before."""
    notes = []
    text = content.decode()
    twice = list(_TWICE.finditer(text))
    if twice:
        first = twice[0]
        meant = first[0].encode("cp1252", "replace").decode(errors="replace")
        line = line_of(text[: first.start()].encode(), len(content))
        more = f" ({len(twice):,} places)" if len(twice) > 1 else ""
        notes.append(
            f"line {line}: {first[0]!r} looks like {meant!r} that was read in a wrong encoding "
            f"before{more}; the text is kept as it stands"
        )
    lost = content.find("\ufffd".encode())
    if lost >= 0:
        n_lost = content.count("\ufffd".encode())
        more = f" ({n_lost:,} places)" if n_lost > 1 else ""
        notes.append(
            f"line {line_of(content, lost)}: '\ufffd' (U+FFFD) stands where a character was lost "
            f"before{more}; the text is kept as it stands"
        )
    return notes
