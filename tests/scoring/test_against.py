"""A reply that holds all words of the reference can still be another answer."""

import pytest

from medres.scoring import open_score

OTHERWISE = {
    "letters": [
        ("hepatitis B", "hepatitis A"),
        ("hepatitis", "hepatitis A"),
        ("type B", "Type A"),
        ("group AB", "group A"),
        ("vitamin D", "vitamin A"),
    ],
    "levels": [
        ("C5-C6", "C5"),
        ("C5/C6", "C5"),
        ("L4/5", "L4"),
        ("T12-L1", "T12"),
        ("T11 to T12", "T12"),
        ("L3-L4-L5", "L4-L5"),
    ],
    "units": [
        ("5 mg/kg", "5 mg"),
        ("5 mg per kg", "5 mg"),
        ("5 ml/min", "5 ml"),
        ("5 cm per year", "5 cm"),
        ("3 per lobe", "3"),
    ],
    "bounds": [
        ("up to 5 cm", "5 cm"),
        ("maximum 5 cm", "5 cm"),
        ("beyond 5 cm", "5 cm"),
        ("as much as 5 cm", "5 cm"),
    ],
    "pairs of numbers": [
        ("4 in 1", "1 in 4"),
        ("80/120", "120/80"),
        ("Gleason 4+3", "Gleason 3+4"),
        ("5/3", "3/5"),
    ],
    "a choice": [
        ("pneumonia/atelectasis", "pneumonia"),
        ("PET-CT", "CT"),
        ("PET/CT", "CT"),
        ("mild to severe", "mild"),
        ("moderate to mild", "mild"),
        ("It is mild, partly moderate.", "mild"),
    ],
    "not said to be there": [
        ("Is it pneumonia?", "pneumonia"),
        ("pneumonia? edema?", "pneumonia"),
        ("family history of pneumonia", "pneumonia"),
        ("at risk of pneumonia", "pneumonia"),
        ("edema more likely than pneumonia", "pneumonia"),
        ("rather edema than pneumonia", "pneumonia"),
        ("the opposite of pneumonia", "pneumonia"),
        ("tuberculosis misdiagnosed as pneumonia", "pneumonia"),
        ("tuberculosis resembling pneumonia", "pneumonia"),
        ("pneumonia-like opacities", "pneumonia"),
        ("mass-like opacity", "mass"),
        ("everything but pneumonia", "pneumonia"),
        ("zero nodules", "nodules"),
    ],
    "denied in part": [
        ("no large pneumothorax", "no pneumothorax"),
        ("no left effusion", "no effusion"),
        ("no acute hemorrhage", "no hemorrhage"),
        ("no displaced fracture", "no fracture"),
        ("with and without contrast", "without contrast"),
    ],
    "turned": [
        ("spine anterior to the aorta", "aorta anterior to the spine"),
        ("artery left of the vein", "vein left of the artery"),
    ],
}
AS_WELL = {
    "letters": [("It is hepatitis A.", "hepatitis A"), ("A mass in a lobe", "mass in the lobe")],
    "levels": [("the C5 vertebra", "C5"), ("C5/6", "C5-C6"), ("at L4/5", "L4-L5")],
    "numbers": [
        ("5 percent", "5 %"),
        ("about 5 per cent", "5 percent"),
        ("20 mg per kg", "20 mg/kg"),
        ("The pressure is 120/80.", "120/80"),
        ("1 out of 4", "1 in 4"),
        ("stage 3A", "stage IIIA"),
        ("type 2b", "Type IIb"),
    ],
    "Greek": [("beta thalassemia", "β-thalassemia"), ("TNF-alpha", "TNF-α")],
    "a question that is answered": [("What is seen? Pneumonia.", "pneumonia")],
    "the same is in the reference": [
        ("a family history of cancer", "family history of cancer"),
        ("liver larger than the spleen", "larger than spleen"),
        ("no large effusion is seen", "no large effusion"),
        ("up to 5 cm long", "up to 5 cm"),
        ("CT/MRI scan", "CT/MRI"),
    ],
    "denied beside it": [
        ("no mass or effusion", "no effusion"),
        ("no evidence of pneumothorax", "no pneumothorax"),
        ("no right or left effusion", "no effusion"),
        ("done w/o contrast", "without contrast"),
    ],
}


def _cases(table):
    return [
        pytest.param(*pair, id=f"{kind}: {pair[0]} / {pair[1]}")
        for kind, rows in table.items()
        for pair in rows
    ]


@pytest.mark.parametrize(("reply", "reference"), _cases(OTHERWISE))
def test_what_is_added_makes_it_another_answer(reply: str, reference: str) -> None:
    assert not open_score(reply, reference).names


@pytest.mark.parametrize(("reply", "reference"), _cases(AS_WELL))
def test_other_additions_do_not(reply: str, reference: str) -> None:
    assert open_score(reply, reference).names
