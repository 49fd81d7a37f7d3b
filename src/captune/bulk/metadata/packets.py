"""Read and edit the captions of an XMP packet; every other property stays the same.

The packet is not rebuilt from a tree, which would lose what the tree does not hold: the bytes
of `dc:description` and `Iptc4xmpCore:AltTextAccessibility` are replaced in place. Growth is taken
from the packet's padding, so that most edits move no offset in the file around it.

Source: XMP specification, part 1 (ISO 16684-1:2019), 7.3 (wrapper, padding) and 8.2.2.4 (language
alternatives); IPTC Photo Metadata Standard 2021.1 (AltTextAccessibility).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from captune.bulk.metadata.packet_tree import LANG, RDF, Element, PacketTree, scan_packet
from captune.bulk.metadata.refusal import PacketError
from captune.bulk.metadata.splices import Splice, apply_splices

_DC = "http://purl.org/dc/elements/1.1/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_DESCRIPTION = f"{_DC} description"
_ALT_TEXT = f"{_IPTC_CORE} AltTextAccessibility"
_PREFIXES = {_DESCRIPTION: ("dc", _DC), _ALT_TEXT: ("Iptc4xmpCore", _IPTC_CORE)}
_TARGETS = frozenset(_PREFIXES)

# Not allowed in XML 1.0, even as references: controls, surrogates, two non-characters.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_ENCODING = re.compile(rb"""^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding\s*=\s*["']([^"']*)""")
_END = b"<?xpacket end="

_NEW = (
    "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
    "<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='captune'>\n"
    f"<rdf:RDF xmlns:rdf='{RDF}'>\n"
    " <rdf:Description rdf:about=''>\n"
    " </rdf:Description>\n"
    "</rdf:RDF>\n"
    "</x:xmpmeta>\n"
    "<?xpacket end='w'?>"
).encode()


@dataclass(frozen=True, slots=True)
class Texts:
    """The two captions of an image's metadata, in the language `x-default`; `None`: absent."""

    description: str | None = None
    alt_text: str | None = None


def read_packet(packet: bytes) -> Texts:
    """Return the captions in a packet.

    Raises:
        PacketError: The packet is not well-formed, or its captions are ambiguous.
    """
    start, end = _bounds(packet)
    tree = scan_packet(packet[start:end], _TARGETS)
    return _texts(tree)


def new_packet(texts: Texts) -> bytes:
    """Return a packet that holds only the captions, without padding."""
    return edit_packet(_NEW, texts)


def edit_packet(packet: bytes, texts: Texts) -> bytes:
    """Return the packet with new captions; `None` leaves a text as it is.

    Its length stays the same if the padding suffices.

    Raises:
        PacketError: The packet is not well-formed, or cannot be edited without guessing.
    """
    start, end = _bounds(packet)
    body = packet[start:end]
    tree = scan_packet(body, _TARGETS)
    _texts(tree)
    edited = body
    wanted = {_DESCRIPTION: texts.description, _ALT_TEXT: texts.alt_text}
    for name, text in wanted.items():
        if text is not None:
            # Both may go to the same place, so the second edit starts from the first one's result.
            now = tree if edited is body else scan_packet(edited, _TARGETS)
            edited = apply_splices(
                edited, _set_property(edited, now, name=name, text=_xml_text(text))
            )
    edited = _fit_padding(edited, len(body))
    _check(edited, tree, wanted=wanted)
    return packet[:start] + edited + packet[end:]


def _check(edited: bytes, before: PacketTree, *, wanted: dict[str, str | None]) -> None:
    after = scan_packet(edited, _TARGETS)
    for name, text in wanted.items():
        found = _read(after, name)
        if found != (_read(before, name) if text is None else _xml_text(text)):
            raise PacketError("the XMP packet has captions in a form that cannot be edited")
    if after.digest != before.digest:
        raise PacketError("the XMP packet cannot be edited without changing other properties")


def _bounds(packet: bytes) -> tuple[int, int]:
    """Return where the XML begins and ends: some programs add null bytes.

    Raises:
        PacketError: The packet is not UTF-8.
    """
    end = len(packet.rstrip(b"\0"))
    start = 3 if packet.startswith(b"\xef\xbb\xbf") else 0
    declared = _ENCODING.match(packet[:200])
    if b"\0" in packet[:64] or packet[:2] in {b"\xfe\xff", b"\xff\xfe"}:
        raise PacketError("the XMP packet is not UTF-8")
    if declared is not None and declared[1].lower() not in {b"utf-8", b"us-ascii", b"ascii"}:
        raise PacketError("the XMP packet is not UTF-8")
    return start, end


def _texts(tree: PacketTree) -> Texts:
    return Texts(_read(tree, _DESCRIPTION), _read(tree, _ALT_TEXT))


def _read(tree: PacketTree, name: str) -> str | None:
    """Return a caption: the item of `x-default`, else the first one; `None` if there is none.

    Raises:
        PacketError: The caption is ambiguous.
    """
    elements = tree.properties.get(name, [])
    attributes = [found.attributes[name] for found in tree.descriptions if name in found.attributes]
    if len(elements) + len(attributes) > 1:
        raise PacketError(f"the XMP packet has {name.split()[1]} twice")
    if attributes:
        return attributes[0]
    if not elements:
        return None
    items = _items(elements[0])
    if items is None:
        return elements[0].text
    default = _default_item(items)
    item = items[0] if default is None and items else default
    return None if item is None else item.text


def _items(element: Element) -> list[Element] | None:
    """Return the items of a list; `None`: the element holds plain text."""
    if not element.children:
        return None
    holder = element.children[0]
    is_list = holder.name in {f"{RDF} {kind}" for kind in ("Alt", "Bag", "Seq")}
    items = holder.children
    is_plain = all(item.name == f"{RDF} li" and not item.children for item in items)
    if len(element.children) > 1 or not is_list or not is_plain:
        raise PacketError("the XMP packet has captions in a form that cannot be edited")
    return items


def _default_item(items: list[Element]) -> Element | None:
    return next((i for i in items if i.attributes.get(LANG, "").lower() == "x-default"), None)


def _set_property(body: bytes, tree: PacketTree, *, name: str, text: str) -> list[Splice]:
    content = html.escape(text, quote=False).replace("\r", "&#xD;").encode()
    elements = tree.properties.get(name, [])
    if not elements:
        whole = _property(name, content)
        return [*_without_attribute(body, tree, name=name), *_insert(body, tree, whole=whole)]
    element = elements[0]
    items = _items(element)
    if items is None or element.children[0].name != f"{RDF} Alt" or not items:
        length = element.end - element.start
        return [Splice(element.start, length, _property(name, content))]
    item = _default_item(items)
    if item is None:
        # The specification puts the default first.
        return [Splice(items[0].start, 0, _item(content))]
    if item.is_self_closing:
        return [Splice(item.start, item.end - item.start, _item(content))]
    return [Splice(item.start_end, item.end_start - item.start_end, content)]


def _property(name: str, content: bytes) -> bytes:
    prefix, namespace = _PREFIXES[name]
    tag = f"{prefix}:{name.split()[1]}"
    opened = f"<{tag} xmlns:{prefix}='{namespace}'><rdf:Alt xmlns:rdf='{RDF}'>"
    item = content.join((b"<rdf:li xml:lang='x-default'>", b"</rdf:li>"))
    return opened.encode() + item + f"</rdf:Alt></{tag}>".encode()


def _item(content: bytes) -> bytes:
    opened = f"<rdf:li xmlns:rdf='{RDF}' xml:lang='x-default'>".encode()
    return opened + content + b"</rdf:li>"


def _insert(body: bytes, tree: PacketTree, *, whole: bytes) -> list[Splice]:
    """Return the changes that add a property to the first description, or to a new one."""
    if tree.descriptions:
        return _append_child(body, tree.descriptions[0], child=b"  " + whole + b"\n ")
    if tree.rdf is None:
        raise PacketError("the XMP packet has no RDF element")
    opened = f"<rdf:Description xmlns:rdf='{RDF}' rdf:about=''>".encode()
    return _append_child(body, tree.rdf, child=opened + whole + b"</rdf:Description>\n")


def _append_child(body: bytes, parent: Element, *, child: bytes) -> list[Splice]:
    if not parent.is_self_closing:
        return [Splice(parent.end_start, 0, child)]
    # `<rdf:Description ... />` becomes two tags, with the prefix that it has.
    tag = re.match(rb"<([^\s/>]+)", body[parent.start : parent.end])
    assert tag is not None, "a start tag has a name"
    return [Splice(parent.end - 2, 2, b">\n" + child + b"</" + tag[1] + b">")]


def _without_attribute(body: bytes, tree: PacketTree, *, name: str) -> list[Splice]:
    """Return the change that removes a caption written as an attribute of a description."""
    holder = next((found for found in tree.descriptions if name in found.attributes), None)
    if holder is None:
        return []
    local = name.split()[1].encode()
    found = [
        match
        for match in _ATTRIBUTE.finditer(body, holder.start, holder.start_end)
        if match[1].rpartition(b":")[2] == local and b":" in match[1]
    ]
    if len(found) != 1:
        raise PacketError("the XMP packet has captions in a form that cannot be edited")
    return [Splice(found[0].start(), len(found[0][0]), b"")]


def _fit_padding(edited: bytes, length: int) -> bytes:
    """Take from the padding what the packet grew by, or add what it shrank by, if possible."""
    end = edited.rfind(_END)
    if end < 0:
        return edited
    head = edited[:end]
    text = head.rstrip(b" \t\r\n")
    padding, growth = head[len(text) :], len(edited) - length
    if growth <= 0:
        padding += b" " * -growth
    elif len(padding) > growth:
        padding = padding[: len(padding) - growth]
    else:
        padding = padding[:1]
    return text + padding + edited[end:]


def _xml_text(text: str) -> str:
    return _NOT_XML.sub("", text)
