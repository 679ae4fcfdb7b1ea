"""Score replies by a named rule, and summarise the verdicts by named metrics.

`strict` reads one answer out of a reply and guesses nothing; the stored verdict (`correct`) is
always its verdict. `paper` is the rule of the paper's authors, faults included, for comparison
with their tables.
"""

from medres.scoring import paper
from medres.scoring.rules import COLUMNS as RULE_COLUMNS
from medres.scoring.rules import rule_metrics
from medres.scoring.strict import normalise_answer, parse_choice, score_table, strict_correct
from medres.scoring.vqa import YES_NO, vqa_metrics
from medres.scoring.words import confusable

__all__ = [
    "RULE_COLUMNS",
    "YES_NO",
    "confusable",
    "normalise_answer",
    "paper",
    "parse_choice",
    "rule_metrics",
    "score_table",
    "strict_correct",
    "vqa_metrics",
]
