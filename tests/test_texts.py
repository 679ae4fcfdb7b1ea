"""Texts of others on a terminal, in Markdown, and paths as pages show them."""

import ast
import io
from typing import Any

import pytest
from bs4 import BeautifulSoup

from medres import files, texts
from medres.report import layout
from tests.hostile_study import TEXTS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Größe 37 °C 骨折 👩🏽‍⚕️", "plain Größe 37 °C 骨折 👩🏽‍⚕️"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\rb", "a\\rb"),
        ("bell\x07 back\x08 del\x7f nul\x00", "bell\\x07 back\\x08 del\\x7f nul\\x00"),
        ("\x9b31m \x85", "\\x9b31m \\x85"),
        ("\u202egnp\u202c \u2066x\u2069", "\\u202egnp\\u202c \\u2066x\\u2069"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("half \ud83d a pair", "half \\ud83d a pair"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("هل\u200f \u200e", "هل\u200f \u200e"),
    ],
)
def test_what_would_act_on_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert texts.visible(text) == shown
    stream = io.StringIO()
    texts.say(text, file=stream)
    assert stream.getvalue() == f"{shown}\n"


def test_lines_stay_lines_where_they_may() -> None:
    assert texts.visible("a\r\nb\tc\rd\n", keep=texts.LINES) == "a\nb\tc\\rd\n"
    assert texts.one_line("a\r\n  b\tc\x1b") == "a b c\\x1b"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    texts.fail(ValueError("row 3 says '\x1b]0;x\x07'\nand more"))
    assert capsys.readouterr().err == "medres: row 3 says '\\x1b]0;x\\x07' and more\n"


def test_a_terminal_that_knows_few_characters_gets_the_others_written_out() -> None:
    kept = io.BytesIO()
    stream = io.TextIOWrapper(kept, encoding="ascii")
    texts.say("Größe ✓", file=stream)
    assert kept.getvalue() == b"Gr\\xf6\\xdfe \\u2713\n"


def test_a_stream_shows_what_it_is_given_as_say_does() -> None:
    stream = io.StringIO()
    shown = texts.Shown(stream)
    assert shown.write("step 1\n\x1b[2Jloss") == len("step 1\n\x1b[2Jloss")
    assert stream.getvalue() == "step 1\n\\x1b[2Jloss"


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_markdown_is_that_text(text: str) -> None:
    """Whatever a question, answer or part of a sentence holds, a page shows it and nothing else."""
    html = layout.result_html(f"* before {texts.in_markdown(text)} **after**.")
    page = BeautifulSoup(html, "html.parser")
    assert page.li.text.strip() == f"before {texts.one_line(text)} after."
    assert {tag.name for tag in page.find_all(True)} <= {"ul", "li", "strong", "p"}
    assert page.strong.text == "after"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("data/questions.csv", "data/questions.csv"),
        ("../shared/questions.csv", "../shared/questions.csv"),
        ("/home/anna/Station 7/questions.csv", "questions.csv"),
        ("~/questions.csv", "questions.csv"),
        ("/models/qwen/", "qwen"),
        ("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"),
        ("", ""),
    ],
)
def test_folders_above_a_path_are_not_shown(path: str, shown: Any) -> None:
    assert texts.named(path) == shown


def test_every_message_of_the_package_is_said_through_one_function() -> None:
    for path in sorted(files.PACKAGE.rglob("*.py")):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        ]
        assert not calls or path.name == "texts.py", f"{path} prints; use texts.say"
