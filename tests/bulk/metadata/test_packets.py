"""Captions are read from and written into every shape of XMP packet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.bulk.metadata import Texts, apply_splices, edit_sidecar, read_sidecar
from captune.errors import ImageError
from support.metadata_images import PACKET

RDF = "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
DC = "xmlns:dc='http://purl.org/dc/elements/1.1/'"
BOTH = Texts("a cat on a mat", "a cat")


def packet(inside: str, *, attributes: str = "") -> bytes:
    description = f"<rdf:Description rdf:about='' {DC} {attributes}>{inside}</rdf:Description>"
    rdf = f"<rdf:RDF {RDF}>{description}</rdf:RDF>"
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{rdf}</x:xmpmeta>".encode()


def described(item: str) -> bytes:
    return packet(f"<dc:description><rdf:Alt>{item}</rdf:Alt></dc:description>")


def edited(content: bytes | None, texts: Texts = BOTH) -> bytes:
    return apply_splices(content or b"", edit_sidecar(content, texts))


SHAPES = {
    "nothing": packet(""),
    "default": described("<rdf:li xml:lang='x-default'>old</rdf:li>"),
    "default in capitals": described("<rdf:li xml:lang='X-DEFAULT'>old</rdf:li>"),
    "empty item": packet(
        "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'/></rdf:Alt></dc:description>"
    ),
    "other language": packet(
        "<dc:description><rdf:Alt><rdf:li xml:lang='de'>alt</rdf:li></rdf:Alt></dc:description>"
    ),
    "empty list": packet("<dc:description><rdf:Alt/></dc:description>"),
    "bag": packet("<dc:description><rdf:Bag><rdf:li>old</rdf:li></rdf:Bag></dc:description>"),
    "plain text": packet("<dc:description>old &lt;&#65;<![CDATA[>]]></dc:description>"),
    "attribute": packet("", attributes="dc:title='t' dc:description = \"o>'ld\" dc:format='f'"),
    "one tag": (
        f"<rdf:RDF {RDF}><rdf:Description rdf:about='' a:b='/>' xmlns:a='urn:a'/></rdf:RDF>"
    ).encode(),
    "no description": f"<rdf:RDF {RDF}></rdf:RDF>".encode(),
    "empty RDF": f"<rdf:RDF {RDF}/>".encode(),
    "other prefixes": (
        b"<R:RDF xmlns:R='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><R:Description R:about=''>"
        b"<D:description xmlns:D='http://purl.org/dc/elements/1.1/'><R:Alt>"
        b"<R:li xml:lang='x-default'>old</R:li></R:Alt></D:description></R:Description></R:RDF>"
    ),
    "rdf means something else": (
        b"<R:RDF xmlns:R='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns:rdf='urn:x'>"
        b"<R:Description R:about='' rdf:x='1'/></R:RDF>"
    ),
    "byte-order mark and declaration": b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?>"
    + packet(""),
    "null bytes behind": packet("") + b"\0\0",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_captions_are_written_into_every_shape_of_packet(shape: str) -> None:
    assert read_sidecar(edited(SHAPES[shape])) == BOTH


@pytest.mark.parametrize("shape", SHAPES)
def test_a_second_edit_replaces_the_first(shape: str) -> None:
    assert read_sidecar(edited(edited(SHAPES[shape]), Texts("second"))) == Texts("second", "a cat")


def test_a_new_packet_holds_both_captions() -> None:
    assert read_sidecar(edited(None)) == BOTH


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("nothing", None),
        ("default", "old"),
        ("other language", "alt"),
        ("bag", "old"),
        ("plain text", "old <A>"),
        ("attribute", "o>'ld"),
        ("empty list", None),
    ],
)
def test_the_description_of_another_program_is_read(shape: str, text: str | None) -> None:
    assert read_sidecar(SHAPES[shape]) == Texts(text)


def test_all_other_bytes_of_a_packet_stay_unchanged() -> None:
    before = PACKET.split(b"by hand")
    after = edited(PACKET, Texts("by machine")).split(b"by machine")
    assert after[0] == before[0]
    assert after[1].rstrip(b" ?<>xpacketnd='w\"") == before[1].rstrip(b" ?<>xpacketnd='w\"")


def test_a_longer_caption_uses_the_padding() -> None:
    assert len(edited(PACKET)) == len(PACKET)


def test_a_packet_grows_if_its_padding_is_too_small() -> None:
    long = "word " * 600
    changed = edited(PACKET, Texts(long))
    assert read_sidecar(changed).description == long
    assert changed.endswith(b'</x:xmpmeta>\n<?xpacket end="w"?>')


def test_other_languages_stay_after_the_default() -> None:
    changed = edited(SHAPES["other language"]).decode()
    assert changed.index("a cat on a mat") < changed.index("<rdf:li xml:lang='de'>alt</rdf:li>")


@given(st.text(), st.text())
def test_any_text_is_read_back_without_the_characters_that_xml_cannot_hold(
    text: str, alt: str
) -> None:
    forbidden = {*map(chr, range(32)), "\ufffe", "\uffff"} - {"\t", "\n", "\r"}
    kept = ["".join(c for c in t if c not in forbidden) for t in (text, alt)]
    assert read_sidecar(edited(PACKET, Texts(text, alt))) == Texts(*kept)


def test_lone_surrogates_are_dropped() -> None:
    assert read_sidecar(edited(None, Texts("a\ud800b"))).description == "ab"


BILLION = (
    b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>&b;</x:xmpmeta>"
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BILLION, "document type"),
        (packet("").decode().encode("utf-16"), "not UTF-8"),
        (b"<?xml version='1.0' encoding='latin-1'?>" + packet(""), "not UTF-8"),
        (packet("\ufffd").replace("\ufffd".encode(), b"\xff"), "well-formed"),
        (packet("<dc:description>"), "well-formed"),
        (packet("<dc:description>a</dc:description><dc:description>b</dc:description>"), "twice"),
        (packet("<dc:description>a</dc:description>", attributes="dc:description='b'"), "twice"),
        (
            packet("<dc:description><rdf:Alt><rdf:li>a<b/></rdf:li></rdf:Alt></dc:description>"),
            "form",
        ),
        (packet("<dc:description><rdf:value>a</rdf:value></dc:description>"), "form"),
        (packet("<a>" * 300 + "</a>" * 300), "nested too deeply"),
        (packet("<dc:description/>" * 2000), "too many|twice"),
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", "no RDF"),
        (f"<x><rdf:RDF {RDF}/><rdf:RDF {RDF}/></x>".encode(), "two RDF"),
        (packet("x" * 3_000_000), "larger than 2 MB"),
        (b"not xml", "well-formed"),
    ],
)
def test_a_packet_that_cannot_be_edited_safely_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match="xmp_damaged") as error:
        edited(content)
    assert any(word in error.value.where for word in reason.split("|"))
