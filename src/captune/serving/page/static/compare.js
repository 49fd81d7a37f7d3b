// Two models side by side, and blind votes between them.

import { captionImages } from "./api.js";
import { announce, byId, make, plural, saveFile } from "./dom.js";
import { countVotes, describeVotes, drawSwap } from "./votes.js";
import { adviseOn, describeFlags, sentence } from "./words.js";

const SIDES = { a: "A", b: "B" };

/** The comparison. `getItems` returns the page's images, `requestFor` the settings of a model. */
export class Comparison {
  constructor({ getItems, requestFor }) {
    this.getItems = getItems;
    this.requestFor = requestFor;
    this.pairs = new Map();
    this.names = { a: null, b: null };
    this.isRevealed = false;
    byId("compare-start").addEventListener("click", () => this.start());
    byId("reveal").addEventListener("click", () => this.reveal());
    byId("download-votes").addEventListener("click", () => this.download());
    byId("blind").addEventListener("change", () => this.show());
    for (const id of ["model-a", "model-b"]) byId(id).addEventListener("change", () => this.forget());
  }

  get isBlind() {
    return byId("blind").checked && !this.isRevealed;
  }

  /** Forget all captions and votes: they belong to other models. */
  forget() {
    this.pairs.clear();
    this.isRevealed = false;
    byId("pairs").replaceChildren();
    this.show();
  }

  /** Drop pairs whose image has been removed. */
  prune() {
    const present = new Set(this.getItems());
    for (const [item, pair] of this.pairs) {
      if (present.has(item)) continue;
      pair.element?.remove();
      this.pairs.delete(item);
    }
    this.show();
  }

  /** Caption all images that have no pair yet, with both models. */
  async start() {
    const [a, b] = [byId("model-a").value, byId("model-b").value];
    if (!a || a === b) return;
    this.names = { a, b };
    this.isRevealed = false;
    const fresh = this.getItems().filter((item) => {
      const pair = this.pairs.get(item);
      return !pair || pair.a?.error || pair.b?.error;
    });
    for (const item of fresh) {
      const known = this.pairs.get(item);
      const pair = known ?? { isSwapped: drawSwap(), vote: null, isClosed: false, element: null };
      if (pair.a?.error) pair.a = undefined;
      if (pair.b?.error) pair.b = undefined;
      this.pairs.set(item, pair);
      this.showPair(item);
    }
    this.show();
    const ask = (side) => {
      const missing = fresh.filter((item) => !this.pairs.get(item)?.[side]);
      const name = this.names[side];
      return captionImages(missing, this.requestFor(name), {
        isWanted: (item) => this.pairs.has(item) && this.names[side] === name,
        onResult: (item, result) => this.take(item, side, result),
      });
    };
    await Promise.all([ask("a"), ask("b")]);
    // Images may have been removed in the meantime.
    const asked = fresh.map((item) => this.pairs.get(item)).filter(Boolean);
    const failed = asked.filter(hasFailed).length;
    const done = asked.filter(isComplete).length;
    announce(`${plural(done, "image")} captioned by both models${failed ? `, ${failed} failed` : ""}`);
  }

  take(item, side, result) {
    const pair = this.pairs.get(item);
    // The image may have been removed, or another model chosen, in the meantime.
    if (!pair || (result.model && result.model !== this.names[side])) return;
    pair[side] = result;
    this.showPair(item);
    this.show();
  }

  vote(item, vote) {
    const pair = this.pairs.get(item);
    pair.vote = pair.vote === vote ? null : vote;
    this.showPair(item);
    this.show();
    const open = this.votable().filter((other) => !this.pairs.get(other).vote && !this.pairs.get(other).isClosed);
    announce(pair.vote ? `Vote recorded. ${plural(open.length, "image")} to go` : "Vote withdrawn");
  }

  /** Images with two different captions. */
  votable() {
    return [...this.pairs].filter(([, pair]) => isComplete(pair) && !isSame(pair)).map(([item]) => item);
  }

  votes() {
    return this.votable().map((item) => this.pairs.get(item).vote).filter(Boolean);
  }

