"""`python -m medres.status STUDY`: say in ten seconds' reading how far a study is."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from medres import status, texts
from medres import study as studies
from medres.amounts import duration
from medres.status import DAMAGED, DONE, ENDED, FAILED, RUNNING, STAGES, STATES, Look, Thing

MOST_SHOWN, MOST_NAMED = 10, 3
"""Lines of a list, and names of a line; the others are counted."""


def report(found: Look) -> str:
    """Return what was found as text that is read in ten seconds."""
    title = f"{texts.one_line(found.study.title)} ({found.study.name})"
    lines = [f"{title}, by its files at {_clock(found.at, found.at)}:"]
    for stage, word in STAGES.items():
        states = Counter(thing.state for thing in found.things if thing.stage == stage)
        others = [f"{states[state]:,} {state}" for state in STATES[1:] if states[state]]
        counts = f"{states[DONE]:,} of {states.total():,} done"
        lines.append(f"  {word:<12} {', '.join([counts, *others])}")
    lines += _listed("running", [_running(found, thing) for thing in found.of(RUNNING)])
    lines += _listed("failed", _failed(found))
    lines += _listed(
        f"ended without a word, or silent for {duration(status.SILENT_S)} (killed, out of memory, "
        "or the machine went down); `make study` goes on from there",
        [_ended(found, thing) for thing in found.of(ENDED)],
    )
    lines += _listed(
        "cannot be read (of a run: `make study` says what to do; below failed/: remove it)",
        sorted(set(found.unreadable)),
    )
    return "\n".join([*lines, *_time(found), _gpu_hours(found)])


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - MOST_SHOWN:,} more"] if len(lines) > MOST_SHOWN else []
    return [f"{title}:", *(f"  {texts.one_line(line)}" for line in lines[:MOST_SHOWN]), *more]


def _running(found: Look, thing: Thing) -> str:
    assert thing.holder is not None  # else nobody makes it
    said = [f"{thing.name}: on {thing.holder.host} since {_clock(thing.holder.since, found.at)}"]
    said += [thing.at] if thing.at else []
    seconds = status.left_s(found, thing)
    said += [f"about {duration(seconds)} left"] if seconds is not None else []
    silence = found.at - thing.seen
    return ", ".join([*said, f"last sign {duration(max(silence, 0.0))} ago"])


def _ended(found: Look, thing: Thing) -> str:
    where = f" on {thing.holder.host}" if thing.holder else ""
    at = f", {thing.at}" if thing.at else ""
    return f"{thing.name}: last sign{where} at {_clock(thing.seen, found.at)}{at}"


def _failed(found: Look) -> list[str]:
    """Return a line for each reason, with all that failed for it."""
    groups: dict[str, list[Thing]] = {}
    for thing in found.of(FAILED):
        own = [thing.name, *([thing.cell.path] if thing.cell else [])]
        reason = found.failures[thing.name].reason
        for name in own:
            reason = reason.replace(name, "...")
        groups.setdefault(reason, []).append(thing)
    lines = []
    for things in groups.values():
        names = [thing.name for thing in things]
        last = max((found.failures[name] for name in names), key=lambda each: _seconds(each.at))
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        job = f", job {last.job}" if last.job else ""
        at = _clock(_seconds(last.at), found.at)
        lines.append(
            f"{', '.join(names[:MOST_NAMED])}{more}: {last.reason} (on {last.host}{job}, {at})"
        )
    return lines


def _time(found: Look) -> list[str]:
    """Return how long the rest takes, with what that is taken from."""
    rest = [thing for thing in found.things if thing.cell and thing.state not in (DONE, DAMAGED)]
    if not rest:
        return []
    each = [status.left_s(found, thing) for thing in rest]
    known = [seconds for seconds in each if seconds is not None]
    at_once = max(len(found.of(RUNNING)), 1)
    lines = []
    if known:
        # No shorter than its longest run, however many go at once.
        seconds = max(sum(known) / at_once, max(known))
        lines.append(
            f"time left: about {duration(seconds)}, for {duration(sum(known))} of work, "
            f"{at_once} at a time, in {_runs(len(known))}: by their progress and by finished runs "
            "like them"
        )
    if unknown := len(rest) - len(known):
        lines.append(
            f"{'also, for' if known else 'time left: not known: for'} {_runs(unknown)} nothing "
            "tells how long: none like them is finished"
        )
    return lines


def _gpu_hours(found: Look) -> str:
    n_done = sum(1 for thing in found.of(DONE) if thing.cell)
    old = found.superseded_gpu_s
    more = f", and {old / 3600:,.1f} in superseded ones" if old else ""
    return f"GPU hours used: {found.gpu_s / 3600:,.1f} in {_runs(n_done, 'finished ')}{more}"


def _runs(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}run{'s' * (number != 1)}"


def _clock(at: float, now: float) -> str:
    """Return a time of today as hours and minutes, another with its date."""
    then, today = (datetime.fromtimestamp(each, UTC).astimezone() for each in (at, now))
    return then.strftime("%H:%M" if then.date() == today.date() else "%Y-%m-%d %H:%M")


def _seconds(at: str) -> float:
    try:
        seconds = datetime.fromisoformat(at).timestamp()
        datetime.fromtimestamp(seconds, UTC).astimezone()  # may be of a year that is none here
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return seconds


def main(arguments: list[str]) -> int:
    """Say what of a study is made, running and failed, and what is left."""
    parser = argparse.ArgumentParser(prog="python -m medres.status", description=main.__doc__)
    parser.add_argument("study")
    asked = parser.parse_args(arguments)
    try:
        texts.say(report(status.look(studies.load(asked.study))))
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
