"""`python -m medres.datasets list | describe NAME | fetch NAME --to DIR | prepare STUDY NAME`.

`verify NAME` looks at a source for what the loader assumes; `assumed` prints docs/datasets.md.
"""

import argparse
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from medres import datasets, failures, texts
from medres import study as studies
from medres.amounts import size
from medres.datasets import REAL, fetch, ledger
from medres.datasets.fetch import assumed, verify
from medres.datasets.source import Source
from medres.statistics import groups


def main(arguments: list[str]) -> int:
    """List the data sets, describe, verify or fetch one, or prepare one for a study."""
    parser = argparse.ArgumentParser(prog="python -m medres.datasets", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="one line for each data set")
    describe = commands.add_parser(
        "describe", help="all that is known about one, including defects"
    )
    describe.add_argument("name")
    getting = commands.add_parser(
        "fetch", help="download one into a folder; after an interruption the same command resumes"
    )
    getting.add_argument("name")
    getting.add_argument("--to", required=True, type=Path, metavar="DIR")
    getting.add_argument(
        "--limit",
        type=int,
        default=0,
        help="download at most this many archives, cases or images; 0 means all",
    )
    getting.add_argument(
        "--revision", default="", help="Hub commit to use instead of the pinned one"
    )
    getting.add_argument(
        "--mirror",
        default="",
        metavar="URL",
        help="fetch URL/HOST/PATH instead of https://HOST/PATH",
    )
    getting.add_argument(
        "--max-pixels", type=int, default=0, help="largest size of a reduced slide, width x height"
    )
    preparing = commands.add_parser("prepare", help="draw or read one for a study, and check it")
    preparing.add_argument("study")
    preparing.add_argument("name")
    verifying = commands.add_parser(
        "verify", help="look at three items of a source for all that its loader assumes"
    )
    verifying.add_argument("name", help="a data set, or all")
    verifying.add_argument("--mirror", default="", metavar="URL", help="as for fetch")
    commands.add_parser("assumed", help="print what is assumed, as in docs/datasets.md")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "list":
            texts.say("\n".join(_row(name, module.SOURCE) for name, module in REAL.items()))
        elif asked.command == "describe":
            texts.say(_description(_module(asked.name).SOURCE))
        elif asked.command == "assumed":
            texts.say(assumed.document(), end="")
        elif asked.command == "verify":
            return _verify(asked.name, asked.mirror)
        elif asked.command == "prepare":
            _prepare(asked.study, asked.name)
        else:
            _fetch(asked)
    except (ValueError, OSError) as error:
        texts.fail(error)
        return 1
    except KeyboardInterrupt:
        texts.say("\nmedres: stopped; the same command resumes from here", file=sys.stderr)
        return 130
    return 0


def _module(name: str) -> ModuleType:
    key = name.replace("_", "-")
    if key not in REAL:
        raise ValueError(f"unknown data set {name!r}; known ones are {', '.join(REAL)}")
    return REAL[key]


def _row(name: str, source: Source) -> str:
    kind = "in the paper" if source.paper_image_px or source.paper_n_test else "not in the paper"
    licence = textwrap.shorten(source.licence, 40, placeholder=" ...", break_on_hyphens=False)
    return f"{name:<12} {size(source.size_bytes):>9}  {kind:<16}  {licence:<40}  {source.title}"


def _description(source: Source) -> str:
    facts = {
        "citation": source.citation,
        "home": source.home,
        "licence": source.licence,
        "version": source.version,
        "on disk": f"about {size(source.size_bytes)}",
        "never split": source.group,
        "paper": _paper(source),
        "hub": f"{source.hub_repo} ({', '.join(source.hub_patterns)}) at {source.hub_revision}"
        if source.hub_repo
        else "",
        "files": f"{len(source.files)}, first {source.files[0].url}" if source.files else "",
    }
    lines = [f"{source.name}: {source.title}", ""]
    lines += [_wrapped(f"{name:<12}", text) for name, text in facts.items() if text]
    lines += ["", "known defects"] + [_wrapped("  - ", text) for text in source.defects]
    return "\n".join(lines)


def _paper(source: Source) -> str:
    said = [f"images of {source.paper_image_px}"] if source.paper_image_px else []
    said += [f"{source.paper_n_test:,} test questions"] if source.paper_n_test else []
    return ", ".join(said)


def _wrapped(mark: str, text: str) -> str:
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    return textwrap.fill(
        text,
        width,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _prepare(name: str, dataset: str) -> None:
    study = studies.load(name)
    if dataset not in study.datasets:
        raise ValueError(f"study {name} has no data set {dataset!r}; it has {list(study.datasets)}")
    with failures.kept(name, failures.of_questions(dataset)):
        asked = datasets.asked_of(study, dataset)
        run = datasets.prepare(name, dataset, study.datasets[dataset], models=asked)
    for note in run.record["outcome"]["notes"]:
        texts.say(f"medres: data set {dataset}: note: {note}")
    said = groups.sentence(studies.group_sizes(study)[dataset])
    texts.say(f"medres: data set {dataset}: {said}")


def _verify(name: str, mirror: str) -> int:
    """Print a line for each assumption; return 1 if any does not hold."""
    names = list(REAL) if name == "all" else [_module(name).SOURCE.name]
    states: list[str] = []
    for ticks in verify.verify(names, mirror=mirror):
        texts.say(ticks[0].assumption.dataset)
        for tick in ticks:
            texts.say(_wrapped(f"  {tick.state:<20}  {tick.assumption.key:<9}  ", tick.found))
            if tick.state == verify.DIFFERS:
                texts.say(_wrapped(f"  {'':<20}  {'assumed':<9}  ", tick.assumption.assumed))
        states += [tick.state for tick in ticks]
    counted = [f"{states.count(each)} {each}" for each in (verify.OK, verify.DIFFERS)]
    texts.say(f"{', '.join(counted)}, {states.count(verify.UNCHECKED)} could not be checked")
    return 1 if verify.DIFFERS in states or verify.OK not in states else 0


def _fetch(asked: argparse.Namespace) -> None:
    module = _module(asked.name)
    source: Source = module.SOURCE
    if asked.limit < 0 or asked.max_pixels < 0:
        raise ValueError(
            f"--limit is {asked.limit} and --max-pixels {asked.max_pixels}; neither may be negative"
        )
    folder: Path = asked.to.expanduser().resolve()
    texts.say(_wrapped("licence   ", source.licence))
    texts.say(_wrapped("cite      ", source.citation))
    room = f"{size(_free_bytes(folder))} free; all of it takes {size(source.size_bytes)}"
    texts.say(f"to        {folder}, {room}")
    options: dict[str, Any] = {"max_pixels": asked.max_pixels} if asked.max_pixels else {}
    kept = fetch.fetch_set(
        module,
        folder,
        limit=asked.limit,
        revision=asked.revision,
        mirror=asked.mirror,
        **options,
    )
    total = sum(entry["size_bytes"] for entry in kept.files.values())
    at = f" at {kept.revision}" if kept.revision else ""
    texts.say(f"complete  {len(kept.files):,} files, {size(total)}{at}")
    if kept.notes:
        texts.say(f"missing   {len(kept.notes)} items, listed in {folder / ledger.DONE}")
    texts.say(f"use       in params/STUDY/study.yaml: `{module.SOURCE.name}: {{folder: {folder}}}`")


def _free_bytes(folder: Path) -> int:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(there).free


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
