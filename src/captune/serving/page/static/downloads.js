// The downloads: text files, JSON lines, and a data set of corrections.

import { isReadable, readDescription } from "./api.js";
import { announce, plural, saveFile } from "./dom.js";
import { makeZip, safeName, uniqueNames } from "./zip.js";

const ENDINGS = {
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/webp": "webp",
  "image/gif": "gif",
  "image/bmp": "bmp",
  "image/tiff": "tif",
};

const withCaption = (items) => items.filter((item) => item.caption.trim() !== "");

/** Return a zip with one text file per image, named like the image. */
export async function textsZip(items) {
  const unique = uniqueNames();
  return makeZip(
    withCaption(items).map((item) => ({
      name: unique(safeName(item.file.name).stem, "txt"),
      content: `${item.caption.trim()}\n`,
    })),
  );
}

/** Return JSON lines, one object per image; images without a caption have their error. */
export function jsonLines(items) {
  const lines = items
    .filter((item) => item.caption.trim() !== "" || item.error)
    .map((item) =>
      JSON.stringify(
        item.caption.trim() === ""
          ? { image_id: item.file.name, error: item.error }
          : {
              image_id: item.file.name,
              caption: item.caption.trim(),
              edited: item.isEdited,
              model: item.model,
              mean_logprob: item.isEdited ? null : item.meanLogprob,
              flags: item.isEdited ? [] : item.flags,
              alternatives: item.alternatives.map(({ caption }) => caption),
            },
      ),
    );
  return lines.map((line) => `${line}\n`).join("");
}

/** Return whether a person wrote or approved the caption: only these are worth training on. */
export const isCorrection = (item) => item.caption.trim() !== "" && (item.isEdited || item.isApproved);

const README = `# Captions corrected by a person

metadata.jsonl has one line per image in images/. Unpack this archive, then check it and train on it:

    captune data check FOLDER
    captune run RECIPE --set data.path=FOLDER

\`model_wrote\` is the model's own caption; captune does not train on it. With few images, use them all for
training and evaluate on another data set.
`;

/** Return a zip that unpacks to a data set: corrected captions, and their images unchanged. */
export async function corrections(items) {
  const unique = uniqueNames();
  const chosen = items.filter(isCorrection).map((item) => {
    const { stem, ending } = safeName(item.file.name);
    const name = unique(stem, ENDINGS[item.file.type] ?? (ending || "jpg"));
    return { item, path: `images/${name}` };
  });
  const lines = chosen.map(({ item, path }) =>
    JSON.stringify({
      file_name: path,
      caption: item.caption.trim().replace(/\s+/g, " "),
      model_wrote: item.modelCaption,
      model: item.model,
    }),
  );
  return makeZip([
    { name: "README.md", content: README },
    { name: "metadata.jsonl", content: lines.map((line) => `${line}\n`).join("") },
    ...chosen.map(({ item, path }) => ({ name: path, content: item.file })),
  ]);
}

export async function downloadTexts(items) {
  saveFile(await textsZip(items), "captions.zip");
  announce(`${plural(withCaption(items).length, "caption")} in captions.zip`);
}

export function downloadJsonLines(items) {
  saveFile(new Blob([jsonLines(items)], { type: "application/jsonl" }), "captions.jsonl");
  announce("captions.jsonl is saved");
}

/** Save the corrections; returns the names of files that can no longer be read, which prevents it. */
export async function downloadCorrections(items) {
  const files = items.filter(isCorrection).map((item) => item.file);
  const readable = await Promise.all(files.map(isReadable));
  const lost = files.filter((_, place) => !readable[place]).map((file) => file.name);
  if (lost.length) return lost;
  saveFile(await corrections(items), "corrections.zip");
  announce(`${plural(items.filter(isCorrection).length, "correction")} in corrections.zip`);
  return [];
}

/** Save the description of the API; a browser that follows its link sends no key. */
export async function downloadDescription() {
  const text = JSON.stringify(await readDescription(), null, 2);
  saveFile(new Blob([text], { type: "application/json" }), "openapi.json");
  announce("openapi.json is saved");
}
