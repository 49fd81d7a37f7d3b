// The page: takes images, sends requests, and shows the results in cards.

import { captionImages, forgetKey, listModels, showKeyState } from "./api.js";
import { makeCard, newItem, takeResult } from "./cards.js";
import { Comparison } from "./compare.js";
import { announce, byId, plural } from "./dom.js";
import { downloadCorrections, downloadDescription, downloadJsonLines, downloadTexts, isCorrection } from "./downloads.js";
import { choose, makeThumbnail, MAX_IMAGES, refuse, watchIntake } from "./intake.js";
import { defaultSettings, editSettings, fillModels, prepareSettings, summarize, toRequest } from "./settings.js";
import { adviseOn, sentence } from "./words.js";

const items = [];
const cards = new Map();
let models = [];
let settings = defaultSettings(null);
// While models load, their defaults are asked for again; settings that a person has chosen stay.
let hasChosenSettings = false;
let isSaved = true;

const modelOf = (id) => models.find((model) => model.id === id);
const comparison = new Comparison({
  getItems: () => items,
  requestFor: (id) => toRequest(defaultSettings(modelOf(id)), modelOf(id)),
});

// --- images -----------------------------------------------------------------------------------

async function takeFiles(files) {
  const { taken, notice } = choose(files, items.length);
  showNotice(notice, "bad");
  const added = taken.map(addItem);
  update();
  if (!added.length) return;
  announce(`${plural(added.length, "image")} added`);
  const error = models.length ? null : await loadModels();
  if (error) {
    added.forEach((item) => fail(item, { code: error.code, message: error.message }));
    return;
  }
  // In the comparison, a button starts captioning: the models may have to be chosen first.
  if (isComparing()) added.forEach((item) => (item.status = "new"));
  else caption(added, settings);
  update();
}

function addItem(file) {
  const item = newItem(file);
  const card = makeCard(item, {
    onChange: () => {
      isSaved = false;
      update();
    },
    onRegenerate: regenerate,
    onRetry: (failed) => caption([failed], failed.settings ?? settings),
    onRemove: remove,
    onKeep: (kept) => {
      Object.assign(kept, { status: "done", error: null });
      cards.get(kept).show();
      update();
    },
  });
  items.push(item);
  cards.set(item, card);
  byId("cards").append(card.element);
  makeThumbnail(file).then((url) => {
    if (!cards.has(item)) {
      if (url) URL.revokeObjectURL(url);
      return;
    }
    item.thumbnail = url;
    card.show();
    if (isComparing()) comparison.show();
  });
  return item;
}

function remove(item) {
  const place = items.indexOf(item);
  items.splice(place, 1);
  const card = cards.get(item);
  cards.delete(item);
  card.element.remove();
  if (item.thumbnail) URL.revokeObjectURL(item.thumbnail);
  comparison.prune();
  update();
  announce("Removed");
  // The focused card is gone: focus the next card, or the file field if there is none.
  const next = items[Math.min(place, items.length - 1)];
  (next ? cards.get(next).element.firstChild : byId("files")).focus();
}

// --- captions ---------------------------------------------------------------------------------

function caption(chosen, used) {
  const ready = [];
  for (const item of chosen) {
    item.settings = used;
    const refused = refuse(item.file);
    if (refused) fail(item, refused);
    else {
      Object.assign(item, { status: "waiting", error: null, note: "" });
      cards.get(item).show();
      ready.push(item);
    }
  }
  update();
  if (!ready.length) return;
  captionImages(ready, toRequest(used, modelOf(used.model)), {
    isWanted: (item) => cards.has(item),
    onStart: (item) => change(item, { status: "sent", note: "" }),
    onWait: (item, seconds, status) => {
      const why = status === 429 ? "The server is busy" : "The model is starting";
      change(item, { note: `${why}; trying again in ${plural(Math.ceil(seconds), "second")}` });
    },
    onResult: (item, result) => {
      if (!cards.has(item)) return;
      takeResult(item, result);
      isSaved = false;
      cards.get(item).show();
      update();
      if (!items.some(isPending)) announceEnd();
    },
  });
}

function change(item, values) {
  Object.assign(item, values);
  cards.get(item)?.show();
}

