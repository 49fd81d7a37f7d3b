// The settings dialog: the page's settings, or those for one image.

import { byId } from "./dom.js";

const number = (id) => Number(byId(id).value);

const FALLBACK = {
  num_beams: 3,
  max_new_tokens: 30,
  do_sample: false,
  temperature: 1,
  top_p: 1,
  seed: 0,
  prompt: "",
};

/** Return the model's default settings. */
export function defaultSettings(model) {
  return { model: model?.id ?? null, num_captions: 1, values: ownValues(model) };
}

function ownValues(model) {
  const own = model?.generate ?? {};
  return Object.fromEntries(Object.entries(FALLBACK).map(([key, value]) => [key, own[key] ?? value]));
}

/** Return a request's settings: only those that differ from the model's defaults. */
export function toRequest(settings, model) {
  const own = ownValues(model);
  const values = settings.values;
  const used = values.do_sample
    ? { ...values, num_beams: 1 }
    : { ...values, temperature: own.temperature, top_p: own.top_p, seed: own.seed };
  const generate = Object.fromEntries(Object.entries(used).filter(([key, value]) => value !== own[key]));
  return { model: settings.model, num_captions: settings.num_captions, generate };
}

/** Return a short description of settings. */
export function summarize(settings) {
  const { values } = settings;
  const parts = [
    values.do_sample
      ? `sampled at temperature ${values.temperature}`
      : values.num_beams === 1
        ? "one beam"
        : `${values.num_beams} beams`,
    `up to ${values.max_new_tokens} word pieces`,
  ];
  if (settings.num_captions > 1) parts.push(`${settings.num_captions} captions each`);
  if (values.prompt) parts.push(`beginning “${values.prompt}”`);
  const text = parts.join(", ");
  return text[0].toUpperCase() + text.slice(1);
}

function showMethod() {
  const isSampled = byId("method-sample").checked;
  for (const part of document.querySelectorAll("[data-method]")) {
    part.hidden = (part.dataset.method === "sample") !== isSampled;
    // A hidden field must not keep the form from being sent.
    for (const field of part.querySelectorAll("input")) field.disabled = part.hidden;
  }
}

function fill(settings) {
  const { values } = settings;
  byId(values.do_sample ? "method-sample" : "method-beams").checked = true;
  byId("beams").value = Math.min(16, values.num_beams);
  byId("temperature").value = values.temperature;
  byId("top-p").value = values.top_p;
  byId("seed").value = values.seed;
  byId("length").value = Math.min(512, values.max_new_tokens);
  byId("captions").value = settings.num_captions;
  byId("prompt").value = values.prompt;
  showMethod();
}

function read(model) {
  return {
    model,
    num_captions: number("captions"),
    values: {
      do_sample: byId("method-sample").checked,
      num_beams: number("beams"),
      max_new_tokens: number("length"),
      temperature: number("temperature"),
      top_p: number("top-p"),
      seed: number("seed"),
      prompt: byId("prompt").value,
    },
  };
}

/** Add the listeners that stay between openings of the dialog. */
export function prepareSettings() {
  for (const id of ["method-beams", "method-sample"]) byId(id).addEventListener("change", showMethod);
}

/**
 * Let a person change settings; resolves with the new ones, or null if they cancel.
 * texts: {title, submit, about}; about is an element to show, such as the image.
 */
export function editSettings(settings, models, { title, submit, about = null }) {
  const dialog = byId("settings-dialog");
  const select = byId("settings-model");
  byId("settings-title").textContent = title;
  byId("settings-submit").textContent = submit;
  byId("settings-about").replaceChildren(...(about ? [about] : []));
  byId("settings-about").hidden = !about;
  byId("settings-model-field").hidden = !about || models.length < 2;
  fillModels(select, models, settings.model);
  fill(settings);
  return new Promise((resolve) => {
    let answer = null;
    const submitted = (event) => {
      event.preventDefault();
      answer = read(select.value || settings.model);
      dialog.close();
    };
    const reset = () => {
      const model = models.find(({ id }) => id === (select.value || settings.model));
      fill(defaultSettings(model));
    };
    const closed = () => {
      byId("settings-form").removeEventListener("submit", submitted);
      byId("settings-reset").removeEventListener("click", reset);
      resolve(answer);
    };
    byId("settings-form").addEventListener("submit", submitted);
    byId("settings-reset").addEventListener("click", reset);
    dialog.addEventListener("close", closed, { once: true });
    dialog.showModal();
  });
}

/** Fill a select with the models. */
export function fillModels(select, models, chosen) {
  select.replaceChildren(
    ...models.map(({ id }) => {
      const option = document.createElement("option");
      option.value = option.textContent = id;
      option.selected = id === chosen;
      return option;
    }),
  );
}