  reveal() {
    this.isRevealed = true;
    this.show();
    byId("result").focus();
  }

  // --- drawing ---------------------------------------------------------------------------------

  show() {
    for (const item of this.pairs.keys()) this.showPair(item);
    const items = this.getItems();
    const [a, b] = [byId("model-a").value, byId("model-b").value];
    const missing = items.filter((item) => !this.pairs.has(item) || hasFailed(this.pairs.get(item)));
    const fresh = items.filter((item) => !this.pairs.has(item));
    const isBusy = [...this.pairs.values()].some((pair) => !pair.a || !pair.b);
    const start = byId("compare-start");
    start.disabled = !a || a === b || !missing.length || isBusy;
    start.textContent = startText({ isBusy, numPairs: this.pairs.size, numFresh: fresh.length, numMissing: missing.length });
    start.classList.toggle("main", isBusy || fresh.length > 0 || !this.pairs.size);
    start.hidden = this.pairs.size > 0 && !missing.length && !isBusy;
    const votes = this.votes();
    const isVoting = byId("blind").checked && this.pairs.size > 0;
    byId("reveal").hidden = !isVoting || this.isRevealed || !votes.length;
    byId("download-votes").hidden = !this.isRevealed || !votes.length;
    byId("result").hidden = !this.isRevealed || !votes.length;
    byId("compare-text").textContent = this.explain({ a, b, items, isVoting, votes });
    if (this.isRevealed && votes.length) this.showResult(votes);
  }

  explain({ a, b, items, isVoting, votes }) {
    if (!b || !a) return "This server has one model. Start it with two to compare them: captune serve NAME=MODEL NAME2=MODEL2.";
    if (a === b) return "Choose two different models.";
    if (!items.length) return "Add images above; both models caption them.";
    if (this.isRevealed) return "Voting is closed. You can download the votes together with the captions.";
    if (isVoting) {
      const seen = this.votable().filter((item) => this.pairs.get(item).isClosed && !this.pairs.get(item).vote).length;
      const total = this.votable().length - seen;
      const same = [...this.pairs.values()].filter((pair) => isComplete(pair) && isSame(pair)).length;
      const alike = same ? ` ${plural(same, "image")} got the same caption from both models.` : "";
      const named = seen ? ` ${plural(seen, "image")} had the names shown: remove and add ${seen === 1 ? "it" : "them"} again to vote.` : "";
      return `${votes.length} of ${plural(total, "vote")} cast.${alike}${named} The order of the two is random for each image; the names are shown with the result.`;
    }
    if (this.pairs.size) return `First ${a}, then ${b}.`;
    return byId("blind").checked
      ? "Both models caption your images. You see two captions without names and choose the better one; then the result shows which model won, and how certain that is."
      : "Both models caption your images, side by side.";
  }

  showResult(votes) {
    const { rate, a, b } = countVotes(votes);
    const { a: nameA, b: nameB } = this.names;
    byId("result-rate").textContent = rate ? `${nameA} ${a} : ${b} ${nameB}` : "Only ties";
    byId("result-text").textContent = describeVotes(votes, nameA, nameB);
    byId("scale-a").textContent = `${nameA} always`;
    byId("scale-b").textContent = `${nameB} always`;
    // Model A is on the left, as in the line above: the more it wins, the further left the interval.
    const [left, right] = rate ? [100 * (1 - rate.high), 100 * (1 - rate.low)] : [0, 0];
    byId("interval-span").setAttribute("x", left.toFixed(2));
    byId("interval-span").setAttribute("width", (right - left).toFixed(2));
  }