function fail(item, error) {
  change(item, { status: "failed", error, note: "" });
  update();
}

const isPending = (item) => item.status === "waiting" || item.status === "sent";

function announceEnd() {
  const failed = items.filter((item) => item.status === "failed").length;
  const done = items.filter((item) => item.status === "done").length;
  announce(`${plural(done, "image")} captioned${failed ? `, ${failed} failed` : ""}`);
}

async function regenerate(item) {
  const before = item.settings ?? settings;
  const { values } = before;
  // Sampling with the same seed would give the same caption again.
  const proposed = { ...before, values: { ...values, seed: values.do_sample ? values.seed + 1 : values.seed } };
  const about = document.createElement("p");
  about.className = "about-image";
  if (item.thumbnail) {
    const picture = document.createElement("img");
    picture.src = item.thumbnail;
    picture.alt = "";
    about.append(picture);
  }
  const name = document.createElement("bdi");
  name.textContent = item.file.name;
  about.append(name);
  const chosen = await editSettings(proposed, models, { title: "Regenerate", submit: "Regenerate", about });
  if (!chosen || !cards.has(item)) return;
  caption([item], chosen);
  cards.get(item).element.firstChild.focus();
}

// --- toolbar, notice and views ---------------------------------------------------------------------

function update() {
  const count = (status) => items.filter((item) => item.status === status).length;
  const [done, failed, pending] = [count("done"), count("failed"), items.filter(isPending).length];
  byId("toolbar").hidden = !items.length;
  document.body.classList.toggle("has-images", items.length > 0);
  const parts = [plural(items.length, "image")];
  if (!isComparing()) parts.push(`${done} captioned`);
  if (failed && !isComparing()) parts.push(`${failed} failed`);
  if (items.length === MAX_IMAGES) parts.push("full");
  byId("progress").textContent = parts.join(" · ");
  const bar = byId("progress-bar");
  bar.hidden = !pending;
  bar.max = items.length || 1;
  bar.value = done + failed;
  byId("retry-failed").hidden = !failed || pending > 0 || isComparing();
  byId("download-texts").disabled = byId("download-lines").disabled = !done;
  const corrections = items.filter(isCorrection).length;
  byId("download-corrections").disabled = !corrections;
  byId("corrections-text").textContent = corrections
    ? `A data set to train on: ${plural(corrections, "image")}`
    : "Edit captions or mark them as right first";
  if (isComparing()) comparison.show();
}

function showNotice(text, kind = "") {
  const notice = byId("notice");
  notice.textContent = text;
  notice.className = `notice ${kind}`;
  notice.hidden = !text;
}

const isComparing = () => location.hash === "#compare";

function showView() {
  const comparing = isComparing();
  byId("caption-view").hidden = byId("caption-choices").hidden = comparing;
  byId("compare-view").hidden = byId("compare-choices").hidden = !comparing;
  byId("downloads").hidden = comparing;
  byId("view-caption").toggleAttribute("aria-current", !comparing);
  byId("view-compare").toggleAttribute("aria-current", comparing);
  for (const [id, current] of [["view-caption", !comparing], ["view-compare", comparing]]) {
    if (current) byId(id).setAttribute("aria-current", "page");
  }
  update();
  if (comparing) return comparison.prune();
  // Images added during a comparison have no caption in this view yet.
  const waiting = items.filter((item) => item.status === "new");
  if (waiting.length) caption(waiting, settings);
  else for (const card of cards.values()) card.show();
}

// --- models and settings --------------------------------------------------------------------------

let retry = null;

/** Fill the selects; returns the error, or null. */
async function loadModels() {
  clearTimeout(retry);
  try {
    models = await listModels();
  } catch (error) {
    showNotice(`${sentence(error.message)} ${adviseOn(error.code)}`, "bad");
    return error;
  }
  const known = modelOf(settings.model);
  const waiting = models.filter((model) => !model.ready).map((model) => model.id);
  fillModels(byId("model"), models, known?.id ?? models[0]?.id);
  const chosen = [byId("model-a").value, byId("model-b").value];
  fillModels(byId("model-a"), models, chosen[0] || models[0]?.id);
  fillModels(byId("model-b"), models, chosen[1] || models[1]?.id || "");
  if (models.length < 2) byId("model-b").replaceChildren();
  if (!known || !hasChosenSettings) chooseModel(known?.id ?? models[0]?.id);
  showNotice(waiting.length ? `${waiting.join(" and ")} ${waiting.length === 1 ? "is" : "are"} being loaded; images added now wait for it.` : "");
  if (waiting.length) retry = setTimeout(loadModels, 2000);
  if (isComparing()) comparison.show();
  return null;
}

