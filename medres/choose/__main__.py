"""`python -m medres.choose TABLE MODEL`: at which resolution should a model be asked?"""

import argparse
import re
import sys

from medres import choose, ending, make, marks, texts
from medres.choose import asked as asked_for
from medres.choose import forecast, written
from medres.plan import table as plan
from medres.plan.memory import GPUS
from medres.report import page
from medres.results import choice_tables

STUDY_FILE = re.compile(r"set `(\w+): ([\w-]+)`(?: in the study file)?")
"""Remedy of errors that a study file meets, which here is an argument."""


def main(arguments: list[str]) -> int:
    """Ask a model all questions of a table at a ladder of sizes, and say which one suffices."""
    parser = argparse.ArgumentParser(prog="python -m medres.choose", description=main.__doc__)
    parser.add_argument("table", help="questions about images, as docs say")
    parser.add_argument("model", help="a tiny model, a folder, a hub id, served:URL#NAME, a run")
    parser.add_argument("--name", default="", help="of the study (default: from table and model)")
    parser.add_argument("--revision", default="", help="commit of a hub model")
    parser.add_argument("--margin", type=float, help="points of accuracy that may be lost (5)")
    parser.add_argument("--ladder", default="", help='sizes to ask at: "low native scale-2"')
    parser.add_argument("--price", type=float, help="per million tokens, in any currency")
    parser.add_argument("--hourly", type=float, help="per hour of the machine, in any currency")
    parser.add_argument(
        "--set",
        default="",
        help="parameters of 03_evaluate and of the table: 'dtype=bfloat16 find_images=by-name'",
    )
    parser.add_argument("--plan", action="store_true", help="say what it takes; ask nothing")
    parser.add_argument("--gpu", default=plan.GPU, help=", ".join(GPUS))
    given = parser.parse_args(arguments)
    stated = {
        "margin": None if given.margin is None else given.margin / 100,
        "price_per_million_tokens": given.price,
        "price_per_hour": given.hourly,
    }
    try:
        if given.gpu not in GPUS:
            raise ValueError(f"unknown GPU {given.gpu!r}; known are {', '.join(GPUS)}")
        stated_page = {name: value for name, value in stated.items() if value is not None}
        written.check(stated_page)
        settings = written.settings(given.set)
        reading = {name: settings.pop(name) for name in asked_for.READING if name in settings}
        named = {"name": given.name, "revision": given.revision, "reading": reading}
        asked = asked_for.find(given.table, given.model, **named)
        if not given.plan:
            asked_for.require_weights(asked)
        now = {} if given.plan else stated_page  # a plan changes no verdict
        ready = choose.ready(asked, rungs=given.ladder.split(), page=now, settings=settings)
        if given.plan:
            texts.say(forecast.report(ready, gpu=GPUS[given.gpu], page=stated_page))
            return 0
    except (ValueError, OSError) as error:
        # There may be no study file yet.
        texts.fail(STUDY_FILE.sub(r'say SET="\1=\2"', str(error)))
        return 1
    except KeyboardInterrupt:
        texts.say("\nmedres: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    code = make.main([asked.study])
    if code:
        return code
    found = page.report_folder(asked.study) / f"{written.CHOICE}.html"
    if found.is_file():
        texts.say(f"medres: the verdict: open {marks.name_of(found)}")
    for sentence in verdicts(asked.study):
        texts.say(sentence)
    return 0


def verdicts(study: str) -> list[str]:
    """Return the sentences of a study's verdict with its cautions, as plain text.

    None if its page was not made.
    """
    path = page.report_folder(study) / "tables" / "choice.csv"
    if not path.is_file():
        return []
    chosen = page.read_table(study, "choice", na_values=[])
    said = choice_tables.sentence(chosen).replace("**", "")
    return said.removeprefix("* ").split("\n* ")


if __name__ == "__main__":
    ending.heed_signals()
    sys.exit(main(sys.argv[1:]))
