"""A network without the internet: pretended names, and connections that end on loopback."""

from __future__ import annotations

import socket


class Network:
    """Names, and the connections that were requested."""

    def __init__(self, port: int, **names: list[list[str]]) -> None:
        self.port, self.asked = port, []
        self.connected: list[tuple[str, int]] = []
        # Each lookup uses the next answer; the last one is repeated.
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}

    def resolve(self, host: str, port: int, *, seconds: float) -> list[str]:
        self.asked.append(host)
        answers = self.names.get(host, [[host]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def connect(self, address: str, port: int, *, seconds: float) -> socket.socket:
        self.connected.append((address, port))
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
