"""`python -m medres.report STUDY STEM`: make a page of a study unless it is current."""

import sys
from pathlib import Path

from medres import handover


def main(arguments: list[str]) -> int:
    """Make a page of a study unless it is current; print one line on failure."""
    # Only where there is no warm process to ask: each import costs more than asking it.
    import argparse

    from medres import failures, texts
    from medres import study as studies
    from medres.report import current

    parser = argparse.ArgumentParser(prog="python -m medres.report", description=main.__doc__)
    parser.add_argument("study")
    parser.add_argument("stem", help=f"of the page, such as 05_alignment or {current.INDEX}")
    asked = parser.parse_args(arguments)
    try:
        study = studies.load(asked.study)
        with failures.kept(study.name, asked.stem):
            if current.is_current(study, asked.stem):
                texts.say(f"medres: {asked.stem} is current")
                return 0
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    from medres.report import render  # takes seconds, which a page that is current need not cost

    def made() -> Path:
        with failures.kept(study.name, asked.stem):
            return render.make(study, asked.stem)

    return render.told(made)


if __name__ == "__main__":
    sys.exit(handover.run("medres.report", sys.argv[1:]))
