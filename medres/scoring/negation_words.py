"""The words by which `negation` judges a mention.

English as reports use it, and the plain negations of German, French, Spanish, Italian, Portuguese
and Dutch. A phrase is written with underscores.
"""


def _phrases(text: str) -> set[tuple[str, ...]]:
    return {tuple(phrase.split("_")) for phrase in text.casefold().split()}


# Deny what follows in their clause, and what precedes them as its verb's "not".
_NOT = _phrases(
    "not never cannot hardly barely scarcely nicht nie niemals pas jamais non não nao nunca niet "
    "nooit tampoco isnt arent wasnt werent dont doesnt didnt cant couldnt wont aint ikke inte "
    "icke не"
)
# Deny what follows in their clause.
_NO = _phrases(
    "no without neither nor none_of nothing nobody unable_to impossible_to difficult_to hard_to "
    "w_o zero_evidence insufficient_evidence minimal_evidence low_probability low_suspicion "
    "low_likelihood nie_ma brak bez без нет ingen inga inget utan uden uten pas_de pas_d non_si "
    "não_há não_se little_evidence little_to kein keine keinen keinem keiner keines keinerlei "
    "ohne weder sans aucun aucune ni sin ningún ningun ninguna ninguno nessun nessuno nessuna "
    "senza né sem nenhum nenhuma nem geen zonder"
)
# The same, but "not" before them makes a double negation.
_LACK = _phrases(
    "absence lack lacks lacking lacked denies denied denying exclude excludes excluding exclusion "
    "rule_out rules_out ruling_out r_o negative_for free_of free_from clear_of devoid_of far_from "
    "fails_to failed_to failure_to unremarkable_for against unlike inconsistent_with "
    "incompatible_with contradicts mimics mimicking anything_but all_but reject rejects rejected "
    "everything_but dismiss dismisses dismissed frei_von ausschluss ausschließen auszuschließen "
    "gegen exclure exclut exclui exclu_un ausencia descarta descartar assenza esclude escludere "
    "ausência descarta_se excluir afwezigheid sluit_uit vrij_van libre_de exempt_de dépourvu_de "
    "libero_da livre_de"
)
# Deny what they are said of ("is unlikely", "absent"), or what follows if that comes first.
_LACKING = _phrases(
    "absent excluded unlikely improbable wrong incorrect false untrue missing ruled_out "
    "less_likely least_likely less_probable least_probable ausgeschlossen unwahrscheinlich falsch "
    "fehlt fehlen fehlend absente absents absentes exclu exclue exclus exclues ausente ausentes "
    "descartado descartada improbabile assente assenti escluso esclusa excluído excluída "
    "improvável afwezig uitgesloten onwaarschijnlijk"
)
# Deny only what they are said of; "free" after a hyphen: "tumour-free".
_SAID_OF = _phrases(
    "negative resolved minus free negativ negatief négatif négative negativo negativa"
)
# Deny what was asked, as a clause of their own: "pneumonia: none".
_ANSWER = _phrases("none nein")
# What follows is neither affirmed nor denied.
_DOUBTFUL = _phrases(
    "whether if unless doubt doubtful except besides exception rather_than instead_of other_than "
    "apart_from aside_from not_only not_just not_merely not_necessarily ob außer sauf hormis "
    "excepto salvo eccetto nicht_nur non_seulement pas_seulement no_solo no_sólo non_solo não_só "
    "niet_alleen"
)
KINDS = {
    phrase: kind
    for kind, phrases in (
        ("said of", _SAID_OF),
        ("lacking", _LACKING),
        ("lack", _LACK),
        ("no", _NO),
        ("not", _NOT),
        ("answer", _ANSWER),
        ("doubtful", _DOUBTFUL),
    )
    for phrase in phrases
}
LENGTHS: dict[str, list[int]] = {}
for _phrase in sorted(KINDS, key=len, reverse=True):
    LENGTHS.setdefault(_phrase[0], []).append(len(_phrase))
FIRST_WORDS = frozenset(LENGTHS)

CONCORD = frozenset(
    "neither nor ni nem né aucun aucune ningún ningun ninguna ninguno nessun nessuno nessuna "
    "nenhum nenhuma".split()
)  # a second negation that repeats the first
AUXILIARIES = frozenset(
    "is was are were be been being has have had does do did can could may might must will would "
    "should seems appears looks ist sind war waren wird wurde wurden werden kann konnte est sont "
    "était peut es está están fue ha sido puede è sono può são foi pode zijn kan werd".split()
)
ADVERBS = frozenset("to very also now most quite more still therefore thus so longer".split())
SEEN = frozenset(
    "seen visible visualised visualized identified present shown found detected detectable "
    "demonstrated evident noted observed apparent appreciated likely possible confirmed supported "
    "suspected suggested favoured favored indicated considered there correct right true case "
    "answer diagnosis cause se es hay evidente".split()
)
AND = frozenset("and und et y e en".split())
OR = frozenset("or nor oder noch ou o ni né nem".split())
JOINS = AND | OR
WITH = frozenset("with mit avec con com met".split())
STATES = frozenset("it this there that image picture likely probably only answer just".split())
PREFIXES = frozenset("non pre post pseudo un sub semi quasi extra para peri".split())
BOUNDS = frozenset(
    "than least most over under above below between mindestens höchstens über unter zwischen "
    "entre exceeds exceed exceeding equal".split()
)
ABBREVIATIONS = frozenset("pas sem sans ni sin ob if".split())  # in capitals: PAS stain, SEM
IDIOMS = frozenset("idea clue doubt comment opinion question".split())
"""What "no" may be followed by without being an answer."""
