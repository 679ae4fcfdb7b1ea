"""Delimited text as programs and people write it."""

import pytest

from medres import tables

HEAD = "image,question,answer"
T = f"{HEAD}\n0.png,is it?,yes\n"
ROW = ["0.png", "is it?", "yes"]


def parse(content: str, name: str = "q.csv") -> tables.Parsed:
    return tables.parse(
        name,
        content.encode(),
        lists=("options",),
        required=("image", "question", "answer"),
        optional=("options", "group"),
    )


@pytest.mark.parametrize(
    ("content", "rows", "lines", "note"),
    [
        (T, [ROW], [2], ""),
        (T.replace("\n", "\r\n"), [ROW], [2], ""),
        (T.replace("\n", "\r"), [ROW], [2], ""),
        (T.rstrip("\n"), [ROW], [2], ""),
        (T.replace(",", ";"), [ROW], [2], "values are separated by a semicolon"),
        (T.replace(",", "\t"), [ROW], [2], "values are separated by a tab"),
        (T.replace(",", "|"), [ROW], [2], "values are separated by a bar"),
        ("sep=;\n" + T.replace(",", ";"), [ROW], [3], "by a semicolon, as its first line says"),
        ('"sep=;"\r\n' + T.replace(",", ";"), [ROW], [3], "as its first line says"),
        ("SEP=\t\n" + T.replace(",", "\t"), [ROW], [3], "by a tab, as its first line says"),
        # A comma or a semicolon inside a cell does not decide.
        (
            "image;question;answer\n0.png;a, b, c or d?;yes\n",
            [["0.png", "a, b, c or d?", "yes"]],
            [2],
            "",
        ),
        ("image;question;answer\n0.png;1,5;2,5\n", [["0.png", "1,5", "2,5"]], [2], "a semicolon"),
        (
            'image,question,answer\n0.png,"a; b; c; d",yes\n',
            [["0.png", "a; b; c; d", "yes"]],
            [2],
            "",
        ),
        (T.replace(",", ", "), [ROW], [2], "blanks after a comma were dropped"),
        (f'{HEAD}\n0.png, "is it, or not?", yes\n', [["0.png", "is it, or not?", "yes"]], [2], ""),
        (
            '"image","question","answer"\n"0.png","say ""yes""","yes"\n',
            [["0.png", 'say "yes"', "yes"]],
            [2],
            "",
        ),
        (f'{HEAD}\n0.png,a 5" tissue,yes\n', [["0.png", 'a 5" tissue', "yes"]], [2], ""),
        (
            f"{HEAD}\n\n0.png,is it?,yes\n\n\n",
            [ROW],
            [3],
            "line 2: an empty line was skipped (3 lines)",
        ),
        (f"\n{HEAD}\n0.png,is it?,yes\n", [ROW], [3], "line 1: an empty line was skipped"),
        (
            f"{HEAD}\n,,\n , ,\u00a0\n0.png,is it?,yes\n",
            [ROW],
            [4],
            "line 2: an empty line was skipped (2 lines)",
        ),
        (
            f'{HEAD}\n0.png,"is\nit?",yes\n1.png,"a\r\nb\n",no\n2.png,c,no\n',
            [["0.png", "is\nit?", "yes"], ["1.png", "a\r\nb", "no"], ["2.png", "c", "no"]],
            [2, 4, 7],
            "line 2: a value holds a line break (2 lines)",
        ),
        (
            f"{HEAD}\n0.png,is it?,yes,\n1.png,b,no,,\n",
            [ROW, ["1.png", "b", "no"]],
            [2, 3],
            "line 2: an extra empty cell at the end was dropped (2 lines)",
        ),
        (f"{HEAD},\n0.png,is it?,yes,\n", [ROW], [2], "line 2: an extra empty cell"),
        (f"{HEAD},,\n0.png,is it?,yes\n", [ROW], [2], ""),
        (
            f",{HEAD}\n0,0.png,is it?,yes\n",
            [ROW],
            [2],
            "the first column has no heading and is not used (it begins with",
        ),
        ("image,question,,answer\n0.png,is it?,,yes\n", [ROW], [2], ""),
        (
            "Image,QUESTION , answer\n0.png,is it?,yes\n",
            [ROW],
            [2],
            "'Image' -> image, 'QUESTION ' -> question",
        ),
        (
            "image\u00a0,question,\u200banswer\n0.png,is it?,yes\n",
            [ROW],
            [2],
            r"'image\xa0' -> image",
        ),
        ("\ufeff" + T, [ROW], [2], ""),
        ("\ufeff\ufeff" + T, [ROW], [2], r"'\ufeffimage' -> image"),
        (
            f"{HEAD}\n0.png,is it?\u00a0,\u200byes\n",
            [ROW],
            [2],
            r"line 2: characters that one cannot see around 'is it?\xa0' in column question",
        ),
        (
            f'{HEAD}\n0.png,"is it? ",yes\n',
            [ROW],
            [2],
            "line 2: blanks around 'is it? ' in column question were dropped",
        ),
        (f"{HEAD}\n0.png,is\u00a0it?,yes\n", [["0.png", "is\u00a0it?", "yes"]], [2], ""),
        (
            f"{HEAD}\n007,1.50,NA\nnull,1e5,TRUE\n",
            [["007", "1.50", "NA"], ["null", "1e5", "TRUE"]],
            [2, 3],
            "",
        ),
        (
            f"{HEAD}\n0.png,“is it?”,yes\n",
            [["0.png", "“is it?”", "yes"]],
            [2],
            "line 2: a value of column question stands in typographic quotes",
        ),
        (f"{HEAD}\n0.png,,\n", [["0.png", "", ""]], [2], ""),
    ],
)
def test_it_is_read_as_it_stands(
    content: str, rows: list[list[str]], lines: list[int], note: str
) -> None:
    parsed = parse(content)
    assert parsed.rows.to_numpy().tolist() == rows
    assert parsed.rows.index.tolist() == lines
    assert list(parsed.rows) == ["image", "question", "answer"]
    assert note in "\n".join(parsed.notes)


