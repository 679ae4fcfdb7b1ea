"""Encodings of spreadsheets: told apart, said, or refused."""

import pytest

from medres.tables import encoding

HEAD = "image,question,answer\n"


@pytest.mark.parametrize(
    ("content", "text", "note"),
    [
        (HEAD.encode(), HEAD, ""),
        ("ä\n".encode("utf-8-sig"), "ä\n", ""),
        ("ä€\n".encode("utf-16"), "ä€\n", "read as UTF-16"),
        (b"\xfe\xff" + "ä€\n".encode("utf-16-be"), "ä€\n", "read as UTF-16"),
        ("ä€\n".encode("utf-32"), "ä€\n", "read as UTF-32"),
        ((HEAD + "für\n").encode("utf-16-le"), HEAD + "für\n", "by its zero bytes"),
        ((HEAD + "für\n").encode("utf-16-be"), HEAD + "für\n", "by its zero bytes"),
        (
            (HEAD + "a,Größe?,b\nÄ\n").encode("cp1252"),
            HEAD + "a,Größe?,b\nÄ\n",
            "read as cp1252 (Windows), because it is not UTF-8: line 2 has 'ö' in 'Größe' (the "
            "same byte is 'ˆ' in Mac Roman); if that is wrong, save it as CSV UTF-8",
        ),
        (
            "a\nœdème\n".encode("cp1252"),
            "a\nœdème\n",
            "line 2 has 'œ' in 'œdème' (the same byte is 'ś' in cp1250, 'ú' in Mac Roman)",
        ),
        # Two bytes that happen to be UTF-8: the sharp s before a typographic quote.
        ("„groß“ ä\n".encode("cp1252"), "„groß“ ä\n", "read as cp1252"),
        ("µm 5 °C ± 2\n".encode("cp1252"), "µm 5 °C ± 2\n", "line 1 has 'µ' in 'µm'"),
        (
            "a\rü\r".encode("mac_roman"),
            "a\rü\r",
            "read as Mac Roman, because it is not UTF-8: line 2 has 'ü' in 'ü' (the same byte is",
        ),
        ("a\nÃ¶l\nÃŸ".encode(), "a\nÃ¶l\nÃŸ", "line 2: 'Ã¶' looks like 'ö' that was read in a"),
        ("itâ€™s".encode(), "itâ€™s", "line 1: 'â€™' looks like '’' that was read"),
        ("5 Âµm".encode(), "5 Âµm", "line 1: 'Âµ' looks like 'µ'"),
        (
            "x\r\nGr\ufffd\ufffde".encode(),
            "x\r\nGr\ufffd\ufffde",
            "line 2: '\ufffd' (U+FFFD) stands",
        ),
        ("ÂME, Île, NÃO, Ærø, groß“\n".encode(), "ÂME, Île, NÃO, Ærø, groß“\n", ""),
    ],
)
def test_it_becomes_utf_8(content: bytes, text: str, note: str) -> None:
    found, notes = encoding.as_utf8("q.csv", content)
    assert found.decode() == text
    assert bool(notes) == bool(note)
    assert note in "\n".join(notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD.encode() + b"a\0b", "q.csv, line 2: it holds a NUL byte, which no text has; save it"),
        ("a\0ä".encode("utf-16"), "line 1: it holds a NUL byte"),
        (b"\xff\xfea", "q.csv begins like UTF-16 but is not .* save it as CSV UTF-8"),
        (b"a\n\x81\n", "line 2: the byte 0x81 is neither UTF-8 nor cp1252"),
        ("x\nПривет\n".encode("cp1251"), "line 2: .* read as cp1252 .* would hold 'Ïðèâåò'; save"),
        ("x\n\nκαρδία\n".encode("iso8859-7"), "line 3: it is not UTF-8"),
        (
            "a\nö\n".encode() + "ü\n".encode("cp1252"),
            "line 3: the byte 0xFC is not UTF-8, but 'ö' in",
        ),
        (b"\xff\xd8\xff\xe0", "line 1: it is not UTF-8"),
    ],
)
def test_what_cannot_be_told_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoding.as_utf8("q.csv", content)


@pytest.mark.parametrize(
    ("content", "line"), [(b"a\nb", 2), (b"a\r\nb", 2), (b"a\rb", 2), (b"a\n\rb", 3), (b"ab", 1)]
)
def test_lines_are_those_of_an_editor(content: bytes, line: int) -> None:
    assert encoding.line_of(content, content.index(b"b")) == line
