"""A page of HTML that opens from disk: no script, no network, pictures inside.

Text is of anybody and becomes text: everything passes `html.escape`, and the page's own policy lets
a browser load nothing and run nothing.
"""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Sequence
from dataclasses import dataclass

#: What a browser may do with the page: show pictures that are in it, and its own style.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
#: Pixels of a picture from which on a phone scrolls it sideways, so that its text can be read.
_WIDE = 700

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fdfdfc; --soft: #5c6570;
  --line: #dde1e5; --card: #f3f5f7; --mark: #2563a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --paper: #15181c; --soft: #9aa4ae;
  --line: #343a41; --card: #1e2328; --mark: #7db4ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.soft { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; font-size: .92rem; }
a { color: var(--mark); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
figure { margin: 1rem 0; }
figure div, .table { overflow-x: auto; }
figure div { background: #fff; border-radius: .5rem; padding: .4rem;
  border: 1px solid var(--line); }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
@media (max-width: 40rem) { img.wide { max-width: none; width: 44rem; } }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
th, table.named td:first-child { white-space: nowrap; }
table.named td:first-child { color: var(--soft); }
code { font: .88rem/1.5 ui-monospace, monospace; background: var(--card); padding: .1rem .3rem;
  border-radius: .3rem; }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Grid:
    """Rows of text below headings; without headings, names and values."""

    rows: Sequence[Sequence[str]]
    headings: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """A part of a page, below its heading."""

    title: str
    text: str = ""  #: paragraphs, apart by an empty line
    content: Sequence[Picture | Grid] = ()
    code: str = ""  #: a command


def page(title: str, subtitle: str, cards: Sequence[tuple[str, str]], parts: Sequence[Part]) -> str:
    """The whole page, as UTF-8 text.

    Args:
        title: Plain text, as all that follows.
        subtitle: Below it.
        cards: What to see first: values and what they are.
        parts: In their order; those without anything are left out.
    """
    shown = [part for part in parts if part.text or part.content or part.code]
    links = "".join(
        f'<a href="#part-{index}">{_text(part.title)}</a>' for index, part in enumerate(shown)
    )
    boxes = "".join(
        f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
        for value, name in cards
    )
    body = "".join(_part(index, part) for index, part in enumerate(shown))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{_text(title)}</h1><p class="soft">{_text(subtitle)}</p>'
        f'<div class="cards">{boxes}</div><nav>{links}</nav>{body}</body></html>\n'
    )


def _part(index: int, part: Part) -> str:
    paragraphs = "".join(f"<p>{_text(p)}</p>" for p in part.text.split("\n\n") if p)
    code = f'<div class="table"><code>{_text(part.code)}</code></div>' if part.code else ""
    content = "".join(
        _picture(one) if isinstance(one, Picture) else _grid(one) for one in part.content
    )
    heading = f'<h2 id="part-{index}">{_text(part.title)}</h2>'
    return f"<section>{heading}{paragraphs}{code}{content}</section>"


def _picture(picture: Picture) -> str:
    width, height = struct.unpack(">II", picture.png[16:24])  # of the header, PNG's section 11.2.2
    data = base64.b64encode(picture.png).decode("ascii")
    kind = ' class="wide"' if width >= _WIDE else ""
    caption = _text(picture.caption)
    return (
        f'<figure><div><img{kind} width="{width}" height="{height}" alt="{caption}" '
        f'src="data:image/png;base64,{data}"></div><figcaption>{caption}</figcaption></figure>'
    )


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in grid.headings)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in grid.rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    kind = "" if head else ' class="named"'
    return f'<div class="table"><table{kind}>{head}<tbody>{rows}</tbody></table></div>'


def _text(text: str) -> str:
    return html.escape(text, quote=True)
