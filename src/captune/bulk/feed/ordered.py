"""Hands on settled tasks in input order; equal images in the queue are captioned once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

from captune.bulk.feed.contents import has_changed
from captune.bulk.writing.tasks import CaptionTask
from captune.errors import ImageError
from captune.records import Prediction

# Recent captions, which the journal may not hold yet; 1 kB each.
_NUM_RECENT = 4096
# Tasks that may wait behind one that is not settled, 1 kB each; beyond, order is given up.
_MAX_WAITING = 1024


_CHANGED = ImageError(
    "changed",
    where="the image, or an identical one, was replaced during the run",
    fix="run the same command again",
)


class OrderedTasks:
    """Hands on each task once it and all before it are settled."""

    def __init__(self, hand_on: Callable[[CaptionTask], None]) -> None:
        """Keep the function that receives settled tasks."""
        self._hand_on = hand_on
        self._waiting: deque[CaptionTask] = deque()
        self._by_name: dict[str, CaptionTask] = {}
        self._by_content: dict[bytes, list[CaptionTask]] = {}
        self._recent: OrderedDict[bytes, tuple[str, Prediction | ImageError]] = OrderedDict()

    def admit(self, task: CaptionTask) -> bool:
        """Accept a task; return whether the model must caption its image."""
        self._waiting.append(task)
        if len(self._waiting) > _MAX_WAITING:
            self._flush(in_order=False)
        if not task.is_settled and task.content is not None and task.content in self._recent:
            asked, answer = self._recent[task.content]
            _answer(task, answer, asked=asked)
        must_caption = not task.is_settled
        if must_caption and task.content is not None:
            same = self._by_content.setdefault(task.content, [])
            # Too many waiting copies would fill the memory: one of them is captioned again.
            must_caption = not same or len(self._waiting) > 2 * _MAX_WAITING
            if not must_caption or not same:
                same.append(task)
        if must_caption:
            self._by_name[task.item.name] = task
        else:
            self._flush(in_order=True)
        return must_caption

    def settle(self, prediction: Prediction) -> None:
        """Settle a task with a generated caption; images with the same content get it too."""
        task = self._by_name.pop(prediction.image_id)
        task.is_new = True
        self._answer_all(task, prediction)

    def fail(self, name: str, error: ImageError) -> None:
        """Settle a task with a failure; images with the same content fail too."""
        self._answer_all(self._by_name.pop(name), error)

    def pending(self) -> list[CaptionTask]:
        """Return the tasks that the model has not answered, in order."""
        return list(self._by_name.values())

    def _answer_all(self, task: CaptionTask, answer: Prediction | ImageError) -> None:
        """Settle a task and those with the same content; files replaced in the meantime fail."""
        same, asked = [task], task.item.name
        if has_changed(task.item):
            answer = _CHANGED
        if task.content is not None:
            same += [one for one in self._by_content.pop(task.content, []) if one is not task]
            # A replaced file is no reason to fail other images with this content.
            if answer is not _CHANGED:
                self._recent[task.content] = asked, answer
            if len(self._recent) > _NUM_RECENT:
                self._recent.popitem(last=False)
        for one in same:
            _answer(one, _CHANGED if has_changed(one.item) else answer, asked=asked)
        self._flush(in_order=True)

    def _flush(self, *, in_order: bool) -> None:
        if in_order:
            while self._waiting and self._waiting[0].is_settled:
                self._hand_on(self._waiting.popleft())
            return
        waiting, self._waiting = self._waiting, deque()
        for task in waiting:
            if task.is_settled:
                self._hand_on(task)
            else:
                self._waiting.append(task)


def _answer(task: CaptionTask, answer: Prediction | ImageError, *, asked: str) -> None:
    """Settle a task with what the model was asked about an image of the same content."""
    if not isinstance(answer, ImageError):
        task.prediction = replace(answer, image_id=task.item.name)
        return
    task.error = answer
    if task.item.name != asked and answer.where.startswith(asked):
        where = task.item.name + answer.where.removeprefix(asked)
        task.error = ImageError(answer.what, where=where, fix=answer.fix)
