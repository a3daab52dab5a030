"""The evaluations side by side give what they give one after another."""

import operator
import os

import pytest

from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.evaluation import cells, picturebook, workers
from tests.evaluation.test_evaluate import Listener, Scripted, known  # noqa: F401
from tests.tiny_checkpoint import tiny_checkpoint


@pytest.fixture
def here(monkeypatch):
    """Runs the jobs in this process, the last one first, with the pipeline that is put into the list."""
    pipelines = []

    def in_workers(checkpoint, device, count, jobs, done):
        answers = [job(pipelines[0]) for job in reversed(list(jobs))]
        for number in range(len(answers)):
            done(number + 1)
        return answers[::-1]

    monkeypatch.setattr(workers, "in_workers", in_workers)
    return pipelines


def test_parts_measured_in_any_order_make_the_same_table(known, here, monkeypatch):  # noqa: F811
    monkeypatch.setattr(picturebook, "PARTS", ("picture", "words from sound", "ceiling of pictures"))
    here.append(Listener(known))
    told = []
    rows = workers.evaluate_picturebook("some", "cpu", 2, limit=1, progress=lambda *step: told.append(step))
    one_after_another = picturebook.evaluate(Listener(known), limit=1)
    assert rows == one_after_another and list(rows) == list(one_after_another)
    assert told[-1] == ("parts", 3, 3)


def test_cells_measured_in_any_order_make_the_same_table(here, monkeypatch):
    chosen = ((("text",), ("image",)), (("image",), ("video",)), (("text", "image"), ()))
    monkeypatch.setattr(cells, "CELLS", chosen)
    here.append(Scripted(chosen, seeds=1))
    table = workers.evaluate_cells("some", "cpu", 2, seeds=1)
    assert table == dict.fromkeys(chosen, (1, "")) and list(table) == list(chosen)


def test_a_process_opens_the_checkpoint_and_what_fails_in_it_is_raised_here():
    done = []
    jobs = [operator.attrgetter("name"), operator.attrgetter("no_such_thing")]
    with pytest.raises(AttributeError, match=r"NextGPTPipeline.*no_such_thing"):
        workers.in_workers(str(tiny_checkpoint()), "cpu", 1, jobs, done.append)
    assert done == [1]


def leave(pipeline):
    os._exit(9)


def test_a_process_that_is_ended_is_said_with_what_to_do():
    with pytest.raises(NextGPTError, match="fewer --workers"):
        workers.in_workers(str(tiny_checkpoint()), "cpu", 1, [leave], lambda number: None)
