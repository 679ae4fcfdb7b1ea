"""What a page may hold: elements and attributes that load nothing and run nothing but our scripts.

Every text in a page is escaped where it is put in; this is the second lock. A page is parsed, and
refused if it holds anything that is not listed here. The third is the policy that the page
carries, which the browser enforces.
"""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from medres import texts

TEMPLATES = Path(__file__).resolve().parent / "template"
SCRIPTS = ("frame", "explorer")
"""The scripts of pages, files of `TEMPLATES`."""
POLICY = "<!-- policy -->"
"""Where a template wants the policy of a page, before anything else that a browser acts on."""
CONTENTS = "<!-- contents -->"
"""Where a template wants the list of a page's sections."""
PLACES = (POLICY, CONTENTS)
BLANKS = re.compile(r"[\x00-\x20]+")
"""What browsers leave out of an address."""
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|[/\\]{2}", re.IGNORECASE)
"""Begins an address that is neither a place on the page nor a file beside it."""
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]*")
FETCHING_STYLE = re.compile(r"url\s*\(|@import|image-set|expression\s*\(|\\|</", re.IGNORECASE)
ANYWHERE = frozenset(
    "class id style title lang dir hidden role width height scope colspan rowspan align border "
    "open".split()
)
"""Attributes that do nothing but show; a style is looked into."""
ELEMENTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        "article aside b bdi blockquote body br caption code col colgroup dd del details div dl dt "
        "em figcaption figure h1 h2 h3 h4 h5 h6 head hr html i ins kbd label li main mark nav ol "
        "output p pre q s samp section select small span strong sub summary sup svg table tbody "
        "td tfoot th thead title tr u ul var".split(),
        frozenset[str](),
    ),
    "a": frozenset({"href", "aria-current"}),
    "img": frozenset({"src", "alt"}),
    "input": frozenset("type min max step value".split()),
    "meta": frozenset("charset name content".split()),
    "script": frozenset[str](),
    "style": frozenset({"scoped"}),
    # Of pictures drawn as SVG.
    "circle": frozenset("cx cy r fill stroke stroke-width".split()),
    "g": frozenset({"fill", "transform"}),
    "image": frozenset("href x y preserveaspectratio".split()),
    "path": frozenset("d fill stroke stroke-width".split()),
    "rect": frozenset("x y fill stroke stroke-width".split()),
    "use": frozenset({"href"}),
}
"""Elements that a page may hold, with the attributes that each may have beside `ANYWHERE`."""
MORE = {"svg": frozenset({"viewbox"})}


def script(name: str) -> str:
    """Return the content of one of `SCRIPTS` as it stands in a page."""
    # In a scope of its own: a notebook may show it twice.
    return f"{{{(TEMPLATES / f'{name}.js').read_text()}}}"


def checked(page: str, stem: str) -> str:
    """Return a page with its policy, every character visible that would act instead of being read.

    Args:
        page: The whole page, or a part of one.
        stem: Of the page, for the error message.

    Raises:
        ValueError: If the page holds anything that could load, lead outside, or run.
    """
    page = texts.visible(page, keep=texts.LINES)
    reader = _Reader(frozenset(map(script, SCRIPTS)))
    reader.feed(page)
    reader.close()
    if reader.refused:
        raise ValueError(
            f"page {stem} refers outside or runs something: {reader.refused[0]}; reports must "
            "open offline, so remove it from the notebook, or show it as text"
        )
    return page.replace(POLICY, policy(reader.scripts), 1)


def policy(scripts: list[str]) -> str:
    """Return the element that tells a browser to load nothing and to run these scripts only.

    No `base-uri`: JupyterLab's viewer of pages sets a base, so that links work there.
    """
    hashes = dict.fromkeys(
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts
    )
    allowed = " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"
    return (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"font-src data:; style-src 'unsafe-inline'; script-src {allowed}; form-action 'none'\">"
    )


class _Reader(HTMLParser):
    """Notes what a page must not hold, and the scripts that it does."""

    def __init__(self, scripts: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.known = scripts
        self.scripts: list[str] = []
        self.refused: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self.inside = tag
            self.content = ""
        if tag not in ELEMENTS:
            self.refused.append(f"<{tag}> {dict(attrs)!r:.120}")
            return
        for name, value in attrs:
            is_known = name in ANYWHERE | ELEMENTS[tag] | MORE.get(tag, frozenset())
            if not (is_known or name.startswith("data-")) or not _is_harmless(tag, name, value):
                self.refused.append(f"<{tag} {name}={value!r:.120}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in ("script", "style"):  # a browser takes it for one that begins
            self.refused.append(f"<{tag}/>")

    def handle_comment(self, data: str) -> None:
        if f"<!--{data}-->" not in PLACES:
            self.refused.append(f"<!--{data:.120}-->, of which browsers may see another end")

    def unknown_decl(self, data: str) -> None:
        self.refused.append(f"<![{data:.120}]>")

    def handle_endtag(self, tag: str) -> None:
        if tag != self.inside:
            return
        self.inside = ""
        if tag == "script":
            self.scripts.append(self.content)
            if self.content not in self.known:
                self.refused.append(f"<script>{self.content:.120}")
        elif found := FETCHING_STYLE.search(self.content):
            at = max(0, found.start() - 20)
            self.refused.append(f"<style>…{self.content[at : found.end() + 60]}")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.content += data

    def close(self) -> None:
        super().close()
        if self.inside:
            self.refused.append(f"<{self.inside}> that does not end")


def _is_harmless(tag: str, name: str, value: str | None) -> bool:
    value = value or ""
    if name == "style":
        return not FETCHING_STYLE.search(value)
    if name == "src" or (tag == "image" and name == "href"):
        return bool(PICTURE.fullmatch(value))
    if name == "href":
        return value.startswith("#") if tag == "use" else not OUTSIDE.match(BLANKS.sub("", value))
    if name in ("fill", "stroke"):
        return not FETCHING_STYLE.search(value)
    if tag == "input" and name == "type":
        return value == "range"
    return True
