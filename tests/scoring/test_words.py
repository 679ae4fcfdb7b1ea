import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medres.scoring import confusable, parse_choice
from medres.scoring.words import cut, fold, key


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["pH", "PH"], ("pH", "PH")),
        (["10²", "102"], ("10²", "102")),
        (["2-3", "2–3"], ("2-3", "2–3")),
        (["Rb", "RB"], ("Rb", "RB")),
        (["a b", "a  b"], ("a b", "a  b")),
        (["½", "1/2"], ("½", "1/2")),
        (["1 µm", "1 μm"], ("1 µm", "1 μm")),  # the micro sign, the Greek letter
        (["ﬁbrin", "fibrin"], ("ﬁbrin", "fibrin")),
        (["Straße", "STRASSE"], ("Straße", "STRASSE")),
        (["X-ray", "x ray"], ("X-ray", "x ray")),
        (["HER2-", "HER2−"], ("HER2-", "HER2−")),
        (["Ca²⁺", "Ca2+"], ("Ca²⁺", "Ca2+")),
        (["ER (+)", "ER-", "ER+ve"], ("ER (+)", "ER+ve")),
        (["a\u00adcid", "acid"], ("a\u00adcid", "acid")),  # a soft hyphen
        (["naïve", unicodedata.normalize("NFD", "naïve")], ("naïve", "nai\u0308ve")),
        (["b", "a", "B", "A"], ("b", "B")),  # the first pair, by its second entry
        (["yes", " "], (" ", " ")),
        (["\u200b", "yes"], ("\u200b", "\u200b")),
        (["HER2+", "HER2-", "HER2"], None),
        (["-2.00 D", "+2.00 D", "2.00 D"], None),
        (["CD4+CD8-", "CD4-CD8+", "CD4+CD8+", "CD4-CD8-"], None),
        (["+", "-", "±", "++"], None),
        (["<5 mm", "5 mm", ">5 mm"], None),
        (["1½", "11/2"], None),
        (["0.5", ".05"], None),
        (["?", "!"], None),  # no words, so all of the text counts
        (["10⁻⁵", "10⁵"], None),
        (["no", "nö"], None),
        ([], None),
    ],
)
def test_options_that_the_rule_cannot_tell_apart(options, expected):
    assert confusable(options) == expected
    if expected is None and options:
        assert [parse_choice(option, options) for option in options] == options


@pytest.mark.parametrize(
    ("text", "words", "binding"),
    [
        ("HER2+, ER−.", ["her2", "+", "er", "-"], ["+", "-"]),
        ("ER (+), PR(-)", ["er", "+", "pr", "-"], ["+", "-"]),
        ("ER +ve, PR -ve", ["er", "+", "pr", "-"], ["+", "-"]),
        ("HER2 – or ER –", ["her2", "or", "er", "-"], ["-"]),  # a dash, then a sign
        ("K⁺/H⁺-ATPase", ["k", "+", "h", "+", "atpase"], ["+", "+"]),
        ("CD4+CD8-", ["cd4", "+", "cd8", "-"], ["-"]),
        ("HER2 +/-", ["her2", "±"], ["±"]),
        ("T1 + contrast", ["t1", "+", "contrast"], []),
        ("T-score -2.5", ["t", "score", "-2.5"], []),
        ("minus 2.5, menos 3", ["-2.5", "-3"], []),
        ("2-3, 2–3 and 5%-10%", ["2", "3", "2", "3", "and", "5", "10"], []),
        ("(-84) = −84", ["-84", "=", "-84"], []),
        ("p < 0.05, p<=.5", ["p", "<0.05", "p", "≤0.5"], []),
        ("isn't 1.5 or 2,000", ["isn't", "1.5", "or", "2,000"], []),
        ("Benign--no", ["benign", "no"], []),
    ],
)
def test_words_and_their_signs(text, words, binding):
    found = cut(text)
    assert list(found.words) == words
    assert [found.words[place] for place in sorted(found.binding)] == binding
    assert len(found.clauses) == len(words)


def test_hyphens_and_dashes_are_told_apart():
    hyphened = cut("A T2-weighted, non-small one")
    assert [hyphened.words[place] for place in sorted(hyphened.joined)] == ["weighted", "small"]
    dashed = cut("The score is - 2.5 - or no -2.5")
    assert [dashed.words[place] for place in sorted(dashed.dashed)] == ["2.5"]
    assert dashed.words[-1] == "-2.5"


near = st.text("aAßbß12.,+-−–<%½²(/) '\n", max_size=6)
option_lists = st.lists(near | st.text(max_size=6), max_size=6)


@settings(derandomize=True, deadline=None, max_examples=1_000)
@given(options=option_lists)
def test_every_option_that_is_not_confusable_is_parsed_as_itself(options):
    if confusable(options) is None:
        assert [parse_choice(option, options) for option in options] == options
    else:
        first, second = confusable(options)
        assert key(first) == key(second)
        with pytest.raises(ValueError, match="option"):
            parse_choice("yes", options)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(text=near | st.text())
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)
    assert (key(text) == ()) == (fold(text) == "")
