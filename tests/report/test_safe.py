"""What a page may hold, and the policy that it carries."""

import base64
import hashlib

import pytest

from medres.report import safe
from tests.hostile_study import DID, NOWHERE

PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><!-- policy --><title>t</title>'
    "<style>p { color: red }</style></head><body>{}</body></html>"
)


def page(body: str) -> str:
    return PAGE.replace("{}", body)


@pytest.mark.parametrize(
    "body",
    [
        "<p>see https://example.org/x, //example.org, url(https://example.org) @import 'x'</p>",
        "<p>javascript:alert(1) &lt;script&gt; src=&quot;//x&quot;</p>",
        '<p class="a b" id="c">x</p><a href="05_alignment.html#part">x</a><a href="#x">x</a>',
        '<a href="tables/grid.csv">CSV</a> <a href="../smoke/02_finetune.html">02</a>',
        '<img alt="a" width="1" height="1" src="data:image/png;base64,iVBORw0KGgo=">',
        '<svg role="img" viewBox="0 0 1 1"><title>x</title><use href="#picture-1"/></svg>',
        '<input type="range" min="0" max="1"><td style="--share:3.0%">x</td>',
        '<table border="1" class="dataframe"><thead><tr><th>x</th></tr></thead></table>',
    ],
)
def test_what_a_page_shows_is_left_as_it_is(body: str) -> None:
    made = safe.checked(page(body), "05_alignment")
    assert body in made
    assert made == page(body).replace(safe.POLICY, safe.policy([]))


@pytest.mark.parametrize(
    "body",
    [
        f"<script>{DID}</script>",
        f"<script src={NOWHERE}/x.js></script>",
        "<script/>",
        "<style/>",
        f"<SCRIPT>{DID}</SCRIPT >",
        f'<img src="x" onerror="{DID}">',
        f'<img src="{NOWHERE}/x.png">',
        '<img src="x.png">',
        '<img src="data:image/svg+xml;base64,PHN2Zz4=">',
        f'<img srcset="{NOWHERE}/x.png 2x" src="data:image/png;base64,aa==">',
        '<p onclick="x()">x</p>',
        f'<a href="{NOWHERE}/x">x</a>',
        '<a href="//example.org">x</a>',
        '<a href="\\\\example.org">x</a>',
        '<a href=" javascript:x()">x</a>',
        '<a href="java&#10;script&colon;x()">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<a href="mailto:a@example.org">x</a>',
        '<a href="x.html" ping="https://example.org">x</a>',
        f'<meta http-equiv="refresh" content="0;url={NOWHERE}">',
        f'<base href="{NOWHERE}/">',
        f'<link rel="stylesheet" href="{NOWHERE}/x.css">',
        f'<iframe src="{NOWHERE}"></iframe>',
        '<iframe srcdoc="x"></iframe>',
        f'<object data="{NOWHERE}"></object>',
        f'<embed src="{NOWHERE}">',
        f'<form action="{NOWHERE}"></form>',
        '<input type="text">',
        '<button formaction="x">x</button>',
        f"<style>p {{ background: URL({NOWHERE}/x) }}</style>",
        "<style>@import 'x.css';</style>",
        "<style>p { background: u\\72l(x) }</style>",
        "<style>p { color: red }",
        '<p style="background: url(x)">x</p>',
        '<p style="background: u\\72l(x)">x</p>',
        f'<svg><image href="{NOWHERE}/x.png"/></svg>',
        f'<svg><use href="{NOWHERE}/x.svg#a"/></svg>',
        f'<svg><a xlink:href="{NOWHERE}"><text>x</text></a></svg>',
        "<svg><animate attributeName='href' values='x'/></svg>",
        "<math><mtext>x</mtext></math>",
        "<template><p>x</p></template>",
        "<noscript><p>x</p></noscript>",
        "<p><!-- a > b --><img></p>",
        "<![CDATA[ <img src=x> ]]>",
    ],
)
def test_what_loads_leads_outside_or_runs_is_refused_with_the_page_named(body: str) -> None:
    with pytest.raises(ValueError, match="page 05_alignment refers outside or runs something"):
        safe.checked(page(body), "05_alignment")


def test_the_policy_allows_the_scripts_that_the_page_holds_and_no_other() -> None:
    script = safe.script("frame")
    made = safe.checked(page(f"<script>{script}</script>"), "x")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in made
    assert made.count("sha256-") == 1
    assert "unsafe-inline'; script-src" in made, "for styles alone"
    assert made.index("Content-Security-Policy") < made.index("<title>") < made.index("<style>")
    assert "script-src 'none'" in safe.checked(page(""), "x")
    with pytest.raises(ValueError, match="runs something"):
        safe.checked(page(f"<script>{script} </script>"), "x")


def test_a_page_shows_the_characters_that_would_act_on_it() -> None:
    made = safe.checked(page("<p>a\u202eb\x1bc\r\nd\te\ud83d</p>"), "x")
    assert "<p>a\\u202eb\\x1bc\nd\te\\ud83d</p>" in made
    made.encode()
