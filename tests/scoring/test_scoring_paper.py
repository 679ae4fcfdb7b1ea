"""The `paper` rule, derived again from its description, in other ways, on generated replies."""

import itertools
import random
import string

import pytest

from medres.scoring import paper, parse_choice

# --- the derivation: from the description alone, a character and a word at a time ---------------

DIGITS = {"none": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
DIGITS |= {"seven": 7, "eight": 8, "nine": 9, "ten": 10}
APOSTROPHES = {"dont": "don't", "isnt": "isn't", "cant": "can't", "hes": "he's", "twas": "'twas"}
APOSTROPHES |= {"couldnt've": "couldn't've", "couldn'tve": "couldn't've"}
PUNCTUATION = set(string.punctuation) - set("'.#$%&*:|~^")


def is_inside(short, long):
    return any(long[start : start + len(short)] == short for start in range(len(long) + 1))


def is_right_by_substring(reply, reference):
    return is_inside(reference.lower(), reply.lower())


def is_right_by_letter(reply, reference):
    for char in reply:
        if not char.isspace():
            return char.upper() == reference
    return False


def line_said_first(reply, lines):
    """Return the line at the first place where one begins; the earlier of the list in a tie."""
    for start in range(len(reply)):
        for line in lines:
            if reply[start : start + len(line)].upper() == line.upper():
                return line
    return None


def words_of(text):
    text = text.lower()
    triples = zip(text, text[1:], text[2:], strict=False)
    has_number_comma = any(a.isdecimal() and b == "," and c.isdecimal() for a, b, c in triples)
    pairs = set(itertools.pairwise(text))
    kept = []
    for char in text:
        beside_blank = (char, " ") in pairs or (" ", char) in pairs
        if char not in PUNCTUATION:
            kept.append(char)
        elif not (has_number_comma or beside_blank):
            kept.append(" ")
    n_dropped, stopped = 0, []
    for place, char in enumerate(kept):
        is_decimal = place + 1 < len(kept) and kept[place + 1].isdecimal()
        if char == "." and not is_decimal and n_dropped < 32:
            n_dropped += 1
        else:
            stopped.append(char)
    result = []
    for word in "".join(stopped).split():
        number = str(DIGITS.get(word, word))
        if number not in ("a", "an", "the"):
            result.append(APOSTROPHES.get(number, number))
    return result


def recall_and_f1(reply, reference):
    said, wanted = words_of(reply), words_of(reference)
    if not said or not wanted:
        return 0.0, 0.0
    n_right = len([word for word in said if word in wanted])
    n_missed = len([word for word in wanted if word not in said])
    if not n_right:
        return 0.0, 0.0
    recall, precision = n_right / (n_right + n_missed), n_right / len(said)
    return recall, 2 / (1 / recall + 1 / precision)


# --- generated replies -------------------------------------------------------------------------

LINES = ["HEL", "HeLa", "REH", "HEK293", "U-2 OS", "U2OS", "A-431", "BJ [Human fibroblast]"]
WORDS = (
    "no normal not know none carcinoma yes yesterday eyes YES No. 0 2 10 20 1,000 1.5 2.0 . ... "
    "zero one ten None A the an THE The left right upper lobe x-ray and/or T2 flair (left) -5 "
    "HEL HeLa hela HELA HEK293 HEK REH reh U-2 U2OS A-431 BJ cells B b (B) B. ABC dont isnt cant "
    "hes twas couldnt've couldn'tve don't ; ? ! , left,right lung; grade benign malignant"
)
TRAPS = [*WORDS.split(), "[Human fibroblast]", "." * 40, "\t", "\n", "3,4", "upper-left lobe"]
REFERENCES = {
    "yes or no": ["yes", "no", "Yes", "NO"],
    "substring": ["0", "2", "10", "benign", "Malignant", "grade 2", "ten"],
    "cell line": LINES,
    "first letter": list("ABCD"),
    "open": [
        "left lung",
        "The X-ray",
        "two",
        "none",
        "upper left lobe",
        "a",
        "10",
        "1,000",
        "isnt",
    ],
}


def replies(n_replies, seed):
    rng = random.Random(seed)
    for _ in range(n_replies):
        words = rng.choices(TRAPS, k=rng.randint(0, 7))
        yield "".join(word + rng.choice(("", " ", " ", " ", "  ", ", ")) for word in words)


def test_twenty_thousand_replies_are_judged_as_described():
    rng = random.Random(0)
    n_judged = n_right = n_odd = 0
    for reply in replies(20_000, seed=1):
        for kind in ("yes or no", "substring", "first letter"):
            reference = rng.choice(REFERENCES[kind])
            judge = is_right_by_letter if kind == "first letter" else is_right_by_substring
            expected = judge(reply, reference)
            assert paper.correct(reply, reference, kind=kind) == expected, (reply, reference)
            n_judged += 1
            n_right += expected
            n_odd += kind == "yes or no" and expected and parse_choice(reply, ["yes", "no"]) is None
    # Both verdicts must have been met often, and replies that only this rule calls right.
    assert n_judged == 60_000
    assert 6_000 < n_right < 54_000
    assert n_odd > 1_000


def test_twenty_thousand_replies_name_the_cell_line_as_described():
    rng = random.Random(0)
    n_right = n_by_order = 0
    for reply in replies(20_000, seed=2):
        reference, order = rng.choice(LINES), rng.sample(LINES, len(LINES))
        expected = line_said_first(reply, order) == reference
        assert paper.correct(reply, reference, kind="cell line", names=order) == expected, reply
        outcomes = {
            line_said_first(reply, given) == reference for given in (LINES, LINES[::-1])
        }  # two names at one place are once in this order, once in that
        assert paper.cell_line_outcomes(reply, reference, LINES) == outcomes, reply
        n_right += expected
        n_by_order += len(outcomes) > 1
    assert n_right > 500
    assert n_by_order > 200


def test_twenty_thousand_open_replies_score_as_described():
    rng = random.Random(0)
    partial = 0
    for reply in replies(20_000, seed=3):
        reference = rng.choice(REFERENCES["open"])
        found = paper.open_score(reply, reference)
        recall, f1 = recall_and_f1(reply, reference)
        assert found.recall == recall, (reply, reference)
        assert found.f1 == pytest.approx(f1, abs=1e-12), (reply, reference)
        partial += 0 < found.recall < 1
    assert partial > 500


# --- the traps, by name ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("Normal.", "no", True),
        ("It is not clear", "no", True),
        ("I know", "no", True),
        ("adenocarcinoma", "no", True),
        ("Yes, there is none", "no", True),
        ("Yes and no", "yes", True),
        ("the eyes", "yes", True),
        ("Yes", "no", False),
        ("", "no", False),
    ],
)
def test_yes_and_no_are_found_anywhere(reply, reference, expected):
    assert paper.yes_no_correct(reply, reference) == expected


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("10", "0", True),
        ("12", "2", True),
        ("2", "10", False),
        ("nonmalignant", "Malignant", True),
        ("not benign", "benign", True),
        ("grade  2", "grade 2", False),
    ],
)
def test_a_class_is_found_anywhere(reply, reference, expected):
    assert paper.substring_correct(reply, reference) == expected


