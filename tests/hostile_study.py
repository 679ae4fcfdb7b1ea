"""A finished study whose every text wants to be something else: markup, a script, a formula.

Nothing of it is a drawing of what could happen: the study is prepared, trained, evaluated and
reported as any other, in this process.
"""

import ast
import json
import unicodedata
from pathlib import Path
from typing import Any

import IPython.display
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from medres import datasets, runs
from medres import study as studies
from medres.models import tiny
from medres.report import current, render

NAME = "hostile"
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there; the browser of the tests notes every request."""
DID = "document.documentElement.setAttribute('data-did', 1)"
"""What a script that runs leaves behind."""
TEXTS = (
    # Markup.
    f"<script>{DID}</script>",
    f"<ScRiPt src={NOWHERE}/x.js></sCrIpT>",
    f'<img src=x onerror="{DID}">',
    f'"><img src={NOWHERE}/x.png onerror={DID}>',
    f"' onmouseover='{DID}' autofocus onfocus='{DID}' x='",
    f'" onload="{DID}" style="position:fixed;inset:0',
    f"</title></style></textarea></select></script><script>{DID}</script>",
    f"<svg><script>{DID}</script><image href={NOWHERE}/x.svg></svg>",
    f'<iframe srcdoc="<script>parent.{DID}</script>"></iframe>',
    f"<style>* {{ background: url({NOWHERE}/x.png) !important; display: none }}</style>",
    f"<form action={NOWHERE}><input autofocus onfocus={DID}><button>send</button></form>",
    f'<meta http-equiv="refresh" content="0;url={NOWHERE}/">',
    f"<base href={NOWHERE}/><link rel=stylesheet href=x.css>",
    f"<object data={NOWHERE}/x></object><embed src={NOWHERE}/x>",
    f'<a href="javascript:{DID}">here</a>',
    "<!-- policy --><!-- contents --><!--",
    "--> ]]> <![CDATA[ <?php ?>",
    "<h2>Not a section</h2><table><tr><td>",
    "</td></tr></table></div></main></body></html>",
    "&lt;b&gt; &#60;b&#62; &amp;amp; &nbsp",
    "%3Cscript%3E \\u003cscript\\u003e",
    # Addresses.
    f"see {NOWHERE}/paper?a=1&b=2#top for more",
    f'//127.0.0.1:9/x src="//127.0.0.1:9/x.png" url({NOWHERE}) @import "{NOWHERE}"',
    f"<{NOWHERE}/> mailto:a@example.org a@example.org www.example.org",
    "javascript:alert(1) data:text/html,x vbscript:x",
    # Markdown and templates.
    f"[click](javascript:{DID}) [x]({NOWHERE}/ 'y')",
    f"![picture]({NOWHERE}/x.png) ![][1]\n\n[1]: {NOWHERE}/x.png",
    "# A heading\n## Another\n* a list\n1. two\n> three\n\n---\n***",
    "| a | b |\n|---|---|\n| c | d |",
    "```python\nimport os\n```  `code` ``x`",
    "*it* **bold** __bold__ _it_ ~~gone~~ ==mark== ^^up^^ [^1] \\",
    "{{ 7 * 7 }} {% raw %} {# x #} ${7*7} <%= x %> #{x}",
    # Formulas, of mathematics and of spreadsheets.
    "$x^2$ and $\\frac{1}{0}$",
    "$\\notacommand{ $$ \\( \\[",
    "costs $5 and $6, 100 % of a_b^c & d~e #1",
    "=1+1",
    f'=HYPERLINK("{NOWHERE}/?"&A1;"here")',
    "@SUM(A1:A9)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "a;=1+1;@b",
    "x\t=2+2",
    "'quoted' ''twice''",
    '"=1+1","b"',
    # Controls and directions.
    "red \x1b[31mtext\x1b[0m \x1b]0;title\x07 \x1b[2J",
    "bell \x07 back \x08\x08\x08 delete \x7f",
    "C1 \x9b31m \x85 next",
    "override \u202egnp.exe\u202c isolate \u2066x\u2069 end",
    "separators \u2028 \u2029 \ufeff joined \u200b\u200d end",
    "two\nlines, three\r\nlines",
    # Writing.
    "هل يوجد كسر في العظم؟ ١٢٣ (left)",
    "האם יש שבר? (right) 123",
    "この画像に骨折はありますか。骨折がありますか。",
    "👩🏽‍⚕️🏴‍☠️ é é " + "Z̸͎̈́" * 20,
    "Gewebe-Übersicht: Größe ≥ 2 µm, 37 °C, p < 0.05 & q > 1",
    "w" * 400,
    "averylongwordwithoutabreak/" * 20,
    "many words " * 150,
    "C:\\Users\\name\\x ..\\..\\x ../../etc/passwd",
    "NA",
    "null",
    "-3.5",
)
FILES = (
    "plain.png",
    "with blanks and (brackets) [x].png",
    f"<img src=x onerror={DID.replace('/', '')}>.png",
    "'single' \"double\".png",
    "=1+1.png",
    "-rf.png",
    "@x.png",
    "$x^2$ 100 % a&b.png",
    "a;b,c.png",
    "a#b?c=d%20e.png",
    "{x}{{y}}.png",
    "*.png",
    "~.png",
    "two\nlines.png",
    "esc \x1b[31m.png",
    "x\u202egnp.exe.png",
    unicodedata.normalize("NFC", "größe.png"),
    unicodedata.normalize("NFD", "breite ü.png"),
    "骨折 👩🏽‍⚕️.png",
    "l" * 200 + ".png",
)
LONG = "a-_b_-.c_" * 7
"""As long as the name of a data set may be, and as near to markup."""
REPORTS = (
    "01_datasets 04_native_vs_low 05_alignment 06_zero_shot 09_cost 09_examples "
    "10_choose_resolution 12_findings 13_calibration"
).split()
PERSON = "anna.mueller"
WARD = "Station 7"


def write(project: Path, data: Path) -> None:
    """Write images, tables and parameters of the study.

    Args:
        project: Its folder.
        data: Where images and tables lie, named by their absolute path in the study file, as a
            hospital would.
    """
    every = _every_text(data)
    few = _few_texts(data)
    every.to_csv(data / f"questions {FILES[2]}.csv", index=False)
    few.to_csv(data / "few.csv", index=False)
    model = tiny.make(data.parents[2] / PERSON / "tiny-checkpoint")
    pixels = {"low_max_pixels": 784, "native_max_pixels": 3136}
    given: dict[str, dict[str, Any]] = {
        "study": {
            "title": " ".join(TEXTS),
            "models": [str(model)],
            "train_resolutions": ["none", "low", "native"],
            "seeds": [0],
            "datasets": {
                "every": {
                    "table": str(data / f"questions {FILES[2]}.csv"),
                    "unreadable": "exclude",
                },
                LONG: {"table": str(data / "few.csv")},
            },
            "finetune": {},
            "reports": REPORTS,
        },
        "02_finetune": {**pixels, "epochs": 1, "batch_images": 8},
        "03_evaluate": {
            **pixels,
            "eval_resolutions": ["low", "native", "blank"],
            "check_questions": 1,
            "generate_closed": False,
        },
        "09_examples": {"n_examples": 8, "n_explored": 8},
    }
    for stem, values in given.items():
        path = project / "params" / NAME / f"{stem}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(values, sort_keys=False))


def _every_text(data: Path) -> pd.DataFrame:
    """Return a table in which every text stands in every column of the test split."""
    rows = []
    for number, text in enumerate(TEXTS):
        name = FILES[number % len(FILES)]
        if number < len(FILES):
            _draw(data / name, number)
        rows.append(
            {
                "image": name,
                "question": text,
                "answer": text,
                "options": "",
                "group": FILES[number % len(FILES)],
                "split": "test",
                "modality": TEXTS[number % len(FILES)],
                "question_id": text,
            }
        )
    for number in range(4):
        _draw(data / f"train-{number}.png", 1000 + number)
        row = {"image": f"train-{number}.png", "group": f"train-{number}", "split": "train"}
        row |= {"question": TEXTS[number], "answer": TEXTS[number]}
        rows.append({**rows[number], **row, "question_id": f"train-{number}"})
    (data / "spoilt.png").write_bytes(b"no picture")
    rows.append({**rows[0], "image": "spoilt.png", "question_id": "spoilt", "group": "spoilt"})
    return pd.DataFrame(rows)


def _few_texts(data: Path) -> pd.DataFrame:
    """Return a table of few questions, asked often, so that pages sort answers by their text."""
    rows = []
    kinds = [(TEXTS[at], list(TEXTS[at + 1 : at + 4]), TEXTS[at + 4]) for at in range(0, 55, 5)]
    for number in range(44):
        question, options, modality = kinds[number % len(kinds)]
        _draw(data / f"few-{number}.png", number)
        rows.append(
            {
                "image": f"few-{number}.png",
                "question": question,
                "answer": options[number % 3],
                "options": json.dumps(options),
                "group": f"few-{number}",
                "split": "train" if number < 22 else "test",
                "modality": modality,
                "question_id": f"few-{number}",
            }
        )
    return pd.DataFrame(rows)


def _draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)


def make() -> list[str]:
    """Make everything of the study, and return the stems of its pages."""
    study = studies.load(NAME)
    for name, parameters in study.datasets.items():
        datasets.prepare(NAME, name, parameters)
    stems = list(current.pages_of(study))
    for stem in stems:
        render.make(study, stem)
    return stems


def in_this_process(notebook: Path, executed: Path, settings: dict[str, Any]) -> Any:
    """Run a notebook's cells here, and return it with their outputs."""
    content = nbformat.read(notebook, as_version=4)
    names: dict[str, Any] = {}
    shown: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IPython.display, "display", lambda *values: shown.extend(values))
        for cell in content.cells:
            if cell.cell_type != "code":
                continue
            shown.clear()
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, f"{notebook.name} {cell.id}", "exec"), names)
            if last is not None:
                code = compile(ast.Expression(last.value), f"{notebook.name} {cell.id}", "eval")
                shown.append(eval(code, names))
            if "parameters" in cell.metadata.get("tags", []):
                names |= settings
            cell.outputs = [_output(value) for value in shown if value is not None]
    executed.write_text(nbformat.writes(content))
    return content


def _output(value: Any) -> Any:
    found, metadata = DisplayFormatter(active_types=["text/html", "text/markdown"]).format(value)
    return nbformat.v4.new_output("display_data", data=found, metadata=metadata)


def here(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Make a folder the project, whose notebooks run in this process."""
    patch.setattr(runs, "ROOT", root)
    patch.setenv("MEDRES_ROOT", str(root))
    patch.setattr(render, "_execute", in_this_process)
