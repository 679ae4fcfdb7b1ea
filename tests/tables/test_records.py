"""JSON lines and arrays: numbers keep their spelling, and no container becomes its repr."""

import json

import pytest

from medres import tables


def parse(content: str, name: str = "q.jsonl") -> tables.Parsed:
    return tables.parse(
        name,
        content.encode(),
        lists=("options",),
        required=("image", "question", "answer"),
        optional=("group",),
    )


def line(answer: str, **more: object) -> str:
    """A record whose answer is this piece of JSON."""
    rest = "".join(f", {json.dumps(key)}: {value}" for key, value in more.items())
    return f'{{"image": "a.png", "question": "q", "answer": {answer}{rest}}}\n'


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ("3", "3"),
        ("2.5", "2.5"),
        ("3.0", "3.0"),
        ("2.50", "2.50"),
        ("-0", "-0"),
        ("1E5", "1E5"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1" * 5000, "1" * 5000),
        ("true", "true"),
        ("false", "false"),
        ("null", ""),
        ('"NaN"', "NaN"),
        ('"yes "', "yes"),
        (r'"\u00e4"', "ä"),
        ('"[1, 2]"', "[1, 2]"),
    ],
)
def test_a_value_is_the_text_that_stands_there(spelled: str, text: str) -> None:
    other = line("2.5") + line("null") + line("7")
    assert parse(line(spelled) + other).rows["answer"].tolist() == [text, "2.5", "", "7"]
    array = f"[{','.join((line(spelled) + other).split(chr(10))[:-1])}]"
    parsed = parse(array, "q.json")
    assert parsed.rows["answer"].tolist() == [text, "2.5", "", "7"]
    assert parsed.rows.index.tolist() == [1, 2, 3, 4]
    assert parsed.place == "row"


def test_lists_of_options_become_texts_and_missing_keys_are_empty() -> None:
    content = line("1", options='[1, 2.50, "a ", true]') + line("1") + line("1", options="null")
    content += line("1", options='"a|b"', group="7") + line("1", options="[]")
    rows = parse(content).rows
    assert rows["options"].tolist() == [["1", "2.50", "a", "true"], "", "", "a|b", []]
    assert rows["group"].tolist() == ["", "", "", "7", ""]


def test_lines_are_those_of_an_editor_and_blank_ones_are_said() -> None:
    parsed = parse("\n" + line('"\u2028"') + "\r\n\n" + line("2").replace("\n", "\r\n"))
    assert parsed.rows.index.tolist() == [2, 5]
    assert parsed.rows["answer"].tolist() == ["", "2"]
    assert "line 1: an empty line was skipped (3 lines)" in parsed.notes


def test_a_key_that_comes_late_is_empty_before() -> None:
    rows = parse(line("1") * 700 + line("1", group='"b"', options="[1]")).rows
    assert rows["group"].tolist() == [""] * 700 + ["b"]
    assert rows["options"].tolist() == [""] * 700 + [["1"]]


def test_keys_are_read_without_case_and_unused_containers_are_left_out() -> None:
    content = '{"Image ": "a", "question": "q", "answer": 1, "triple": ["v", "_"]}\n'
    parsed = parse(content + line("2", triple="{}"))
    assert parsed.rows["image"].tolist() == ["a", "a.png"]
    assert parsed.rows["triple"].tolist() == ["", ""]
    assert any(note.endswith("'Image ' -> image") for note in parsed.notes)
    left_out = "line 1: the unused column triple holds more than text, left out (2 lines)"
    assert left_out in parsed.notes
    with pytest.raises(ValueError, match="line 1: 'triple' holds a list where a text is due"):
        tables.parse("q.jsonl", content.encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            line("1") + line('{"a": [1]}'),
            r"line 2: 'answer' holds an object where .*\{\"a\": \[\"1\"",
        ),
        (line("1") + line("[1, 2]"), "q.jsonl, line 2: 'answer' holds a list where a text is due"),
        (line("NaN"), "line 1: 'answer' holds no number where a text is due: '\"NaN\"'"),
        (line("-Infinity"), "line 1: 'answer' holds no number .*Infinity"),
        (line("1", options="[1, null]"), "line 1: the list in 'options' holds null"),
        (line("1", options="[[1]]"), "line 1: in the list: 'options' holds a list where a text"),
        (line("1", options="[{}]"), "line 1: in the list: 'options' holds an object"),
        (line("1", options="{}"), "line 1: 'options' holds an object"),
        (line('1, "answer": 2'), "line 1: the key 'answer' stands there twice; delete one"),
        (line("1", **{"Answer ": "2"}), "line 1: the key 'answer' stands there twice"),
        (line("1") + "[1]\n", r"line 2: '\[\"1\"\]' is no object; write each record as"),
        (
            line("1") + '{"image": "a",}\n',
            "line 2 is not JSON: .* at character 15 .*; write one obj",
        ),
        (line("1") + "{'image': 'a'}\n", "line 2 is not JSON: Expecting property name"),
        (line("1").replace(", ", ",\n"), "line 1 is not JSON: .*; write one object in each line"),
        (line("1") + line("1")[:-10], "line 2 is not JSON"),
        ('{"image": {"0": "a"}}', r"line 1: 'image' holds an object .* \(pandas: orient="),
        ("[1, 2]", "row 1: .* is no object"),
        (
            "[" + line("1") + "," + line('"a", "x": "\ud83e'.encode("ascii", "ignore").decode()),
            "JSON",
        ),
        ("[]", "q.jsonl is empty; give it one object per record"),
        ('{"image": "a", "Frage": "q"}', r"lacks the columns \['question', 'answer'\]; it has"),
        (line(r'"\ud800"'), r"line 1: column 'answer' holds '\\ud800', half of a character"),
        (line("[" * 100_000), "line 1: lists within lists"),
        (
            line("1") + line("1", options=r'["a", "\ud800"]'),
            "line 2: column 'options' holds .*half of",
        ),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(content)
