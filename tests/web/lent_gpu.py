"""A stand-in for the package ``spaces``: each call is made in a forked process, with what goes in and out pickled."""

from __future__ import annotations

import inspect
import multiprocessing
import types
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr

_FORK = multiprocessing.get_context("fork")
_SECONDS = 60  # a child that hangs must not hang the tests


class LentGPU:
    """``module`` is what ``import spaces`` gives. ``asked`` lists the seconds of each call; ``lends`` False refuses."""

    def __init__(self) -> None:
        self.module = types.ModuleType("spaces")
        self.module.GPU = self._decorate
        self.asked: list[int] = []
        self.lends = True

    def _decorate(self, task: Callable[..., Iterator[Any]], duration: Callable[..., int]) -> Callable[..., Any]:
        assert inspect.isgeneratorfunction(task)

        @wraps(task)
        def call(*args: Any) -> Iterator[Any]:
            self.asked.append(duration(*args))
            if not self.lends:
                raise gr.Error("You have exceeded your quota. ", title="ZeroGPU quota exceeded", print_exception=False)
            stop = _FORK.Event()
            here, there = _FORK.Pipe()
            child = _FORK.Process(target=_work, args=(task, there, stop), daemon=True)
            child.start()
            there.close()
            here.send(args)
            try:
                while True:
                    assert here.poll(_SECONDS), "the forked process says nothing"
                    kind, value = here.recv()
                    if kind == "end":
                        return
                    if kind == "error":  # as the package does: no more than the class's name gets out
                        raise gr.Error(value, title="ZeroGPU worker error", print_exception=False)
                    yield value
            finally:
                stop.set()
                here.close()
                child.join(_SECONDS)
                child.kill()

        return call


def _work(task: Callable[..., Iterator[Any]], pipe: Any, stop: Any) -> None:
    import torch

    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    events = task(*pipe.recv())
    try:
        for event in events:
            if stop.is_set():
                events.close()
                return
            pipe.send(("event", event))
    except Exception as error:
        pipe.send(("error", type(error).__name__))
        return
    pipe.send(("end", None))
