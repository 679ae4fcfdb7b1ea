"""Open answers in one form: what is equal, what stays apart, and what a negation does."""

import pytest

from medres.scoring.plain import plain
from medres.scoring.plain_words import SINGULARS, UNITS

EQUAL = {
    "numbers": [
        ("four", "4", "4.0", "4.00"),
        ("twelve", "12"),
        ("twenty-one", "twenty one", "21"),
        ("the third rib", "3rd rib", "Third rib"),
        ("twenty first", "21st"),
        ("1,000 cells", "1000 cells"),
        (".5", "0.5", "0.50"),
        ("1½ cm", "1.5 cm", "15 mm"),
        ("2-3", "2–3", "2 to 3", "2 - 3"),
        ("none", "0", "zero", "None."),
        ("grade II", "Grade 2", "grade two", "grade-II"),
        ("stage IV", "stage 4"),
        ("type ix", "type 9"),
    ],
    "quantities": [
        ("5 cm", "5cm", "50 mm", "five centimetres", "5.0 cm", "0.05 m"),
        ("0.5 cm", "5 mm", "5mm"),
        ("2.5cm x 1.7cm", "2.5 x 1.7 cm", "25 mm by 17 mm", "2.5 × 1.7 cm", "2.5x1.7cm"),
        ("10-20 minutes", "10 to 20 min", "600 to 1200 seconds"),
        ("5 µm", "5 μm", "5 um", "five microns", "0.005 mm"),
        ("2 ml", "2 cc", "2 millilitres"),
        ("50%", "50 %", "fifty percent"),
        ("< 5 mm", "<5mm"),
        ("1 inch", "2.54 cm"),
        ("2 l", "2000 ml"),
    ],
    "articles": [("The stomach", "stomach"), ("a mass", "mass"), ("in the lung", "in lung")],
    "hyphens": [
        ("right-sided effusion", "right sided effusion"),
        ("T2-weighted", "T2 weighted"),
        ("X-ray", "Xray", "x ray", "X-Rays"),
        ("non-contrast CT", "noncontrast CT", "non contrast CT"),
        ("hypo-dense", "hypodense"),
        ("air-fluid level", "air fluid levels"),
    ],
    "plurals": [
        ("nodules", "nodule"),
        ("opacities", "opacity"),
        ("masses", "mass"),
        ("abscesses", "abscess"),
        ("bronchi", "bronchus"),
        ("vertebrae", "vertebra"),
        ("diverticula", "diverticulum", "diverticuli"),
        ("metastases", "metastasis"),
        ("stenoses", "stenosis"),
        ("epiphyses", "epiphysis"),
        ("prostheses", "prosthesis"),
        ("apices", "apex"),
        ("kidneys", "kidney"),
        ("doses", "dose"),
        ("diseases", "disease"),
    ],
    "spelling": [
        ("oedema", "edema"),
        ("tumour", "tumor", "Tumours"),
        ("oesophagus", "esophagus"),
        ("grey", "gray"),
        ("haemorrhage", "hemorrhage"),
        ("anaemia", "anemia"),
        ("diarrhoea", "diarrhea"),
        ("Crohn's disease", "Crohn disease", "Crohn’s disease"),
    ],
    "Unicode, case, punctuation": [
        ("ﬁbrosis", "fibrosis"),
        ("Ｘ－ｒａｙ", "x-ray"),
        ("  left   LUNG. ", "Left lung"),
        ("soft\u00adtissue", "softtissue"),
        ("café", "cafe\u0301"),
    ],
    "order": [
        ("upper left lobe", "left upper lobe"),
        ("mass, atelectasis", "atelectasis and mass", "Atelectasis; a mass"),
        ("left lung and right kidney", "right kidney, left lung"),
    ],
}
APART = {
    "numbers": [
        ("1.5", "15"),
        ("1,5", "15"),
        ("1,5", "1.5"),
        ("1.234", "1,234"),
        ("grade 2", "grade 3"),
        ("3 ribs", "3rd rib"),
        ("-5", "5"),
        ("<5", "5"),
        ("about 5", "5"),
        ("2/3", "2-3"),
        ("2-3", "2 and 3"),
        ("4 to 6", "4, 6"),
        ("T1", "T2"),
        ("L2-3", "L3-4"),
        ("none", "no"),
    ],
    "quantities": [
        ("5 mm", "5 cm"),
        ("5", "5 cm"),
        ("10", "10 %"),
        ("5 mg", "5 ml"),
        ("5 x 3 cm", "3 x 5 cm"),
        ("2 in the lung", "2 inch the lung"),
        ("5 m", "5 min"),
        ("5 s", "5"),
    ],
    "words": [
        ("left", "right"),
        ("hypodense", "hyperdense"),
        ("hypo-dense", "hyper-dense"),
        ("lens", "len"),
        ("AIDS", "aid"),
        ("hepatitis A", "hepatitis B"),
        ("hepatitis A", "hepatitis"),
        ("ileum", "ilium"),
        ("diverticulosis", "diverticulitis"),
        ("pelvis", "pelvic"),
        ("typical", "atypical"),
        ("non-enhancing tumor", "enhancing tumor"),
        ("HER2+", "HER2-"),
        ("HER2-", "HER2"),
        ("RLL", "right lower lobe"),
        ("gas", "ga"),
    ],
    "negation": [
        ("no mass", "mass"),
        ("not cystic", "cystic"),
        ("with contrast", "without contrast"),
        ("no", "not"),
        ("no mass", "a mass"),
    ],
    "order": [
        ("left lung, right kidney", "right lung, left kidney"),
        ("liver above spleen", "spleen above liver"),
    ],
}


def _pairs(table):
    return [
        pytest.param(first, other, id=f"{kind}: {first} / {other}")
        for kind, rows in table.items()
        for first, *others in rows
        for other in others
    ]


@pytest.mark.parametrize(("first", "other"), _pairs(EQUAL))
def test_one_form_for_what_means_the_same(first: str, other: str) -> None:
    assert plain(first).key == plain(other).key


@pytest.mark.parametrize(("first", "other"), _pairs(APART))
def test_what_differs_in_meaning_stays_apart(first: str, other: str) -> None:
    assert plain(first).key != plain(other).key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No left effusion", ("no", "¬left", "¬effusion")),
        ("the left, not the right", ("left", "not", "¬right")),
        ("right, not left", ("right", "not", "¬left")),
        ("a fracture cannot be excluded", ("?fracture", "¬cannot", "¬be", "¬excluded")),
        ("more than 5 cm", ("more", "than", "?50 mm")),
        ("the", ("the",)),
        ("日本", ("日本",)),
        ("...", ("...",)),
        ("", ()),
        (" \n", ()),
    ],
)
def test_the_words_of_a_text_say_what_it_rejects(text: str, words: tuple[str, ...]) -> None:
    assert plain(text).words == words


def test_a_form_is_its_own_form() -> None:
    for rows in EQUAL.values():
        for first, *_ in rows:
            once = " ".join(plain(first).words)
            if "¬" not in once:
                assert " ".join(plain(once).words) == once


def test_units_of_a_kind_have_one_smallest() -> None:
    assert {base for _, base in UNITS.values()} == {"mm", "mg", "ml", "s", "%", "°"}
    assert "in" not in UNITS  # a word too


def test_no_singular_is_a_plural_of_another_word() -> None:
    assert not set(SINGULARS) & set(SINGULARS.values())
