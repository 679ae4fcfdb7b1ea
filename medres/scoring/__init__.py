"""Score replies by a named rule, and summarise the verdicts by named metrics.

`strict` reads one answer out of a reply and guesses nothing; the stored verdict (`correct`) is
always its verdict. `paper` is the rule of the paper's authors, faults included, for comparison
with their tables. An open answer counts as right if it `names` what the reference says
(`open_answers`): that verdict is taken whenever stored answers are read (`as_read`).
"""

from medres.scoring import paper
from medres.scoring.open_answers import as_read, by_each_rule, is_open
from medres.scoring.open_answers import check_rule as check_open_rule
from medres.scoring.open_answers import correct as open_correct
from medres.scoring.open_answers import score as open_score
from medres.scoring.rules import COLUMNS as RULE_COLUMNS
from medres.scoring.rules import rule_metrics
from medres.scoring.strict import normalise_answer, parse_choice, score_table, strict_correct
from medres.scoring.vqa import YES_NO, vqa_metrics
from medres.scoring.words import confusable

__all__ = [
    "RULE_COLUMNS",
    "YES_NO",
    "as_read",
    "by_each_rule",
    "check_open_rule",
    "confusable",
    "is_open",
    "normalise_answer",
    "open_correct",
    "open_score",
    "paper",
    "parse_choice",
    "rule_metrics",
    "score_table",
    "strict_correct",
    "vqa_metrics",
]
