// Caption images with a server of captune: node caption.mjs PHOTO... (node 20 or later)
import { openAsBlob } from "node:fs";

const url = process.env.CAPTUNE_URL ?? "http://127.0.0.1:8000";
const names = process.argv.slice(2);
const form = new FormData();
for (const name of names) form.append("images", await openAsBlob(name), "image");
const headers = process.env.CAPTUNE_KEY ? { authorization: `Bearer ${process.env.CAPTUNE_KEY}` } : {};
const answer = await fetch(`${url}/v1/caption`, { method: "POST", headers, body: form });
const { results, error } = await answer.json();
if (!results) throw new Error(error.message);
results.forEach((result, place) => console.log(`${names[place]}: ${result.caption ?? result.error.message}`));
