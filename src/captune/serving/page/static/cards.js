// A card per image: its picture, the caption to edit, alternatives, confidence, flags or the error.

import { announce, copyText, make } from "./dom.js";
import { adviseOn, describeConfidence, describeFlags, sentence } from "./words.js";

let number = 0;

/** Return the page's record of a new image. */
export function newItem(file) {
  return {
    file,
    id: `image-${++number}`,
    thumbnail: undefined,
    status: "waiting",
    note: "",
    caption: "",
    modelCaption: "",
    baseCaption: "",
    isEdited: false,
    isApproved: false,
    meanLogprob: null,
    flags: [],
    finishReason: null,
    alternatives: [],
    error: null,
    model: null,
    settings: null,
  };
}

/** Store the server's result in its item; an edited caption is kept as an alternative. */
export function takeResult(item, result) {
  item.note = "";
  if (result.error) {
    item.status = "failed";
    item.error = result.error;
    return;
  }
  const earlier = item.caption.trim();
  const alternatives = result.alternatives.map((other) => ({
    caption: other.caption,
    meanLogprob: other.mean_logprob,
  }));
  if (item.isEdited && earlier && earlier !== result.caption) {
    alternatives.unshift({ caption: earlier, meanLogprob: null, isOwn: true });
  }
  Object.assign(item, {
    status: "done",
    error: null,
    caption: result.caption,
    modelCaption: result.caption,
    baseCaption: result.caption,
    isEdited: false,
    isApproved: false,
    meanLogprob: result.mean_logprob,
    flags: result.flags,
    finishReason: result.finish_reason,
    alternatives: withoutDuplicates(alternatives, result.caption),
    model: result.model,
  });
}

function withoutDuplicates(alternatives, caption) {
  const seen = new Set([caption]);
  return alternatives.filter(({ caption: text }) => !seen.has(text) && seen.add(text));
}

/**
 * Return the card of an item: {element, show, field}; `show` redraws it after the item has changed.
 * actions: onRegenerate(item), onRetry(item), onRemove(item), onKeep(item), onChange(item).
 */
export function makeCard(item, actions) {
  const name = item.file.name || "pasted image";
  const picture = make("div", { class: "picture" });
  const top = make("div", { class: "top" }, picture, removeButton(item, actions, name));
  const body = make("div", { class: "body" });
  const title = make("h3", { class: "file", id: `${item.id}-name`, title: name }, make("bdi", {}, name));
  const element = make(
    "li",
    {},
    make("article", { class: "card", "aria-labelledby": title.id, tabIndex: -1 }, top, make("div", { class: "under" }, title, body)),
  );
  const field = captionField(item, name, () => {
    showDetails(item, parts, actions);
    actions.onChange(item);
  });
  const parts = { picture, body, field, name, element, shown: null };
  const show = () => showCard(item, parts, actions);
  show();
  return { element, show, field };
}

function showCard(item, parts, actions) {
  const { picture, body, field, element } = parts;
  element.dataset.status = item.status;
  element.firstChild.setAttribute("aria-busy", String(item.status === "waiting" || item.status === "sent"));
  showPicture(item, picture, parts.name);
  // A form field keeps the focus only while it stays in the document.
  if (parts.shown === item.status && item.status === "done") {
    if (field.value !== item.caption) field.value = item.caption;
    fit(field);
    showDetails(item, parts, actions);
    return;
  }
  parts.shown = item.status;
  if (item.status === "failed") body.replaceChildren(...failure(item, actions, parts.name));
  else if (item.status === "done") {
    field.value = item.caption;
    parts.details = make("div", { class: "details" });
    body.replaceChildren(field, parts.details, buttons(item, actions, parts));
    requestAnimationFrame(() => fit(field));
    showDetails(item, parts, actions);
  } else body.replaceChildren(...progress(item));
}

function showPicture(item, picture, name) {
  if (picture.dataset.shown === String(item.thumbnail)) return;
  picture.dataset.shown = String(item.thumbnail);
  if (item.thumbnail) picture.replaceChildren(make("img", { src: item.thumbnail, alt: `Preview of ${name}` }));
  else if (item.thumbnail === null) picture.replaceChildren(make("p", { class: "no-image" }, "No preview"));
  else picture.replaceChildren();
}

function progress(item) {
  const text = item.note || (item.status === "sent" ? "Writing a caption" : "Waiting");
  return [
    make("p", { class: "pending" }, make("span", { class: "spinner", "aria-hidden": "true" }), text),
    make("div", { class: "bone", "aria-hidden": "true" }),
    make("div", { class: "bone short", "aria-hidden": "true" }),
  ];
}

function failure(item, actions, name) {
  const found = [
    make("p", { class: "failure" }, make("b", {}, "No caption. "), sentence(item.error.message)),
    make("p", { class: "advice" }, adviseOn(item.error.code)),
  ];
  const row = make(
    "div",
    { class: "actions" },
    make("button", { type: "button", "aria-label": `Try ${name} again`, onclick: () => actions.onRetry(item) }, "Try again"),
    make("button", { type: "button", "aria-label": `Regenerate ${name} with other settings`, onclick: () => actions.onRegenerate(item) }, "Settings"),
  );
  if (item.caption.trim()) {
    found.push(make("p", { class: "kept" }, "Earlier caption: ", make("q", {}, item.caption)));
    row.prepend(make("button", { type: "button", onclick: () => actions.onKeep(item) }, "Keep it"));
  }
  return [...found, row];
}