def test_nothing_is_said_of_a_plain_table() -> None:
    assert parse(T).notes == []
    assert parse(T.replace(",", "\t"), "q.TSV").notes == []
    assert parse(T.replace(",", "\t"), "q.txt").notes == ["values are separated by a tab"]


def test_options_keep_their_bars_and_lists_stay_text() -> None:
    text = f'{HEAD},Options\n0.png,a,b,a|b\n1.png,a,b,"[""a"", ""b""]"\n2.png,a,b,\n'
    assert parse(text).rows["options"].tolist() == ["a|b", '["a", "b"]', ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            f"{HEAD}\n0.png,a mass, or a cyst?,yes\n",
            r"q.csv, line 2: 4 cells for 3 columns: '0.png' \| 'a mass' \| 'or a cyst\?' \| 'yes'; "
            "put a value that contains a comma into double quotes",
        ),
        (f"{HEAD},\n0.png,a mass, or a cyst?,yes\n", "line 2: 4 cells for 3 columns"),
        (f"{HEAD}\n0.png,a,b\n\n1.png,“a, b”,c\n", 'line 4: 4 cells .* of quotes only " '),
        (
            f"{HEAD}\n0.png,yes\n",
            "line 2: 2 cells for 3 columns: '0.png' .* put a comma for each empty",
        ),
        ("image;question;answer\n0.png;yes\n", "line 2: 2 cells for 3 .* put a semicolon for each"),
        (f'{HEAD}\n0.png,"a\nb",c\n1.png,b\n', "line 4: 2 cells for 3 columns"),
        (f"{HEAD},answer\n0.png,is it?,yes,no\n", "line 1: two columns are named 'answer'"),
        (
            f"{HEAD},Answer \n0.png,is it?,yes,no\n",
            r"'answer' \('answer' and 'Answer '\); rename or",
        ),
        ("image,question,,answer\n0.png,a,b,c\n", "line 2: column 3 holds 'b' but has no heading"),
        (
            "images,question,answer\na,b,c\n",
            r"line 1 lacks the columns \['image'\].*'images' for image",
        ),
        (
            "image,question\na,b\n",
            r"line 1 lacks the columns \['answer'\]; it has .* may also have opt",
        ),
        (
            "0.png,is it?,yes\n",
            r"line 1 names none of the columns .*: '0.png' \| 'is it\?' \| 'yes'; if",
        ),
        ("Bild;Frage;Antwort\na;b;c\n", "'Bild' .* if this is the heading, rename its columns"),
        (
            f"Study X\n\n{HEAD}\na,b,c\n",
            "the heading stands in line 3, but line 1 is 'Study X'; delete",
        ),
        (
            "Nuclei, 2026\nimage;question;answer\na;b;c\n",
            "stands in line 2, but line 1 is 'Nuclei, 2026'",
        ),
        (
            "“image”,“question”,“answer”\na,b,c\n",
            "line 1: the heading '“image”' stands in typographic",
        ),
        (
            f'{HEAD}\n0.png,"is it?,yes\n1.png,is it?,no\n',
            "line 2: a double quote opens the value '\"is",
        ),
        (
            f'{HEAD}\n0.png,a,b\n1.png,"is it?,yes\n2.png,"is it?",no\n',
            "line 3: the value .* in line 4",
        ),
        (
            f'{HEAD}\n0.png,"say "yes"",b\n',
            'line 2: the value .* write a double quote inside it as ""',
        ),
        (f'{HEAD}\n0.png,"say \\"yes\\"",b\n', "line 2: the value .* in line 2; close it"),
        (
            f'{HEAD}\n0.png,"a\nb",c\n1.png,"a\nb,c\n',
            "line 4: a double quote opens .* never closed",
        ),
        (f'{HEAD}\n0.png,"a,b\n' + "1.png,a,b\n" * 20_000, "line 2: a double quote opens"),
        (f"{HEAD}\n0.png,a\0b,c\n", "line 2: it holds a NUL byte"),
        ("\n\n;;\n", "q.csv, line 3 names none of the columns"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(content)


def test_a_row_may_end_before_its_empty_optional_cells() -> None:
    content = b"image;question;answer;Options;Question ID\na.png;x?;yes\nb.png;y?;no;yes|no;4\n"
    parsed = tables.parse(
        "q.csv",
        content,
        lists=("options",),
        required=("image", "question", "answer"),
        optional=("options", "question_id"),
    )
    assert parsed.rows["options"].tolist() == ["", "yes|no"]
    assert parsed.rows["question_id"].tolist() == ["", "4"]
    assert "line 2: cells left out at the end of the row were taken as empty" in parsed.notes