def test_order_of_the_cell_lines_decides_where_one_begins_another():
    for names, is_right in ((["HEL", "HeLa"], False), (["HeLa", "HEL"], True)):
        assert paper.cell_line_correct("These are HeLa cells", "HeLa", names) == is_right
    assert paper.cell_line_outcomes("These are HeLa cells", "HeLa", LINES) == {True, False}
    assert paper.cell_line_outcomes("the REH line, or HeLa", "HeLa", LINES) == {False}
    assert paper.cell_line_outcomes("reh", "REH", LINES) == {True}
    assert paper.cell_line_outcomes("none of them", "REH", LINES) == {False}


@pytest.mark.parametrize("names", [[], ["", "HeLa"]])
def test_cell_lines_without_names_are_refused(names):
    with pytest.raises(ValueError, match="names of cell lines"):
        paper.cell_line_correct("HeLa", "HeLa", names)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("B", True), ("  b)", True), ("Benign", True), ("(B)", False), ("", False), ("AB", False)],
)
def test_the_first_character_is_the_letter(reply, expected):
    assert paper.first_letter_correct(reply, "B") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The X-ray", ["x", "ray"]),
        ("The X- ray-image", ["x", "rayimage"]),  # one blank beside a mark, and it glues everywhere
        ("x-ray, 1,000", ["xray", "1000"]),
        ("None", ["0"]),
        ("ten. TEN", ["10", "10"]),
        ("1.5 cm.", ["1.5", "cm"]),
        ("3. 4", ["3", "4"]),
        ("he dont", ["he", "don't"]),
        ("somebody'd", ["somebodyd"]),
        ("Im", ["im"]),
        ("an A.", []),
        ("a." * 33, ["a" * 33 + "."]),
    ],
)
def test_words_are_normalised_as_in_vqa(text, words):
    assert paper.normalise(text) == words


def test_repeating_a_right_word_hides_a_missing_one():
    assert paper.open_score("left", "left lung").recall == 0.5
    assert paper.open_score("left left left", "left lung").recall == 0.75
    assert paper.open_score("the", "left lung") == paper.OpenScore(0, 0, 0)
    assert paper.open_score("left lung", "the") == paper.OpenScore(0, 0, 0)


@pytest.mark.parametrize(
    ("source", "reference", "options", "kind"),
    [
        ("vqa-rad", "Yes", ["yes", "no"], "yes or no"),
        ("slake", "left lung", [], "open"),
        ("wsi", "grade 2", [], "substring"),
        ("wsi", "yes", [], "substring"),
        ("cervical", "NILM", ["NILM", "SCC"], "substring"),
        ("subcellular", "HeLa", ["HEL", "HeLa"], "cell line"),
        ("ubench", "B", ["A", "B"], "first letter"),
        ("", "no", ["yes", "no"], "yes or no"),
        ("", "0", ["0", "1"], "substring"),
    ],
)
def test_each_question_is_judged_in_the_authors_way(source, reference, options, kind):
    assert paper.kind_of(source, reference, options) == kind


def test_what_a_rule_cannot_judge_raises():
    with pytest.raises(ValueError, match="'maybe' is neither yes nor no"):
        paper.correct("yes", "maybe", kind="yes or no")
    with pytest.raises(ValueError, match="open and has a score"):
        paper.correct("left", "left lung", kind="open")
