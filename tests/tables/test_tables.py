"""Every table of texts that a program writes is read back as the same texts, with its places."""

import csv
import io
import json
import re

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medres import tables
from medres.tables.columns import trimmed

REQUIRED = ("image", "question", "answer")
T = "image,question,answer\n0.png,is it?,yes\n"


def parse(name: str, content: bytes | str) -> tables.Parsed:
    if isinstance(content, str):
        content = content.encode()
    return tables.parse(
        name, content, lists=("options",), required=REQUIRED, optional=("options", "group")
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", b"", "q.csv is empty; give it a header line and one row per record"),
        ("q.csv", b"\n \n", "q.csv is empty; give it a header line"),
        ("q.csv", b"\xef\xbb\xbf\n", "q.csv is empty"),
        ("q", T.encode(), "q: a name without an ending is not a kind of table that is read; save"),
        (
            "a/q.ods",
            b"PK\x03\x04",
            r"a/q.ods: .ods is not .* \(by its content it is a zip .*save it",
        ),
        (
            "q.xls",
            b"<table>",
            r"q.xls: .xls is not .* \(by its content it is a web page\); save it",
        ),
        ("q.XLS", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "q.XLS: .xls is not .* is a old workbook"),
        ("q.csv.gz", b"\x1f\x8b", "q.csv.gz: .gz is not .* a gzip archive.*; save it as .xlsx"),
        (
            "q.csv",
            b"PK\x03\x04..xl/workbook.xml",
            "is not what its name says: it is an Excel .*xlsx",
        ),
        ("q.csv", b"PK\x03\x04..content.xml", "it is a zip archive or .*; save the table as .xlsx"),
        ("q.csv", b"PAR1....PAR1", "it is a Parquet file by its content; end its name in .parquet"),
        ("q.csv", b"<!DOCTYPE html><table>", "it is a web page or XML by its content.*save it as"),
        ("q.csv", b'<?xml version="1.0"?>', "it is a web page or XML by its content"),
        ("q.csv", b' [ {"image": "a"}]', "it is JSON by its content; end its name in .json or"),
        ("q.tsv", b'{"image": "a"}', "it is JSON by its content; end its name in .json or .jsonl"),
        ("q.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook .* with a password"),
        ("q.xlsx", T.encode(), "looks like text; end its name in .csv"),
        ("q.parquet", T.encode(), "looks like text; end its name in .csv"),
        ("q.json", b"PK\x03\x04xl/workbook", "it is an Excel workbook by its content"),
        ("q.txt", b"%PDF-1.7", "it is a PDF by its content; save the table"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(
    name: str, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse(name, content)


def test_without_wanted_columns_every_column_is_read() -> None:
    parsed = tables.parse("q.csv", b"A;b\n1;2\n")
    assert parsed.rows.to_dict("list") == {"a": ["1"], "b": ["2"]}
    assert parsed.rows.index.name == "line"
    assert parsed.place == "line"


def test_a_table_without_a_record_has_its_columns() -> None:
    rows = parse("q.csv", "image,question,answer\n").rows
    assert list(rows) == list(REQUIRED)
    assert rows.empty


# Not: what is no text (half a character), a NUL, or a carriage return that XML cannot hold.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("\"',;|\t\n ab19.-=[]äöß\u00a0\u200b“”é€µ"),
        st.characters(exclude_categories=("Cs", "Cc", "Cn"), max_codepoint=0x1FFFF),
    ),
    max_size=8,
)
RECORDS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=6)
CHEAP = settings(max_examples=150, deadline=None)


def seen(records: list[tuple[str, str, str]]) -> list[list[str]]:
    """What is read of records: texts without blanks around them, no row of empty cells."""
    rows = [[trimmed(text) for text in record] for record in records]
    return [row for row in rows if any(row)]


def begins(records: list[tuple[str, str, str]]) -> list[int]:
    """The line in which each record begins, below the heading, if a cell's breaks are lines."""
    lines = [2]
    for record in records:
        lines.append(lines[-1] + 1 + sum(text.count("\n") for text in record))
    return [line for line, record in zip(lines, records, strict=False) if any(map(trimmed, record))]


@CHEAP
@given(
    records=RECORDS,
    separator=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
@example([("", "", '"')], ",", "\n", csv.QUOTE_MINIMAL, "utf-8")
@example([("a\n", "ö", "x")], ";", "\r\n", csv.QUOTE_ALL, "utf-16")
def test_delimited_text_reads_back(
    records: list[tuple[str, str, str]], separator: str, ending: str, quoting: int, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=ending, quoting=quoting)
    writer.writerows([REQUIRED, *records])
    parsed = parse("q.csv", text.getvalue().encode(encoding))
    assert parsed.rows.to_numpy().tolist() == seen(records)
    assert parsed.rows.index.tolist() == begins(records)


WESTERN = st.text('ab ",;\näöüß', max_size=8).filter(lambda text: not re.search("[äöüß]{4}", text))


@CHEAP
@given(texts=st.lists(WESTERN, max_size=6), separator=st.sampled_from(",;\t|"))
def test_what_windows_writes_reads_back(texts: list[str], separator: str) -> None:
    records = [("0.png", f"Größe {text}", text) for text in ["", *texts]]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator).writerows([REQUIRED, *records])
    parsed = parse("q.csv", file.getvalue().encode("cp1252"))
    assert parsed.rows.to_numpy().tolist() == seen(records)
    assert parsed.rows.index.tolist() == begins(records)
    assert any(note.startswith("read as cp1252") for note in parsed.notes)


@CHEAP
@given(records=RECORDS.filter(len), is_array=st.booleans(), ascii_only=st.booleans())
def test_json_reads_back(
    records: list[tuple[str, str, str]], is_array: bool, ascii_only: bool
) -> None:
    objects = [dict(zip(REQUIRED, record, strict=True)) for record in records]
    texts = [json.dumps(each, ensure_ascii=ascii_only) for each in objects]
    content = f"[{','.join(texts)}]" if is_array else "\n".join(texts)
    parsed = parse("q.json", content)
    assert parsed.rows.to_numpy().tolist() == [[trimmed(t) for t in r] for r in records]
    assert parsed.rows.index.tolist() == list(range(1, len(records) + 1))


@CHEAP
@given(records=RECORDS, as_dictionary=st.booleans())
def test_parquet_reads_back(records: list[tuple[str, str, str]], as_dictionary: bool) -> None:
    columns = [pa.array([record[at] for record in records], pa.string()) for at in range(3)]
    if as_dictionary:
        columns = [column.dictionary_encode() for column in columns]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns, names=REQUIRED), file)
    parsed = parse("q.parquet", file.getvalue())
    assert parsed.rows.to_numpy().tolist() == [[trimmed(t) for t in r] for r in records]
    assert parsed.rows.index.tolist() == list(range(1, len(records) + 1))


@settings(max_examples=40, deadline=None)
@given(records=RECORDS)
def test_a_workbook_reads_back(records: list[tuple[str, str, str]]) -> None:
    # A text that begins with = would be a formula, and of some codes openpyxl makes errors.
    records = [tuple("x" + text for text in record) for record in records]
    workbook = openpyxl.Workbook()
    for record in [REQUIRED, *records]:
        workbook.active.append(record)
    file = io.BytesIO()
    workbook.save(file)
    parsed = parse("q.xlsx", file.getvalue())
    assert parsed.rows.to_numpy().tolist() == seen(records)
    assert parsed.rows.index.tolist() == list(range(2, len(records) + 2))
