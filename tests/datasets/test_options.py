import pytest

from medres.datasets import options


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", []),
        (" | ", []),
        ("[]", []),
        ("a|b", ["a", "b"]),
        (" a | b |", ["a", "b"]),
        ('["a|b", " c "]', ["a|b", "c"]),
        ("[1, 2.50, 1e3]", ["1", "2.50", "1e3"]),
        ("['it\\'s', 'not']", ["it's", "not"]),
        ("[true, false]", ["true", "false"]),
        ("[1,2] cm|3", ["[1,2] cm", "3"]),
        ("[Fe]|[Cu]", ["[Fe]", "[Cu]"]),
        ("+|-", ["+", "-"]),
        ((" 1 ", "2"), ["1", "2"]),
        ((), []),
        ("HER2 0|HER2 1", ["HER2 0", "HER2 1"]),
    ],
)
def test_a_cell_says_its_options(cell: str | tuple[str, ...], expected: list[str]) -> None:
    assert options.parse(cell) == expected


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a||b", "one of them is empty"),
        ('["a", ""]', "one of them is empty"),
        ("a|\u200b|b", "one of them is empty"),
        (("a", " "), "one of them is empty"),
        ('["a", null]', "one of them is null"),
        ('["a", NaN]', "NaN is no option"),
        ('["a", ["b"]]', "is no text"),
        ('["a", {"b": 1}]', "is no text"),
        ('["yes", "no"', "are not JSON"),
        ("['yes' 'no'", "are not JSON"),
        ("['yes' 'no']", "there is only one"),
        ("yes", "there is only one; separate options by |"),
        ("yes; no", "there is only one"),
        ('["yes"]', "there is only one"),
        ("a|b|a", "'a' stands twice"),
        ("pH|PH", r"no reply could tell apart 'pH' \(U\+0070\) and 'PH' \(U\+0050\)"),
        ("10²|102", r"'10²' \(U\+00B2\) and '102' \(U\+0032\)"),
        ("2-3|2–3", "no reply could tell apart"),
        ("Rb|Sr|RB", "no reply could tell apart 'Rb'"),
        ("a b|a  b", "no reply could tell apart"),
        ("ﬁbre|fibre", "no reply could tell apart"),
        ("naïve|nai\u0308ve", "no reply could tell apart"),
    ],
)
def test_wrong_options_say_what_to_write(cell: str | tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options.parse(cell)
