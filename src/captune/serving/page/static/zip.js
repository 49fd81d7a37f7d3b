// A zip archive of stored files: images do not shrink, and captions are small.

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Return the CRC-32 of bytes, as zip archives use it. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const UTF8_NAMES = 0x0800;
const VERSION = 20;

/** Return a zip of entries {name, content}; content is text, bytes or a Blob. At most 4 GiB. */
export async function makeZip(entries, now = new Date()) {
  const encoder = new TextEncoder();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const day = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, content } of entries) {
    const bytes =
      typeof content === "string"
        ? encoder.encode(content)
        : new Uint8Array(content instanceof Blob ? await content.arrayBuffer() : content);
    const path = encoder.encode(name);
    const common = [
      [2, VERSION], [2, UTF8_NAMES], [2, 0], [2, time], [2, day],
      [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, path.length], [2, 0],
    ];
    const head = pack([[4, 0x04034b50], ...common]);
    // Use the file's own blob if there is one: its bytes can stay on disk.
    parts.push(head, path, content instanceof Blob ? content : bytes);
    const place = [[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(pack([[4, 0x02014b50], [2, VERSION], ...common, ...place]), path);
    offset += head.length + path.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = entries.length;
  const end = pack([
    [4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0],
  ]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Return little-endian bytes of [size, value] pairs. */
function pack(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  let place = 0;
  for (const [size, value] of fields) {
    for (let index = 0; index < size; index++) bytes[place++] = (value >>> (8 * index)) & 0xff;
  }
  return bytes;
}

const MAX_CHARACTERS = 80;
const MAX_BYTES = 200;
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)$/i;

/** Return a file's stem and ending, valid on every system. */
export function safeName(name) {
  const base = name.normalize("NFC").split(/[/\\]/).at(-1);
  const dot = base.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [base.slice(0, dot), base.slice(dot + 1)] : [base, ""];
  // Also replaces control characters, and those that change the direction of surrounding text.
  const clean = stem
    .replace(/[<>:"/\\|?*\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]+/gu, "_")
    .replace(/^[.\s]+|[.\s]+$/g, "");
  const short = shorten(clean) || "image";
  const safe = RESERVED.test(short) ? `${short}_` : short;
  const kind = ending.replace(/[^a-z0-9]/gi, "").slice(0, 8).toLowerCase();
  return { stem: safe, ending: kind };
}

/** Return the beginning of a name that fits on systems which count its bytes. */
function shorten(name) {
  const encoder = new TextEncoder();
  const kept = [...name].slice(0, MAX_CHARACTERS);
  while (encoder.encode(kept.join("")).length > MAX_BYTES) kept.pop();
  return kept.join("");
}

/** Return a function that makes names unique, ignoring case. */
export function uniqueNames() {
  const taken = new Set();
  return (stem, ending) => {
    for (let number = 1; ; number++) {
      const name = `${number === 1 ? stem : `${stem}-${number}`}${ending ? `.${ending}` : ""}`;
      if (taken.has(name.toLowerCase())) continue;
      taken.add(name.toLowerCase());
      return name;
    }
  };
}