function removeButton(item, actions, name) {
  return make("button", { type: "button", class: "remove", title: "Remove", "aria-label": `Remove ${name}`, onclick: () => actions.onRemove(item) }, "×");
}

function captionField(item, name, changed) {
  const field = make("textarea", { class: "caption", rows: 1, spellcheck: true, dir: "auto", "aria-label": `Caption of ${name}` });
  field.addEventListener("input", () => {
    item.caption = field.value;
    item.isEdited = field.value.trim() !== item.baseCaption.trim();
    fit(field);
    changed();
  });
  return field;
}

/** Fit a field's height to its text. */
export function fit(field) {
  field.style.height = "auto";
  if (field.scrollHeight) field.style.height = `${field.scrollHeight + 2}px`;
}

function buttons(item, actions, parts) {
  const { name } = parts;
  const copy = make("button", { type: "button", "aria-label": `Copy the caption of ${name}` }, "Copy");
  copy.addEventListener("click", async () => {
    const copied = await copyText(item.caption);
    copy.textContent = copied ? "Copied" : "Not copied";
    announce(copied ? "Copied" : "The browser does not allow copying");
    setTimeout(() => (copy.textContent = "Copy"), 1600);
  });
  parts.approve = make(
    "button",
    { type: "button", class: "approve", "aria-label": `The caption of ${name} is right`, title: "Add it to the corrections unchanged" },
    "Looks right",
  );
  parts.approve.addEventListener("click", () => {
    item.isApproved = !item.isApproved;
    showDetails(item, parts, actions);
    actions.onChange(item);
  });
  return make(
    "div",
    { class: "actions" },
    copy,
    make("button", { type: "button", "aria-label": `Regenerate the caption of ${name}`, onclick: () => actions.onRegenerate(item) }, "Regenerate"),
    parts.approve,
  );
}

function showDetails(item, parts, actions) {
  const { details, approve } = parts;
  if (!details) return;
  approve.setAttribute("aria-pressed", String(item.isApproved));
  const wasOpen = details.querySelector("details.confidence")?.open ?? false;
  const focused = details.contains(document.activeElement) ? document.activeElement.className : null;
  details.replaceChildren(...[badges(item, wasOpen, parts, actions), alternatives(item, parts, actions)].filter(Boolean));
  if (focused) details.querySelector(`.${focused.split(" ")[0]}`)?.focus();
}

/** Show a caption that a click replaced. */
function showReplaced(item, parts, actions) {
  parts.field.value = item.caption;
  fit(parts.field);
  showDetails(item, parts, actions);
  parts.field.focus();
  actions.onChange(item);
}

function badges(item, wasOpen, parts, actions) {
  const row = make("div", { class: "badges" });
  if (item.isEdited) {
    row.append(make("span", { class: "badge own" }, "Edited"));
    const reset = make("button", { type: "button", class: "link", "aria-label": `Undo the edits of ${parts.name}` }, "Undo edits");
    reset.addEventListener("click", () => {
      item.caption = item.baseCaption;
      item.isEdited = false;
      showReplaced(item, parts, actions);
    });
    row.append(reset);
    return row;
  }
  for (const flag of describeFlags(item.flags, item.finishReason)) row.append(make("span", { class: "badge warn" }, flag));
  const confidence = describeConfidence(item.meanLogprob);
  if (confidence) {
    const bars = make("span", { class: `bars level-${confidence.level}`, "aria-hidden": "true" }, ...[1, 2, 3, 4].map(() => make("i")));
    row.append(
      make(
        "details",
        { class: "confidence", open: wasOpen },
        make("summary", { class: "why", title: "What this means" }, bars, `Model is ${confidence.name}`),
        make("p", { class: "note" }, confidence.text),
      ),
    );
  }
  return row.childElementCount ? row : null;
}

function alternatives(item, parts, actions) {
  if (!item.alternatives.length) return null;
  const use = (place) => () => {
    const [chosen] = item.alternatives.splice(place, 1);
    item.alternatives.push({ caption: item.caption, meanLogprob: item.isEdited ? null : item.meanLogprob, isOwn: item.isEdited });
    item.caption = chosen.caption;
    item.meanLogprob = chosen.meanLogprob;
    // Picking an alternative corrects the model's first choice.
    item.isEdited = Boolean(chosen.isOwn);
    if (!chosen.isOwn) item.baseCaption = chosen.caption;
    item.isApproved = true;
    item.flags = [];
    item.finishReason = null;
    showReplaced(item, parts, actions);
    announce("The caption is replaced; the earlier one is now an alternative");
  };
  const rows = item.alternatives.map((other, place) =>
    make(
      "li",
      {},
      make("bdi", { dir: "auto" }, other.caption),
      make("button", { type: "button", class: "use", "aria-label": `Use: ${other.caption}`, onclick: use(place) }, "Use"),
    ),
  );
  return make("div", { class: "alternatives" }, make("h4", {}, "Alternatives"), make("ul", {}, ...rows));
}
