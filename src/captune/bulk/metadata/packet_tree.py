"""Find the byte positions of the captions in an XMP packet, with expat and without entities.

Only what an edit needs is kept; everything else goes into a digest, which shows after an edit
that no other property has changed. A document type is refused: with entities, a small file can
expand to gigabytes, and XMP has none.

Source: XMP specification, part 1 (ISO 16684-1:2019), sections 6 and 7.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from xml.parsers import expat

from captune.bulk.metadata.refusal import PacketError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
LANG = "http://www.w3.org/XML/1998/namespace lang"
MAX_PACKET = 2_000_000
# expat takes seconds for a tag with a hundred thousand attributes.
_MAX_PARTS, _MAX_SIGNS = 200_000, 20_000
_MAX_NODES = 1_000
# Nested elements; real packets have about ten levels.
_MAX_DEPTH = 200


@dataclass(slots=True)
class Element:
    """An element with the byte positions of its tags; `name` is `namespace local`."""

    name: str
    attributes: dict[str, str]
    start: int
    start_end: int
    end_start: int = -1
    end: int = -1
    text: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def is_self_closing(self) -> bool:
        """Whether it is a single tag: `<a/>`."""
        return self.end_start == self.start_end == self.end


@dataclass(slots=True)
class PacketTree:
    """What a scan finds in a packet."""

    rdf: Element | None = None
    descriptions: list[Element] = field(default_factory=list)
    properties: dict[str, list[Element]] = field(default_factory=dict)
    digest: str = ""


def scan_packet(packet: bytes, targets: frozenset[str]) -> PacketTree:
    """Find the RDF, its descriptions, and the target properties.

    Args:
        packet: UTF-8.
        targets: Names of properties, `namespace local`.

    Raises:
        PacketError: The packet is not well-formed, has a document type, or is too large.
    """
    if len(packet) > MAX_PACKET:
        raise PacketError(f"the XMP packet is larger than {MAX_PACKET // 1_000_000} MB")
    if packet.count(b"=") > _MAX_SIGNS:
        raise PacketError("the XMP packet has too many attributes")
    scanner = _Scanner(packet, targets)
    try:
        scanner.parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise PacketError(f"the XMP packet is not well-formed XML: {error}") from error
    scanner.tree.digest = scanner.others.hexdigest()
    return scanner.tree


class _Scanner:
    """Handlers of one parse."""

    def __init__(self, packet: bytes, targets: frozenset[str]) -> None:
        self.tree = PacketTree()
        self.others = hashlib.blake2b(digest_size=16)
        self._packet, self._targets = packet, targets
        self._depth, self._num_nodes, self._num_parts = 0, 0, 0
        self._rdf_depth = -1
        self._description: Element | None = None
        # Open elements of a target property, outermost first.
        self._open: list[Element] = []
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PacketError("the XMP packet has elements that are nested too deeply")
        inside = self._depth - self._rdf_depth if self._rdf_depth > 0 else 0
        if self._open or (inside == 2 and name in self._targets):
            self._start_target(name, attributes)
        elif inside == 1 and name == f"{RDF} Description":
            self._start_description(name, attributes)
        elif name == f"{RDF} RDF" and self._depth <= 2:
            if self.tree.rdf is not None:
                raise PacketError("the XMP packet has two RDF elements")
            self.tree.rdf = self._element(name, attributes)
            self._rdf_depth = self._depth
        else:
            self._note("start", name, *(part for pair in attributes.items() for part in pair))

    def _start_target(self, name: str, attributes: dict[str, str]) -> None:
        element = self._element(name, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.tree.properties.setdefault(name, []).append(element)
        self._open.append(element)

    def _start_description(self, name: str, attributes: dict[str, str]) -> None:
        self._description = self._element(name, attributes)
        self.tree.descriptions.append(self._description)
        for key, value in attributes.items():
            if key not in self._targets and (value or key != f"{RDF} about"):
                self._note("attribute", key, value)

    def _end(self, name: str) -> None:
        if self._open:
            self._close(self._open.pop())
        elif self._depth == self._rdf_depth + 1 and self._description is not None:
            self._close(self._description)
            self._description = None
        elif self._depth == self._rdf_depth and self.tree.rdf is not None:
            self._close(self.tree.rdf)
            self._rdf_depth = -1
        else:
            self._note("end", name)
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text
        elif text.strip():
            self._note("text", text)

    def _element(self, name: str, attributes: dict[str, str]) -> Element:
        self._num_nodes += 1
        if self._num_nodes > _MAX_NODES:
            raise PacketError("the XMP packet has too many descriptions")
        start = self.parser.CurrentByteIndex
        return Element(name, attributes, start, _tag_end(self._packet, start))

    def _close(self, element: Element) -> None:
        at = self.parser.CurrentByteIndex
        if self._packet[element.start_end - 2 : element.start_end] == b"/>":
            element.end_start = element.end = element.start_end
        else:
            element.end_start, element.end = at, self._packet.index(b">", at) + 1

    def _note(self, *parts: str) -> None:
        self._num_parts += len(parts)
        if self._num_parts > _MAX_PARTS:
            raise PacketError("the XMP packet has too many elements and attributes")
        self.others.update("\0".join((*parts, "")).encode("utf-8", "surrogatepass"))

    def _refuse_doctype(self, *_: object) -> None:
        raise PacketError("the XMP packet has a document type")


def _tag_end(packet: bytes, start: int) -> int:
    """Return the position after the `>` of a start tag; attribute values may contain `>`."""
    at = start
    while True:
        close = packet.index(b">", at)
        quotes = [(packet.find(sign, at, close), sign) for sign in (b'"', b"'")]
        opened = min((pair for pair in quotes if pair[0] >= 0), default=None)
        if opened is None:
            return close + 1
        at = packet.index(opened[1], opened[0] + 1) + 1