function chooseModel(id) {
  const model = modelOf(id);
  settings = defaultSettings(model);
  hasChosenSettings = false;
  byId("settings-summary").textContent = model?.ready ? summarize(settings) : "";
}

async function changeSettings() {
  const chosen = await editSettings(settings, models, { title: "Settings", submit: "Save" });
  if (!chosen) return;
  settings = chosen;
  hasChosenSettings = true;
  byId("settings-summary").textContent = summarize(settings);
  if (items.length) showNotice("The settings apply to images that you add from now on; use Regenerate on a card to change an earlier one.");
}

// --- listeners --------------------------------------------------------------------------------------

function listen() {
  watchIntake(takeFiles);
  prepareSettings();
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  byId("model").addEventListener("change", (event) => chooseModel(event.target.value));
  byId("open-settings").addEventListener("click", changeSettings);
  byId("forget-key").addEventListener("click", () => {
    forgetKey();
    announce("The key is forgotten");
    byId("main").focus();
  });
  byId("retry-failed").addEventListener("click", () => {
    for (const item of items.filter(({ status }) => status === "failed")) caption([item], item.settings ?? settings);
  });
  const download = (id, save) =>
    byId(id).addEventListener("click", async () => {
      const lost = (await save(items)) ?? [];
      byId("downloads").open = false;
      byId("downloads").firstElementChild.focus();
      if (lost.length) showNotice(describeLost(lost), "bad");
      else isSaved = true;
    });
  download("download-texts", downloadTexts);
  download("download-lines", downloadJsonLines);
  download("download-corrections", downloadCorrections);
  byId("openapi").addEventListener("click", saveDescription);
  byId("clear").addEventListener("click", askToClear);
  byId("clear-form").addEventListener("submit", clear);
  byId("theme").addEventListener("click", switchTheme);
  document.addEventListener("click", (event) => {
    if (!byId("downloads").contains(event.target)) byId("downloads").open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !byId("downloads").open) return;
    byId("downloads").open = false;
    byId("downloads").firstElementChild.focus();
  });
  addEventListener("hashchange", showView);
  addEventListener("beforeunload", (event) => {
    if (!isSaved && items.some(isCorrection)) event.preventDefault();
  });
}

async function saveDescription(event) {
  event.preventDefault();
  try {
    await downloadDescription();
  } catch (error) {
    showNotice(`${sentence(error.message)} ${adviseOn(error.code)}`, "bad");
  }
}

function describeLost(names) {
  const [is, cards] = names.length === 1 ? ["This file was", "its card"] : ["These files were", "their cards"];
  return `${is} changed, moved or deleted after you added it: ${names.join(", ")}. Copy the captions, remove ${cards} and add the files again.`;
}

function askToClear() {
  const corrections = isSaved ? 0 : items.filter(isCorrection).length;
  byId("clear-text").textContent = corrections
    ? `${plural(corrections, "correction")} would be lost; download ${corrections === 1 ? "it" : "them"} first to keep ${corrections === 1 ? "it" : "them"}.`
    : "Images and captions disappear from this page.";
  byId("clear-dialog").showModal();
}

function clear(event) {
  event.preventDefault();
  byId("clear-dialog").close();
  for (const item of items.splice(0)) {
    cards.get(item).element.remove();
    if (item.thumbnail) URL.revokeObjectURL(item.thumbnail);
  }
  cards.clear();
  comparison.forget();
  isSaved = true;
  showNotice("");
  update();
  announce("Cleared");
  byId("files").focus();
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("captune-theme", root.dataset.theme);
  } catch {
    // Blocked storage: the choice lasts until the page is closed.
  }
}

listen();
showKeyState();
showView();
update();
loadModels();
