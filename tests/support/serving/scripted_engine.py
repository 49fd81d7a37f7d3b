"""An engine whose processes are scripts of a test, and the messages that they send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving import ServerSettings
from captune.serving.engine import worker as worker_module
from captune.serving.engine.engine import Ask, Engine
from captune.serving.engine.messages import Captioned, CaptionImage, Loaded
from captune.serving.watch.metrics import ServerMetrics
from support.serving.stub_model import served_stub

CONFIG = GenerateConfig(num_beams=1)


@dataclass
class ScriptedProcess:
    """A process without a model: it keeps what it gets, and says what a test wants."""

    entry: str
    on_message: Any
    on_line: Any = None
    sent: list[Any] = field(default_factory=list)
    is_closed: bool = False
    process_id: int = 1

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.is_closed = True

    @property
    def jobs(self) -> list[int]:
        return [message.job for message in self.sent if isinstance(message, CaptionImage)]


class Bench:
    """An engine, and its processes in the order of their starts."""

    def __init__(self, monkeypatch, tmp_path, **settings: Any) -> None:
        self.processes: list[ScriptedProcess] = []

        def start(entry, on_message, *, on_line=None):
            self.processes.append(ScriptedProcess(entry, on_message, on_line))
            return self.processes[-1]

        monkeypatch.setattr(worker_module, "ModelProcess", start)
        model = served_stub(tmp_path)
        self._metrics = ServerMetrics()
        self.engine = Engine(model, ServerSettings((model,), **settings), self._metrics)

    @property
    def shown_depth(self) -> float:
        """The depth of the queue as the metrics show it."""
        lines = self._metrics.render().decode().splitlines()
        (line,) = (line for line in lines if line.startswith("captune_queue_depth{"))
        return float(line.rpartition(" ")[2])

    async def say(self, *messages: Any, process: int = -1) -> None:
        for message in messages:
            self.processes[process].on_message(message)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)

    async def load(self) -> None:
        self.engine.start()
        await self.say(Loaded("a test", CONFIG))

    def ask(self, *contents: bytes) -> asyncio.Task[Any]:
        async def caption():
            with self.engine.reserve(len(contents)) as room:
                asks = [Ask(str(n), content, (CONFIG,)) for n, content in enumerate(contents)]
                return await self.engine.caption(asks, room)

        return asyncio.ensure_future(caption())


def captioned(job: int, text: str = "a dog") -> Captioned:
    """Return the message with the caption of a job."""
    return Captioned(job, (Prediction("0", text, -0.5, 3, "eos"),), 0.01)
