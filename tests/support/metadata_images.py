"""Small images that carry metadata, in every form that captune embeds captions into."""

from __future__ import annotations

import io
import struct

from PIL import Image, PngImagePlugin

PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b'  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
    b'    xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4">\n'
    b"   <dc:subject><rdf:Bag><rdf:li>sea &amp; sky</rdf:li></rdf:Bag></dc:subject>\n"
    b'   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">by hand</rdf:li>'
    b'<rdf:li xml:lang="de">von Hand</rdf:li></rdf:Alt></dc:description>\n'
    b"  </rdf:Description>\n"
    b" </rdf:RDF>\n"
    b"</x:xmpmeta>\n" + b" " * 2000 + b'<?xpacket end="w"?>'
)
"""A rating, keywords, and a description in two languages, with padding."""

FORMS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg-cmyk": ("JPEG", "CMYK", {"progressive": True}),
    "jpeg-grey": ("JPEG", "L", {}),
    "png": ("PNG", "RGBA", {}),
    "png-palette": ("PNG", "P", {}),
    "webp": ("WEBP", "RGB", {}),
    "webp-alpha": ("WEBP", "RGBA", {}),
    "webp-lossless": ("WEBP", "RGB", {"lossless": True}),
    "webp-lossless-alpha": ("WEBP", "RGBA", {"lossless": True}),
}


def picture(mode: str = "RGB", *, width: int = 33, height: int = 21) -> Image.Image:
    """Return a small image with an odd size, and transparency where the mode has it."""
    grey = Image.linear_gradient("L").resize((width, height))
    if mode != "RGBA":
        return Image.merge("RGB", (grey, grey.rotate(180), grey)).convert(mode)
    return Image.merge("RGBA", (grey, grey, grey.rotate(180), grey))


def encoded(form: str, *, packet: bytes | None = None, exif: bool = False) -> bytes:
    """Return an image of one of the FORMS, with XMP and Exif where asked for."""
    kind, mode, options = FORMS[form]
    options = dict(options)
    if exif:
        tags = Image.Exif()
        tags[0x010E], tags[0x0112] = "described by Exif", 6
        options["exif"] = tags
    if packet is not None and kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=mode == "P")
        texts.add_text("Title", "a title")
        options["pnginfo"] = texts
    elif packet is not None:
        options["xmp"] = packet
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> tuple[str, tuple[int, int], bytes]:
    """Return mode, size and pixels of the first frame."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.mode, image.size, image.tobytes()


def segment(marker: int, body: bytes) -> bytes:
    """Return a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG file with a further segment at its start."""
    return jpeg[:2] + segment(marker, body) + jpeg[2:]


def multi_picture() -> bytes:
    """Return a JPEG file with a second picture behind the first, and an index of both."""
    buffer = io.BytesIO()
    second = picture(width=17, height=11)
    picture().save(buffer, "MPO", save_all=True, append_images=[second])
    return buffer.getvalue()
