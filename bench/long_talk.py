"""Does turn 20 start as fast as turn 1? First-token seconds along one talk, with the prefix cache and without it.

python bench/long_talk.py [--checkpoint nextgpt-mini] [--repeats 3]
"""

from __future__ import annotations

from statistics import median

from _common import arguments, load, table

from nextgpt_chat import Conversation, NextGPTPipeline

TURNS = (1, 5, 10, 20)


def first_tokens(pipeline: NextGPTPipeline, cached: bool) -> list[float]:
    conversation, seconds = Conversation(), []
    for turn in range(max(TURNS)):
        conversation.add_user(f"what can you do? this is question {turn + 1}")
        if not cached:
            pipeline.model.language_model.prefixes.clear()
        seconds.append(pipeline.reply(conversation, seed=turn, modalities=("text",)).timings["first_token"])
    return seconds


def main() -> None:
    options = arguments(__doc__)
    pipeline = load(options)
    first_tokens(pipeline, True)
    runs = {cached: [first_tokens(pipeline, cached) for _ in range(options.repeats)] for cached in (True, False)}
    rows = []
    for turn in TURNS:
        with_cache, without = (median(run[turn - 1] for run in runs[cached]) for cached in (True, False))
        rows.append([str(turn), f"{with_cache * 1000:.0f}", f"{without * 1000:.0f}", f"{without / with_cache:.1f}"])
    table(["turn", "with the cache, ms", "without, ms", "ratio"], rows)


if __name__ == "__main__":
    main()
