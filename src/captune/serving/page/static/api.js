// Requests to this server: the key, retries, and groups of images.

import { byId } from "./dom.js";

export const MAX_IMAGES_PER_REQUEST = 16;
export const MAX_IMAGE_BYTES = 20_000_000;
const MAX_REQUEST_BYTES = 60_000_000;
const MAX_PARALLEL = 3;
const MAX_TRIES = 8;
const MAX_LOADING_SECONDS = 600;
const KEY = "captune-key";

export class RequestError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// --- the key: kept in this tab only, and sent as a header --------------------------------------

let memoryKey = null;
let asking = null;

function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? memoryKey;
  } catch {
    return memoryKey;
  }
}

function keepKey(key) {
  memoryKey = key;
  try {
    if (key === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, key);
  } catch {
    // Blocked storage: the key lasts until the page is closed.
  }
  byId("forget-key").hidden = key === null;
}

export function forgetKey() {
  keepKey(null);
}

export function showKeyState() {
  byId("forget-key").hidden = readKey() === null;
}

/** Ask for the key, once for all requests that wait for it; resolves to false if cancelled. */
function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    const field = byId("key-field");
    byId("key-error").hidden = !wrong;
    field.value = "";
    field.setAttribute("aria-invalid", String(wrong));
    const end = (given) => {
      dialog.removeEventListener("close", cancelled);
      byId("key-form").removeEventListener("submit", submitted);
      if (dialog.open) dialog.close();
      asking = null;
      resolve(given);
    };
    const cancelled = () => end(false);
    const submitted = (event) => {
      event.preventDefault();
      const key = field.value.trim();
      // Headers allow no other characters; fetch would fail with an obscure message.
      if (!/^[\x21-\x7e]+$/.test(key)) {
        byId("key-error").hidden = false;
        field.focus();
        return;
      }
      keepKey(key);
      end(true);
    };
    dialog.addEventListener("close", cancelled);
    byId("key-form").addEventListener("submit", submitted);
    dialog.showModal();
    field.focus();
  });
  return asking;
}

// --- one request ----------------------------------------------------------------------------------

const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Return the answer's content; asks for the key if needed, and retries while the server is busy. */
async function request(path, options, { onWait } = {}) {
  const began = performance.now();
  for (let tries = 1; ; tries++) {
    const key = readKey();
    const headers = key === null ? {} : { authorization: `Bearer ${key}` };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
    } catch {
      throw new RequestError("unreachable", "the server cannot be reached");
    }
    const content = await answer.json().catch(() => ({}));
    if (answer.ok && content.schema !== 1 && !content.openapi) {
      // Such as the page of a proxy in between.
      throw new RequestError("unknown", "the answer does not come from captune serve");
    }
    if (answer.ok || Array.isArray(content.results)) return content;
    const { code = "unknown", message = `the server answered with status ${answer.status}` } =
      content.error ?? {};
    if (answer.status === 401) {
      // Another request may have asked in the meantime.
      if (readKey() !== key && readKey() !== null) continue;
      if (await askForKey(key !== null)) continue;
      throw new RequestError("key_cancelled", "the server needs a key");
    }
    const isBusy = answer.status === 429 || answer.status === 503;
    // A large model takes minutes to load; if it cannot be loaded, the server ends.
    const isTired =
      code === "not_ready" ? performance.now() - began > 1000 * MAX_LOADING_SECONDS : tries >= MAX_TRIES;
    if (!isBusy || isTired) throw new RequestError(code, message);
    const asked = Number(answer.headers.get("retry-after"));
    const seconds = Math.min(60, Math.max(0.5, Number.isFinite(asked) ? asked : 2 ** tries));
    onWait?.(seconds, answer.status);
    // Spread the retries, or all groups would return at the same time.
    await sleep(seconds * (1 + Math.random() / 4));
  }
}

/** Return the server's models: name, whether it is ready, and how it decodes by default. */
export async function listModels() {
  const content = await request("v1/models", {});
  return content.data;
}

/** Return the description of the server's API for programs. */
export const readDescription = () => request("openapi.json", {});

// --- groups of images ----------------------------------------------------------------------------

/** Split images into requests, in order, so that several run in parallel and none is too large. */
export function group(items) {
  const size = Math.min(MAX_IMAGES_PER_REQUEST, Math.max(1, Math.ceil(items.length / MAX_PARALLEL)));
  const groups = [];
  let bytes = Infinity;
  for (const item of items) {
    const last = groups.at(-1);
    if (!last || last.length >= size || bytes + item.file.size > MAX_REQUEST_BYTES) {
      groups.push([item]);
      bytes = item.file.size;
    } else {
      last.push(item);
      bytes += item.file.size;
    }
  }
  return groups;
}

const waiting = [];
let running = 0;
// Drops to 1 once a request has missed the server's deadline, or did not fit in its queue.
let maxParallel = MAX_PARALLEL;

function startNext() {
  while (running < maxParallel && waiting.length) {
    running++;
    waiting.shift()().finally(() => {
      running--;
      startNext();
    });
  }
}

/**
 * Caption images that share settings; calls back per image, in the order of the answers.
 * settings: {model, num_captions, generate}; onResult(item, result) with the server's result;
 * isWanted(item) is false for images that were removed while they waited: they are not sent.
 */
export function captionImages(items, settings, callbacks) {
  const jobs = group(items).map(
    (part) =>
      new Promise((done) => {
        waiting.push(() => send(part, settings, callbacks).then(done));
      }),
  );
  startNext();
  return Promise.all(jobs);
}

const UNREADABLE = {
  code: "file_unreadable",
  message: "the file was changed, moved or deleted after you added it",
};

/** Return whether a file is still there, as it was when it was added. */
export const isReadable = async (file) =>
  // The size of a file that is gone may be 0, and then its first byte is read without an error.
  file.size > 0 && file.slice(0, 1).arrayBuffer().then(() => true, () => false);

async function send(all, settings, callbacks) {
  const { isWanted = () => true, onStart, onWait, onResult } = callbacks;
  const items = all.filter(isWanted);
  if (!items.length) return;
  const form = new FormData();
  if (settings.model) form.append("model", settings.model);
  form.append("num_captions", String(settings.num_captions));
  form.append("generate", JSON.stringify(settings.generate));
  items.forEach((item, place) => form.append("images", item.file, `image-${place}`));
  items.forEach((item) => onStart?.(item));
  try {
    const content = await request("v1/caption", { method: "POST", body: form }, {
      onWait: (seconds, status) => items.forEach((item) => onWait?.(item, seconds, status)),
    });
    items.forEach((item, place) => {
      const missing = { error: { code: "unknown", message: "the answer has no result for this image" } };
      onResult(item, { model: content.model, ...(content.results[place] ?? missing) });
    });
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (error.code === "unreachable") {
      const readable = await Promise.all(items.map((item) => isReadable(item.file)));
      if (readable.includes(false)) {
        // The browser does not send a request with such a file at all.
        items.forEach((item, place) => readable[place] || onResult(item, { error: UNREADABLE }));
        const left = items.filter((_, place) => readable[place]);
        await send(left, settings, callbacks);
        return;
      }
    }
    if ((error.code === "deadline" || error.code === "too_many_images") && items.length > 1) {
      // The model is slow, or its queue is short: send fewer images per request.
      maxParallel = 1;
      const half = Math.ceil(items.length / 2);
      await send(items.slice(0, half), settings, callbacks);
      await send(items.slice(half), settings, callbacks);
      return;
    }
    items.forEach((item) => onResult(item, { error: { code: error.code, message: error.message } }));
  }
}
