"""An executed notebook as one page that loads nothing: title, contents, links, code, verdict."""

import html
import re
from dataclasses import replace
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from medres import texts
from medres.report import current, page, safe
from medres.study import Cell, Study

TEMPLATES = Path(__file__).resolve().parent / "template"
LINKS_OUTSIDE = re.compile(
    r"""<a\b[^>]*\bhref=["']?\s*(?:[a-z][a-z0-9+.-]*:|//)[^>]*>(.*?)</a>""",
    re.IGNORECASE | re.DOTALL,
)
IMAGES = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)
TO_NOTEBOOK = re.compile(r'(href="[\w.-]+)\.ipynb(["#])')
"""Links from a notebook to another beside it: a page links its page."""


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
        "page_script": safe.script("frame"),
        "page_links": links(study),
        "page_related": [] if cell is None else related(study, cell),
        "page_stem": stem,
    }
    text, _ = exporter.from_notebook_node(content, resources=resources)
    # In the executed notebook links begin where it lies, on a page where the page does.
    text = text.replace(f'href="{page.beside_notebook(study.name)}/', 'href="')
    return safe.checked(with_contents(TO_NOTEBOOK.sub(r"\1.html\2", text)), stem)


def style() -> str:
    """Return the style of all pages."""
    return (TEMPLATES / "style.css").read_text()


def result_html(markdown: str) -> str:
    """Return computed Markdown as HTML, in which it brings no tags, pictures and links outside.

    Texts of the user's are escaped where they are put into it (`texts.in_markdown`).
    """
    made = str(MarkdownWithMath(renderer=IPythonRenderer(escape=True)).render(markdown))
    return LINKS_OUTSIDE.sub(r"\1", IMAGES.sub("", made))


def heading(cell: NotebookNode) -> str:
    """Return the title of a notebook, given its first cell."""
    return str(cell.source.partition("\n")[0].lstrip("# "))


def title_of(study: Study, cell: Cell) -> str:
    """Return the title of the page of a training or an evaluation."""
    model = f", {texts.named(cell.model)}" if len(study.models) > 1 else ""
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
    """Return a page whose sections have anchors, listed where the template wants it."""
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
    return text.replace(safe.CONTENTS, said, 1)


def _tags(cell: NotebookNode) -> list[str]:
    tags: list[str] = cell.metadata.get("tags", [])
    return tags
