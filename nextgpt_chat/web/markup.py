"""Words as Markdown for the Chatbot: the user's shown as they are, the model's formatted. Nothing in them is a tag, and
no picture is fetched from elsewhere, whatever a Markdown reader takes for code: only what is harmless stays as it was.
"""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>$:=])")
_INDENT = re.compile(r"^[ \t]+(?=[^ \t\n])", re.MULTILINE)
_FENCE = re.compile(
    r"^(?P<at>(?:[ \t]*(?:[-*+]|\d{1,9}[.)])(?=[ \t]))*[ \t]*)"
    r"(?P<mark>`{3,}(?=[^`\n]*$)|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n?"
    r"(?P<code>.*?)(?:^(?:(?P=at))? {0,3}(?P=mark)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_LIVE = re.compile(r"[<&]|!\[")
"""What would be a tag, a sign in disguise or a picture, if it did not stand in code."""
_SPAN = re.compile(r"\\[\\`]|\\(?P<escaped>[&<])|(?<!`)(?P<mark>`+)(?!`)(?P<code>[^\n]+?)(?<!`)(?P=mark)(?!`)")
_PICTURE = re.compile(r"!\\*\[")
_REACHES = re.compile(r"^( {0,3})(?=`{3,}[^`\n]*$|\[(?:\\[\[\]]|[^\[\]])*\Z)", re.MULTILINE)
"""A fence that came of a span on its line, now written without backticks; a name of a link that does not end."""


def plain(text: str) -> str:
    """Markdown that shows ``text`` exactly as it is: no tags, no formatting, no links."""
    return _INDENT.sub(_blanks, _MARKDOWN.sub(r"\\\1", _entities(_lines(text))))


def formatted(text: str) -> str:
    """Markdown of the model's words: formatting stays, tags are shown as text, nothing is fetched from elsewhere."""
    # Gradio's page makes HTML of what stands in ```mermaid, without escaping it; with the blank it is code like any.
    text = _lines(text).replace("```mermaid", "``` mermaid")
    fences = list(_FENCE.finditer(text))
    anew = any(_LIVE.search(fence[0]) for fence in fences)
    pieces, end = [], 0
    for fence in fences:
        pieces += [_outside(text[end : fence.start()]), _fenced(fence) if anew else fence[0]]
        end = fence.end()
    return "".join([*pieces, _outside(text[end:])])


def _fenced(fence: re.Match[str]) -> str:
    """A fence that ends for every reader where it ends for us: at the start of a line of its own, after a blank one,
    with a longer mark than any in its code."""
    code = re.sub(rf"^[ \t]{{0,{len(fence['at'])}}}", "", fence["code"], flags=re.MULTILINE)
    mark = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", code))])
    end = "" if code.endswith("\n") or not code else "\n"
    number = fence["at"].strip(" \t-*+")
    return f"{number}\n\n{mark} {fence['language']}\n{code}{end}{mark}"


def _outside(text: str) -> str:
    """Words outside fences, with nothing live in them, and nothing that begins a fence or reaches into the next one."""
    pieces, end = [], 0
    for found in _SPAN.finditer(text):
        pieces += [_dead(text[end : found.start()]), _span(found)]
        end = found.end()
    return _REACHES.sub(r"\1\\", "".join([*pieces, _dead(text[end:])]))


def _span(found: re.Match[str]) -> str:
    if found["escaped"]:
        return _entities(found["escaped"])
    if found["mark"] is None or _dead(found[0]) == found[0]:
        return found[0]
    return f"<code>{plain(found['code'].strip())}</code>"


def _dead(text: str) -> str:
    """Without what is live, and without definitions of links: their titles would swallow the mark of a fence."""
    # As an entity, for Gradio's reader takes the backslash from a bracket within the words of a link.
    return _PICTURE.sub("!&#91;", _entities(text)).replace("]:", "]\\:")


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _blanks(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(blank)};" for blank in found[0])


def _lines(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text)
