"""Settled tasks in the order of the inputs; an image that is on its way is not captioned twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from captune.bulk.writing.tasks import CaptionTask
from captune.errors import ImageError
from captune.records import Prediction

# Tasks behind one that is not settled; more are handed on out of order. They cost 1 kB each.
_MAX_WAITING = 4096


class OrderedTasks:
    """Hands on each task once it and all before it are settled."""

    def __init__(self, hand_on: Callable[[CaptionTask], None]) -> None:
        """Keep where settled tasks go."""
        self._hand_on = hand_on
        self._waiting: deque[CaptionTask] = deque()
        self._by_name: dict[str, CaptionTask] = {}
        self._by_content: dict[bytes, list[CaptionTask]] = {}

    def admit(self, task: CaptionTask) -> bool:
        """Take a task; return whether the model must caption its image."""
        self._waiting.append(task)
        if len(self._waiting) > _MAX_WAITING:
            self._flush(in_order=False)
        must_caption = not task.is_settled
        if must_caption and task.content is not None:
            same = self._by_content.setdefault(task.content, [])
            must_caption = not same
            same.append(task)
        if must_caption:
            self._by_name[task.item.name] = task
        else:
            self._flush(in_order=True)
        return must_caption

    def settle(self, prediction: Prediction) -> None:
        """Take a generated caption; images with the same content get it too."""
        task = self._by_name.pop(prediction.image_id)
        for one in self._same(task):
            one.prediction = replace(prediction, image_id=one.item.name)
        task.is_new = True
        self._flush(in_order=True)

    def fail(self, name: str, error: ImageError) -> None:
        """Take a failure; images with the same content fail too."""
        for one in self._same(self._by_name.pop(name)):
            one.error = error
        self._flush(in_order=True)

    def pending(self) -> list[CaptionTask]:
        """Return the tasks that the model has not answered, in order."""
        return list(self._by_name.values())

    def _same(self, task: CaptionTask) -> list[CaptionTask]:
        if task.content is None:
            return [task]
        return self._by_content.pop(task.content)

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
