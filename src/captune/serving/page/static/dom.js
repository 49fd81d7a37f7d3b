// Create elements. All text is set as text, never as HTML: captions and file names are untrusted.

/** Return an element; `properties` with a dash are attributes, and those named on... are listeners. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "for" || name === "role") element.setAttribute(name, value);
    else if (name === "class") element.className = value;
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

let announcement = 0;

/** Have a screen reader speak a text; a repeated text is spoken again. */
export function announce(text) {
  const region = byId("live");
  const number = ++announcement;
  region.textContent = "";
  setTimeout(() => {
    if (number === announcement) region.textContent = text;
  }, 50);
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Copy a text; where the clipboard is not available (no TLS), copy it from a temporary field. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { value: text, class: "offscreen", "aria-hidden": "true" });
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return copied;
  }
}

/** Save a blob as a file. */
export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
