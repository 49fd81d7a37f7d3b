// Descriptions of the server's numbers and codes.

// By the geometric mean of the tokens' probabilities. Checked on Flickr8k: captions with 45 % or
// more agreed with human captions twice as well as those between 35 and 45 %, which agreed better
// than the rest.
const LEVELS = [
  { from: 0.6, name: "sure", level: 4 },
  { from: 0.45, name: "fairly sure", level: 3 },
  { from: 0.35, name: "unsure", level: 2 },
  { from: 0, name: "guessing", level: 1 },
];

/** Return the word, level (1 to 4) and explanation for a mean log-probability; null without one. */
export function describeConfidence(meanLogprob) {
  if (typeof meanLogprob !== "number" || !Number.isFinite(meanLogprob)) return null;
  const share = Math.exp(Math.min(0, meanLogprob));
  const { name, level } = LEVELS.find(({ from }) => share >= from);
  const percent = Math.round(100 * share);
  return {
    name,
    level,
    percent,
    text: `The model gave the words it chose ${percent} % probability on average. This shows how sure it is, not whether it is right: check the captions that it is unsure of first. Compare images captioned by one model, not different models.`,
  };
}

const FLAGS = {
  repetition: "Repeats itself",
  empty: "Empty",
  truncated: "The image ends early",
  animated: "First frame of an animation",
  length: "Cut off: it reached the maximum length",
};

/** Return readable warnings about a caption. */
export function describeFlags(flags, finishReason) {
  const found = [...flags];
  if (finishReason === "length") found.push("length");
  return found.map((flag) => FLAGS[flag] ?? flag.replaceAll("_", " "));
}

const BUSY = "The server is overloaded. Try again in a minute.";
const RELOAD = "Reload the page and try again; it may be older than the server.";

// A code of the server, or of this page, per line; a test compares them with the server's.
const ADVICE = {
  body_encoded: RELOAD,
  body_timeout: "The connection is slow: try again, or make the image smaller.",
  body_too_large: "Make the image smaller: at most 20 MB.",
  body_unsupported: RELOAD,
  deadline: "Try again; fewer beams or a shorter length are faster.",
  empty_caption: "Regenerate it with other settings, or write a caption yourself.",
  file_unreadable: "Remove the card and add the file again.",
  host_forbidden: "Open the page at the address that captune serve printed, or start it with --allow-host and this page's host.",
  image_corrupt: "Open it in a viewer; if it shows, save it again as JPEG or PNG.",
  image_too_large: "Make it smaller: at most 20 MB and 50 megapixels.",
  image_too_slow: "Save it again as JPEG or PNG.",
  image_unsupported: "Save it as JPEG, PNG or WebP.",
  internal_error: "Try again; the server's log has the details.",
  invalid_form: RELOAD,
  invalid_image_data: RELOAD,
  invalid_json: RELOAD,
  invalid_request: "Change the settings and regenerate.",
  key_cancelled: "Try again, and enter a key; the server's operator has one.",
  key_missing: "Try again, and enter a key.",
  key_wrong: "Try again, and enter another key.",
  method_not_allowed: RELOAD,
  model_error: "Try it with other settings; the server's log has the details.",
  model_not_found: "Choose another model and regenerate.",
  no_image: RELOAD,
  not_found: RELOAD,
  not_ready: "The model is starting. Try again in a minute.",
  origin_forbidden: "Open the page at the address that captune serve printed, not inside another page.",
  prompt_too_long: "Shorten the beginning of the caption and regenerate.",
  queue_full: BUSY,
  too_many_bytes: BUSY,
  too_many_images: "Add fewer images at once, or start captune serve with a larger --max-queue.",
  unknown: "Try again; the server's log has the details.",
  unreachable: "Check that captune serve is running and that you are connected, then try again.",
  url_forbidden: "Download the image and add it as a file.",
  url_timeout: "Download the image and add it as a file.",
  url_unreachable: "Download the image and add it as a file.",
  worker_crash: "Save it again as JPEG, or use another picture; the server's log has the details.",
  worker_lost: "Try again.",
};

/** Return advice for an error's code. */
export function adviseOn(code) {
  return ADVICE[code] ?? "Try again.";
}

/** Return a server's message as a sentence. */
export function sentence(text) {
  const trimmed = String(text).trim();
  if (!trimmed) return "Something went wrong.";
  const first = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
