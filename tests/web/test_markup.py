"""Words as Markdown: the user's as they are, the model's formatted, and tags in neither."""

import html
import random
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from nextgpt_chat.web.markup import formatted, plain

READER = MarkdownIt("commonmark", {"breaks": True}).enable(["table", "strikethrough"])
EVIL = "<img src=http://e>"
SNIPPETS = (
    *("`", "``", "```", "````", "~~~", "\n", "\n\n", "\r", " ", "    ", "\t", "- ", "1. ", "> ", "\\", "<", "&"),
    *("&lt;", EVIL, EVIL, "![x](http://e)", '[a]: x "', "[", "](", "]:", "!", '"', "'", ")", "a", "# ", "---", "==="),
    *("|", "**", "_", "~~", "```mermaid\n", "<script>", "<!--", "-->", "<pre>", "</pre>", "<code>", "<https://e>"),
)


class Tags(HTMLParser):
    """Collects the names of all tags, comments included."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)

    def handle_comment(self, data):
        self.names.add("comment")


def seen(markdown: str) -> str:
    """What a person reads."""
    return html.unescape(re.sub(r"<[^>]*>", "", READER.render(markdown))).strip("\n")


@pytest.mark.parametrize("text", ["<Image>/etc/passwd</Image>", "<img src=x onerror=alert(1)>", "a & b < c &lt; \\<"])
def test_what_a_user_typed_never_becomes_a_tag(text):
    assert "<" not in plain(text)
    assert seen(plain(text)) == text


@pytest.mark.parametrize("text", ["# head", "![x](http://e/x.png)", "**b**", "[a](javascript:x)", "$$x$$", "http://e"])
def test_what_a_user_typed_is_not_formatted(text):
    shown = plain(text)
    assert shown != text and shown.replace("\\", "") == text


@pytest.mark.parametrize("text", ["def f():\n\n    return a_b < c", "Hello\n=====", "Hello\r===", "a\n\tb", "    a"])
def test_indented_and_underlined_lines_of_a_user_are_shown_as_they_are(text):
    page = READER.render(plain(text))
    assert Tags(page).names <= {"p", "br"}
    assert seen(plain(text)).split() == text.split()
    assert page.count("    ") == text.count("    ") and page.count("\t") == text.count("\t")


def test_the_models_formatting_stays_but_tags_and_pictures_from_elsewhere_do_not():
    shown = formatted("**bold** <script>x</script> ![p](http://evil/x.png) `a<b` ")
    page = READER.render(shown)
    assert "<strong>bold</strong>" in page and "<code>a&lt;b</code>" in page
    assert Tags(page).names == {"p", "strong", "code"} and "![p](http://evil/x.png)" in seen(shown)


@pytest.mark.parametrize(
    "text",
    [
        "**bold**, *slanted*, `x_1` and ``a ` b``\n- one\n  - `two`\n\n1. three\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "> quote\n\n# Head\n[a](http://e)\n\n```python\nfor i in x[1:]:\n    print(i)\n```\nend",
        "1. Do:\n   ```bash\n   make mini\n   ```\n2. Then go.",
    ],
)
def test_ordinary_replies_are_left_alone(text):
    assert formatted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Run `a<b && c` now",
        "Text:\n\n```html\n<b>x</b> & ![y](z)\n```\nend",
        "a\n\n````md\n```\n<b>\n```\n````\nend",
        "| a |\n|---|\n| `x<y` |",
        "half\n\n```c\nif (a<b\n",
    ],
)
def test_code_is_shown_as_it_was_meant(text):
    assert READER.render(formatted(text)) == READER.render(text)


def test_code_in_a_list_keeps_its_text_and_the_list_its_numbers():
    page = READER.render(formatted("1. Do:\n   ```bash\n   a && b < c\n     d\n   ```\n2. Then **go**."))
    assert '<pre><code class="language-bash">a &amp;&amp; b &lt; c\n  d\n</code></pre>' in page
    assert '<ol start="2">' in page and "<strong>go</strong>" in page


@pytest.mark.parametrize(
    "text",
    [
        rf"\`{EVIL}\`",
        f"a ``` b ```{EVIL}```",
        f"```\nx\n\n``` {EVIL}\n{EVIL}",
        f"- a\n  ```\n{EVIL}\n```",
        f"> ```\n{EVIL}\n```",
        f'[a]: x "\n```\n"\n{EVIL}\n```',
        f"```x `<a`\n\n~~~\n{EVIL}\n~~~",
        f"```\n{EVIL}\n~~~\n```\n{EVIL}\n```",
        "[a !\\[x\\](http://e)](b)",
    ],
)
def test_what_only_looks_like_code_is_not_left_as_a_tag(text):
    assert "img" not in Tags(READER.render(formatted(text))).names


def test_a_diagram_is_shown_as_code():
    assert "```mermaid" not in formatted("```mermaid\ngraph TD\n```") + formatted(f"```mermaid\n{EVIL}\n```")


def test_no_words_become_tags_however_they_are_put_together():
    dice = random.Random(5)
    for _ in range(1500):
        text = "".join(dice.choices(SNIPPETS, k=dice.randint(2, 25)))
        for shown in (formatted(text), plain(text)):
            assert not Tags(READER.render(shown)).names & {"img", "script", "comment"}, repr(text)
