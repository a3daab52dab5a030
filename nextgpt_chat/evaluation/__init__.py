"""Driving the pipeline as a user would, and judging what it makes.

``judge_picture``, ``judge_sound`` and ``judge_clip`` know only how the picture-book world is drawn; ``gates`` asks
single parts, ``picturebook.evaluate`` and ``cells.cells`` ask a whole pipeline, ``report`` writes the tables down.
"""
