"""Small image files that need gigabytes or minutes to decode."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def tiff_of_shared_tags(num_tags: int = 8_000, num_bytes: int = 1_000_000) -> bytes:
    """Return a TIFF of 1x1 pixel whose many private tags share one megabyte as their value."""
    entries = [
        (256, 3, 1, 1),
        (257, 3, 1, 1),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 3, 1, 1),
        (279, 4, 1, 1),
    ]
    entries += [(32_768 + n, 7, num_bytes, 8) for n in range(num_tags)]
    folder = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    data = bytes(num_bytes)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + folder + bytes(4)


def gif_of_comments(num_bytes: int = 50_000_000) -> bytes:
    """Return a GIF of 1x1 pixel after one comment, in blocks of 255 bytes."""
    block = b"\xff" + bytes([65]) * 255
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00\x3b"
    return screen + b"\x21\xfe" + block * (num_bytes // 255) + b"\0" + picture


def ppm_of_comments(num_bytes: int = 50_000_000) -> bytes:
    """Return a PPM of 1x1 pixel with one long comment in its header."""
    return b"P6\n#" + b"a" * num_bytes + b"\n1 1\n255\n\0\0\0"


def jpeg_of_scans(num_scans: int = 300, side: int = 4_000) -> bytes:
    """Return a progressive JPEG that repeats its refinement scans."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(
        buffer, "JPEG", progressive=True
    )
    content = buffer.getvalue()
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    scan = content[starts[-1] : -2]
    return content[:-2] + scan * num_scans + b"\xff\xd9"


def png_of_texts(num_texts: int = 60, num_bytes: int = 6_000_000) -> bytes:
    """Return a PNG of 1x1 pixel with compressed texts that unpack to 6 MB each."""
    packed = zlib.compress(b"a" * num_bytes, 9)
    chunk = b"zTXt" + b"k\0\0" + packed
    piece = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = encode(Image.new("RGB", (1, 1)), "PNG")
    return content[:33] + piece * num_texts + content[33:]


def png_with_profile(num_bytes: int = 80_000_000) -> bytes:
    """Return a PNG of 1x1 pixel whose colour profile unpacks to 80 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(10_000_000)) for _ in range(num_bytes // 10_000_000))
    chunk = b"iCCP" + b"k\0\0" + packed + packer.flush()
    piece = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = encode(Image.new("RGB", (1, 1)), "PNG")
    return content[:33] + piece + content[33:]


def webp_of_frames(num_frames: int = 60, side: int = 2_000) -> bytes:
    """Return an animated WebP of many large frames; only the first is needed."""
    frames = [Image.new("RGB", (side, side), (n, 0, 0)) for n in range(num_frames)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0)
    return buffer.getvalue()


def exif_of_shared_tags(num_tags: int = 5_000, num_bytes: int = 60_000) -> bytes:
    """Return a JPEG of 8x8 pixels whose EXIF refers to the same 60 kB in thousands of tags."""
    space = 65_500 - num_bytes - 14
    num_tags = min(num_tags, space // 12)
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 7, num_bytes, 8) for n in range(num_tags))
    folder = struct.pack("<H", num_tags) + entries + bytes(4)
    exif = b"II*\0" + struct.pack("<I", 8 + num_bytes) + bytes(num_bytes) + folder
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


def encode(image: Image.Image, format: str) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()
