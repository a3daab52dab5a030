"""How long a reply takes, by what is asked for, with the checkpoint's default settings: median (least–most) of N seeds.

python bench/reply.py [--checkpoint nextgpt-mini] [--repeats 5]
"""

from __future__ import annotations

from _common import arguments, load, spread, table

from nextgpt_chat import Conversation

REQUESTS = (
    ("words", "who are you?", ("text",)),
    ("a picture", "draw a red car", ("text", "image")),
    ("a sound", "let me hear a bell", ("text", "audio")),
    ("a clip", "show me a bird that moves to the right", ("text", "video")),
    ("all three", "draw a frog, let me hear it and let it move", ("text", "image", "audio", "video")),
)


def main() -> None:
    options = arguments(__doc__)
    pipeline = load(options)
    rows = []
    for name, words, modalities in REQUESTS:
        timings = []
        for seed in range(-1, options.repeats):  # the first one warms up
            conversation = Conversation()
            conversation.add_user(words)
            reply = pipeline.reply(conversation, seed=max(seed, 0), modalities=modalities)
            if seed >= 0:
                timings.append(reply.timings)
        columns = ("first_token", "text", "image", "audio", "video", "total")
        rows.append([name] + [spread([t.get(c, 0.0) for t in timings]) for c in columns])
    table(["asked for", "first token", "words", "picture", "sound", "clip", "total"], rows)


if __name__ == "__main__":
    main()
