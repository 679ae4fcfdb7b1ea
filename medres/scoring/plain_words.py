"""The words of which `plain` knows another form."""

import re

WORDS_OF_NUMBERS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen".split()
    )
}
TENS = {
    word: 10 * tens
    for tens, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2
    )
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth "
        "twentieth".split(),
        start=1,
    )
}

UNITS = {
    name: (factor, base)
    for base, units in {
        "mm": {
            "1/1000000": "nm nanometer",
            "1/1000": "μm um micron micrometer",
            "1": "mm millimeter",
            "10": "cm centimeter",
            "100": "dm",
            "1000": "m meter",
            "25.4": "inch",
        },
        "mg": {
            "1/1000": "μg ug mcg microgram",
            "1": "mg milligram",
            "1000": "g gram",
            "1000000": "kg kilogram",
        },
        "ml": {"1": "ml cc milliliter", "100": "dl", "1000": "l liter"},
        "s": {"1/1000": "ms millisecond", "1": "s sec second", "60": "min minute"}
        | {"3600": "h hr hour"},
        "%": {"1": "percent"},
        "°": {"1": "degree"},
    }.items()
    for factor, names in units.items()
    for name in names.split()
}
"""Factor to the unit of the kind that is written, and that unit. Not "in", which is a word too."""

GREEK = dict(
    zip(
        "αβγδεζηθκλσςτφψω",
        "alpha beta gamma delta epsilon zeta eta theta kappa lambda sigma sigma tau phi psi "
        "omega".split(),
        strict=True,
    )
)
"""Letters that are written out. Not μ, which begins units."""

ARTICLES = frozenset("a an the".split())
BEFORE_AN_ARTICLE = frozenset(
    "and are as at be by for from has have in is it likely near no not of on or probably show "
    "shows there to was were with within without".split()
)
"""After these words "a" and "an" are articles, as at the beginning."""

PLACES = frozenset(
    "left right upper lower middle mid anterior posterior superior inferior medial lateral apical "
    "basal top bottom".split()
)

SINGULARS = {
    plural: singular
    for singular, plurals in {
        **{
            f"{stem}us": f"{stem}i"
            for stem in (
                "bronch nucle foc thromb embol vill glomerul hil sulc gyr alveol fung calcul radi "
                "humer stimul thalam"
            ).split()
        },
        **{
            f"{stem}um": f"{stem}a"
            for stem in ("atri hil sept ov bacteri labi cerebr osti acetabul infundibul".split())
        },
        "diverticulum": "diverticula diverticuli diverticulums",
        "ganglion": "ganglia",
        "foramen": "foramina",
        "lumen": "lumina",
        "viscus": "viscera",
        "corpus": "corpora",
        "apex": "apices apexes",
        "cortex": "cortices",
        "index": "indices indexes",
        "vertex": "vertices",
        "matrix": "matrices",
        "varix": "varices",
        "calyx": "calyces calices",
        "appendix": "appendices appendixes",
        "thorax": "thoraces",
        "phalanx": "phalanges",
        "meninx": "meninges",
        "axis": "axes",
        "testis": "testes",
        "pelvis": "pelves",
        "crisis": "crises",
        "foot": "feet",
        "tooth": "teeth",
        "man": "men",
        "woman": "women",
        "child": "children",
        "half": "halves",
        "leaf": "leaves",
        "dose": "doses",
        "nose": "noses",
        "headache": "headaches",
        "ache": "aches",
    }.items()
    for plural in plurals.split()
}
UNCHANGED = frozenset("aids lens news plus does this thus species series gas gases".split())
"""Would be another word without its s, or are no plurals."""

SPELLINGS = tuple(
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        (r"\boe(?=dem|soph|str)", "e"),
        (r"(?<=[a-z])oea\b", "ea"),
        (r"(?<=[a-z])aemi", "emi"),
        (r"\b(h|an|leuk)aem", r"\1em"),
        (r"\bhaemo", "hemo"),
        (r"\b(c)aec(?=um|al|a\b)", r"\1ec"),
        (r"\bfoet(?=us|al)", "fet"),
        (r"\bfaec(?=es|al)", "fec"),
        (r"\bp(a)ed(?=iatr)", "ped"),
        (r"\borthopaed", "orthoped"),
        (r"\bgynaec", "gynec"),
        (r"\b(tum|col|vap|fav)our", r"\1or"),
        (r"\bgrey", "gray"),
        (r"\bartefact", "artifact"),
        (r"(cent|fib|lit|calib|met)re(?=s?\b)", r"\1er"),
        (r"\b(ischaem)", "ischem"),
        (r"\b([a-z]+)ised\b", r"\1ized"),
        (r"\bper cent\b", "percent"),
        (r"\bpet ?[-/ ] ?ct\b", "petct"),
    )
)
"""British spelling and its American form; PET-CT, which is no CT, as one word."""