  showPair(item) {
    const pair = this.pairs.get(item);
    const name = item.file.name || "pasted image";
    if (!pair.element) {
      pair.element = make("li", {});
      byId("pairs").append(pair.element);
    }
    // Once captions were shown with names, nobody can vote on them blindly.
    if (!this.isBlind && (pair.a || pair.b)) pair.isClosed = true;
    const isBlind = this.isBlind && !pair.isClosed;
    const key = JSON.stringify([pair.a, pair.b, pair.vote, isBlind, pair.isClosed, byId("blind").checked, item.thumbnail ?? null]);
    if (pair.key === key) return;
    pair.key = key;
    const focused = pair.element.contains(document.activeElement) ? document.activeElement.dataset.vote : null;
    const order = byId("blind").checked && pair.isSwapped ? ["b", "a"] : ["a", "b"];
    const picture = item.thumbnail
      ? make("img", { src: item.thumbnail, alt: `Preview of ${name}` })
      : make("p", { class: "no-image" }, "No preview");
    const title = make("h3", { class: "file", id: `${item.id}-pair`, title: name }, make("bdi", {}, name));
    pair.element.replaceChildren(
      make(
        "article",
        { class: "pair", "aria-labelledby": title.id },
        make("div", { class: "picture" }, picture),
        make(
          "div",
          { class: "under" },
          title,
          make("div", { class: "sides" }, ...order.map((side, place) => this.side(pair, side, place, isBlind))),
          this.ballot(item, pair, order, name),
        ),
      ),
    );
    if (focused) pair.element.querySelector(`[data-vote="${focused}"]`)?.focus();
  }

  side(pair, side, place, isBlind) {
    const label = isBlind ? ["First", "Second"][place] : `${SIDES[side]}: ${this.names[side]}`;
    const result = pair[side];
    const box = make("div", { class: "said", "data-side": isBlind ? "" : side }, make("h4", {}, label));
    if (!isBlind && pair.vote === side) box.append(make("span", { class: "badge own" }, "Your choice"));
    if (!result) box.append(make("p", { class: "pending" }, make("span", { class: "spinner", "aria-hidden": "true" }), "Writing a caption"));
    else if (result.error) box.append(make("p", { class: "failure" }, sentence(result.error.message)), make("p", { class: "advice" }, adviseOn(result.error.code)));
    else {
      box.append(make("p", { class: "caption-text" }, make("bdi", { dir: "auto" }, result.caption)));
      for (const flag of describeFlags(result.flags, result.finish_reason)) box.append(make("span", { class: "badge warn" }, flag));
    }
    return box;
  }

  ballot(item, pair, order, name) {
    if (!byId("blind").checked || !isComplete(pair)) return null;
    if (isSame(pair)) return make("p", { class: "note" }, "Both captions are the same: no vote needed.");
    if (pair.isClosed) return pair.vote ? (pair.vote === "tie" ? make("p", { class: "note" }, "You found them equally good.") : null) : make("p", { class: "note" }, "No vote.");
    const button = (vote, text, data) =>
      make(
        "button",
        { type: "button", "aria-pressed": String(pair.vote === vote), "data-vote": data, "aria-label": `${text}: ${name}`, onclick: () => this.vote(item, vote) },
        text,
      );
    return make(
      "div",
      { class: "actions ballot", role: "group", "aria-label": `Your vote on ${name}` },
      button(order[0], "First is better", "first"),
      button("tie", "Equally good", "tie"),
      button(order[1], "Second is better", "second"),
    );
  }

  download() {
    const lines = this.votable().map((item) => {
      const pair = this.pairs.get(item);
      return JSON.stringify({
        image_id: item.file.name,
        model_a: this.names.a,
        model_b: this.names.b,
        caption_a: pair.a.caption,
        caption_b: pair.b.caption,
        first: pair.isSwapped ? "b" : "a",
        vote: pair.vote,
      });
    });
    saveFile(new Blob(lines.map((line) => `${line}\n`), { type: "application/jsonl" }), "votes.jsonl");
    announce("votes.jsonl is saved");
  }
}

function startText({ isBusy, numPairs, numFresh, numMissing }) {
  if (isBusy) return "Captioning…";
  if (!numPairs) return "Caption with both models";
  return numFresh ? `Caption ${plural(numFresh, "more image")}` : `Try ${plural(numMissing, "failed image")} again`;
}

const isComplete = (pair) => Boolean(pair.a && pair.b && !pair.a.error && !pair.b.error);
const hasFailed = (pair) => Boolean(pair.a?.error || pair.b?.error);
const isSame = (pair) => pair.a.caption.trim() === pair.b.caption.trim();
