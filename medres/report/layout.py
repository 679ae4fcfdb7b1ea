"""An executed notebook as one page that loads nothing: title, contents, links, code, verdict."""

import html
import re
from dataclasses import replace
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from medres.report import current, page
from medres.study import Cell, Study

TEMPLATES = Path(__file__).resolve().parent / "template"
OUTSIDE = r"""["']?\s*(?:https?:)?//"""
FETCHES = re.compile(
    rf"""<[^>]*\b(?:src|href|srcset|data)\s*=\s*{OUTSIDE}|url\(\s*{OUTSIDE}|@import\s""",
    re.IGNORECASE,
)
"""What a page would load, or link outside; an address in a text is only a text."""
LINKS_OUTSIDE = re.compile(rf"<a\b[^>]*\bhref={OUTSIDE}[^>]*>(.*?)</a>", re.IGNORECASE | re.DOTALL)
IMAGES_OUTSIDE = re.compile(rf"<img\b[^>]*\bsrc={OUTSIDE}[^>]*>", re.IGNORECASE)
HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)
TO_NOTEBOOK = re.compile(r'(href="[\w.-]+)\.ipynb(["#])')
"""Links from a notebook to another beside it: a page links its page."""
CONTENTS = "<!-- contents -->"
"""Where a template wants the list of a page's sections."""


def to_html(content: NotebookNode, study: Study, stem: str, cell: Cell | None = None) -> str:
    """Return an executed notebook as one page that loads nothing from outside.

    The cell tagged `verdict` moves up behind the title; cells tagged `remove-cell`, and the
    outputs of those tagged `remove-output`, stay out.

    Args:
        content: Executed; its first cell is the title.
        study: Of the page.
        stem: Of the page.
        cell: The training or evaluation that the page is about; it gives the page its title.

    Raises:
        ValueError: If the page would fetch something.
    """
    cells = [each for each in content.cells if "remove-cell" not in _tags(each)]
    for each in cells:
        if "remove-output" in _tags(each):
            each.outputs = []
    verdicts = [each for each in cells if "verdict" in _tags(each)]
    title, *others = [each for each in cells if "verdict" not in _tags(each)]
    question = heading(title)
    title.source = title.source.partition("\n")[2]
    content.cells = [title, *verdicts, *others]
    exporter = HTMLExporter(
        template_name=TEMPLATES.name,
        extra_template_basedirs=[str(TEMPLATES.parent)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        filters={"result2html": result_html},
    )
    resources = {
        "page_title": question if cell is None else title_of(study, cell),
        "page_question": "" if cell is None else question,
        "page_study": study.title,
        "page_style": style(),
        "page_links": links(study),
        "page_related": [] if cell is None else related(study, cell),
        "page_stem": stem,
    }
    text, _ = exporter.from_notebook_node(content, resources=resources)
    # In the executed notebook links begin where it lies, on a page where the page does.
    text = text.replace(f'href="{page.beside_notebook(study.name)}/', 'href="')
    return offline(with_contents(TO_NOTEBOOK.sub(r"\1.html\2", text)), stem)


def style() -> str:
    """Return the style of all pages."""
    return (TEMPLATES / "style.css").read_text()


def result_html(markdown: str) -> str:
    """Return computed Markdown as HTML; a name from a table brings no tags and no links outside."""
    made = str(MarkdownWithMath(renderer=IPythonRenderer(escape=True)).render(markdown))
    return LINKS_OUTSIDE.sub(r"\1", IMAGES_OUTSIDE.sub("", made))


def heading(cell: NotebookNode) -> str:
    """Return the title of a notebook, given its first cell."""
    return str(cell.source.partition("\n")[0].lstrip("# "))


def title_of(study: Study, cell: Cell) -> str:
    """Return the title of the page of a training or an evaluation."""
    model = f", {cell.model}" if len(study.models) > 1 else ""
    if cell.stage == "finetune":
        return f"Training: {cell.dataset}{model} at {cell.train_resolution}, seed {cell.seed}"
    if cell.train_resolution == "none":
        return f"Evaluation: {cell.dataset}{model}, not fine-tuned"
    trained = f"trained at {cell.train_resolution}, seed {cell.seed}"
    return f"Evaluation: {cell.dataset}{model}, {trained}"


def links(study: Study) -> list[tuple[str, str]]:
    """Return stem and name of the pages that every page links."""
    return [("index", study.title)] + [
        (stem, stem.replace("_", " ").replace(stem[:2], f"{stem[:2]} ·", 1))
        for stem in study.reports
    ]


def related(study: Study, cell: Cell) -> list[tuple[str, str]]:
    """Return stem and name of the other pages about the training of a page."""
    names = {"finetune": "the training of this model", "evaluate": "the evaluation of this model"}
    found = [(replace(cell, stage=stage), name) for stage, name in names.items()]
    known = current.pages_of(study)
    return [(each.page, name) for each, name in found if each != cell and each.page in known]


def with_contents(text: str) -> str:
    """Return a page whose sections have anchors, listed where `CONTENTS` stands."""
    listed: dict[str, str] = {}

    def anchored(found: re.Match[str]) -> str:
        name = re.sub(r"<.*?>", "", found[1])
        words = re.sub(r"[^a-z0-9]+", "-", html.unescape(name).lower()).strip("-") or "section"
        anchor = words
        while anchor in listed:
            anchor = f"{words}-{len(listed)}"
        listed[anchor] = name
        return f'<h2 id="{anchor}">{found[1]}</h2>'

    text = HEADING.sub(anchored, text)
    items = " ".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in listed.items())
    said = f'<span class="contents">On this page: {items}</span>' if listed else ""
    return text.replace(CONTENTS, said, 1)


def offline(text: str, stem: str) -> str:
    """Return a page as it is.

    Raises:
        ValueError: If it would fetch something.
    """
    found = FETCHES.search(text)
    if found:
        around = text[max(0, found.start() - 40) : found.end() + 40]
        raise ValueError(f"page {stem} refers outside: {around!r}; reports must open offline")
    return text


def _tags(cell: NotebookNode) -> list[str]:
    tags: list[str] = cell.metadata.get("tags", [])
    return tags
