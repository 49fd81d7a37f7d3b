// Receive images that are dropped, pasted or picked, and draw their thumbnails.

import { MAX_IMAGE_BYTES } from "./api.js";
import { byId, plural } from "./dom.js";

export const MAX_IMAGES = 50;
const THUMBNAIL = 720;
const IMAGE_NAME = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic|jxl|jp2)$/i;

/** Call `take` with the files of each drop, paste and choice. */
export function watchIntake(take) {
  const input = byId("files");
  input.addEventListener("change", () => {
    take([...input.files]);
    // So that the same file can be chosen again.
    input.value = "";
  });
  watchDrops(take);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

function watchDrops(take) {
  const veil = byId("veil");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Entering a child leaves its parent: the depth shows when the pointer leaves the window.
  let depth = 0;
  const show = () => (veil.hidden = depth <= 0);
  document.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth++;
    show();
  });
  document.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth--;
    show();
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    take([...event.dataTransfer.files]);
  });
}

/** Return the files to take, and a notice about the others (empty: there are none). */
export function choose(files, alreadyThere) {
  const images = files.filter((file) => file.type.startsWith("image/") || IMAGE_NAME.test(file.name));
  const room = Math.max(0, MAX_IMAGES - alreadyThere);
  const taken = images.slice(0, room);
  const notices = [];
  const others = files.length - images.length;
  if (others) notices.push(`${plural(others, "file")} ${others === 1 ? "is" : "are"} not an image.`.replace("are not an image", "are not images"));
  const over = images.length - taken.length;
  if (over) {
    notices.push(
      `${plural(over, "image")} skipped: the page holds ${MAX_IMAGES}. Clear some, or use captune caption for whole folders.`,
    );
  }
  return { taken, notice: notices.join(" ") };
}

/** Return the error of a file that the server would reject, before it is sent; null: none. */
export function refuse(file) {
  if (file.size > MAX_IMAGE_BYTES) {
    const size = (file.size / 1e6).toFixed(0);
    return { code: "image_too_large", message: `the image is too large (${size} MB)` };
  }
  // The size of a file that is gone is 0 too.
  return file.size === 0 ? { code: "file_unreadable", message: "the file is empty, or was moved or deleted" } : null;
}

let last = Promise.resolve();

/** Return the URL of a thumbnail, or null if the browser cannot show the format. */
export function makeThumbnail(file) {
  // One after another: fifty large photographs decoded at once would fill the memory.
  const made = last.then(() => draw(file)).catch(() => null);
  last = made;
  return made;
}

async function draw(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/webp", 0.85));
  return blob ? URL.createObjectURL(blob) : null;
}
