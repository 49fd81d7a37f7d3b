// The gallery: cards of the page, and those of the folder beside it, sorted, filtered and added
// as the reader scrolls.
(() => {
  const gallery = document.querySelector("[data-gallery]");
  if (!gallery) return;
  const STEP = 60;
  const { files } = gallery.dataset;
  const names = JSON.parse(gallery.dataset.systems || "[]");
  const kinds = JSON.parse(gallery.dataset.kinds || "null");
  const form = document.querySelector("[data-gallery-controls]");
  const nothing = document.querySelector("[data-gallery-empty]");
  const more = document.querySelector("[data-gallery-more]");
  const end = document.querySelector("[data-gallery-end]");
  const number = (text) => Number.parseFloat(text);
  const texts = (card, selector) => [...card.querySelectorAll(selector)].map((element) => element.textContent);

  const make = (tag, className, content) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...[content ?? []].flat());
    return element;
  };

  const fromCard = (card) => ({
    place: number(card.dataset.place),
    gain: number(card.dataset.gain),
    quality: number(card.dataset.quality),
    similarity: number(card.dataset.similarity),
    groups: card.dataset.groups.split(" ").filter(Boolean),
    lengths: card.dataset.lengths.split(" ").map(Number),
    captions: texts(card, ".said p:first-of-type"),
    references: texts(card, ".references li:not(.more)"),
    name: texts(card, ".file")[0],
    node: card,
  });

  const fromRow = ([name, size, problem, references, hidden, captions, gain, quality, similarity], place) => ({
    place,
    name,
    size,
    problem,
    references,
    hidden,
    said: captions,
    captions: captions.map(([words]) => words.join(" ")),
    gain: gain ?? Number.NaN,
    quality: quality ?? Number.NaN,
    similarity: similarity ?? Number.NaN,
    groups: captions.flatMap(([, , , mistakes], system) => mistakes.map(([kind]) => `${kind}@${system}`)),
    lengths: captions.map(([, , , , length]) => length),
    node: null,
  });

  const signed = (value) => {
    const text = Math.abs(value).toFixed(2);
    return text === "0.00" ? "±0.00" : (value > 0 ? "+" : "−") + text;
  };

  const isolated = (text) => { const bdi = make("bdi", "", text); bdi.dir = "auto"; return bdi; };

  const makeWords = ([words, marks], side) => {
    const bdi = isolated([]);
    words.forEach((word, place) => {
      if (place) bdi.append(" ");
      const marked = side && marks[place] !== "0";
      bdi.append(marked ? make("span", `word ${side}${marks[place] === "2" ? " backed" : ""}`, word) : word);
    });
    if (!words.length) bdi.append(make("i", "empty", "(empty caption)"));
    return bdi;
  };

  const makeSaid = (caption, system, item) => {
    const first = system === 0;
    const side = item.said.length < 2 || (!kinds && first) ? "" : kinds && first ? "dropped" : "added";
    const head = make("h3", "", make("bdi", "", names[system]));
    if (caption[2] !== null) head.append(" ", make("span", "", caption[2].toFixed(2)));
    const said = make("div", `said ${kinds ? kinds[system] : `system-edge-${system % 6}`}`, [head, make("p", "", makeWords(caption, side))]);
    const shows = !kinds || system === item.said.length - 1;
    if (shows && caption[3].length) {
      said.append(make("p", "found", caption[3].map(([kind, text]) => make("span", "", [`${kind}: `, make("bdi", "", text)]))));
    }
    return said;
  };

  captune.hasFolder = Boolean(files);
  captune.pictureOf = (item) => `${files}/${Math.floor(item.place / 1000)}/${item.place}.jpg`;

  const makePicture = (item) => {
    const box = make("div", "picture");
    if (item.problem) {
      box.append(make("div", "no-image", make("span", "", `cannot be shown: ${item.problem}`)));
      return box;
    }
    const image = make("img");
    [image.loading, image.decoding] = ["lazy", "async"];
    [image.width, image.height] = item.size;
    image.alt = item.references[0] || item.name;
    image.addEventListener("error", () => image.replaceWith(make("div", "no-image", make("span", "", "the folder beside this page lacks this picture"))), { once: true });
    image.src = captune.pictureOf(item);
    box.append(image);
    return box;
  };

  const makeCard = (item) => {
    const body = make("div", "body");
    if (!Number.isNaN(item.gain)) body.append(make("p", `badge ${item.gain > 0 ? "good" : item.gain < 0 ? "bad" : ""}`, `${signed(item.gain)} ${gallery.dataset.metric}`));
    body.append(...item.said.map((caption, system) => makeSaid(caption, system, item)));
    if (item.references.length) {
      const list = make("ul", "", item.references.map((text) => make("li", "", isolated(text))));
      if (item.hidden) list.append(make("li", "more", `and ${item.hidden} more`));
      body.append(make("div", "references", [make("h3", "", item.references.length + item.hidden === 1 ? "Human caption" : "Human captions"), list]));
    }
    body.append(make("p", "file", make("bdi", "", item.name)));
    const card = make("article", kinds ? "card" : "card named", [makePicture(item), body]);
    card.dataset.place = item.place;
    return card;
  };

  captune.cardOf = (item) => {
    item.node ??= makeCard(item);
    if (!item.node.dataset.zooms) captune.makeZoom?.(item.node);
    return item.node;
  };

  captune.items = [...gallery.children].map(fromCard);
  captune.listed = captune.items;
  let hasAll = !files;
  let shown = 0;
  let state = {};
  let terms = [];

  const grow = (count) => {
    const next = captune.listed.slice(shown, shown + count).map(captune.cardOf);
    gallery.append(...next);
    shown += next.length;
    // Cards out of sight cost nothing then; in a short gallery, it is not worth their guessed heights.
    gallery.classList.toggle("long", shown > 2 * STEP);
    captune.highlight([...gallery.querySelectorAll(highlighted())], terms);
    // The end may still be near, and an observer reports only changes.
    observer.unobserve(end);
    observer.observe(end);
  };

  const observer = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && shown < captune.listed.length) grow(STEP);
  }, { rootMargin: "2400px 0px" });

  const highlighted = () => ({ human: ".references li", file: ".none", any: ".said p:first-of-type, .references li" })[state.in]
    ?? `.said:nth-of-type(${Number(state.in) + 1}) p:first-of-type`;

  const say = (text) => { form.querySelector("output").textContent = text; };

  const showChips = () => {
    const box = form.querySelector("[data-chips]");
    box.replaceChildren();
    for (const [key, label] of [["gain", "change"], ["length", "words"]]) {
      if (!state[key]) continue;
      const [low, high] = state[key].split(":");
      const range = low === high ? low : low === "" ? `up to ${high}` : high === "" ? `${low} or more` : `${low} to ${high}`;
      const chip = make("button", "chip", `${label}: ${range}`);
      chip.type = "button";
      chip.setAttribute("aria-label", `Remove the filter ${label}: ${range}`);
      chip.addEventListener("click", () => { delete state[key]; update(); });
      box.append(chip);
    }
  };

  const update = () => {
    terms = state.in === "file" ? [] : captune.parseQuery(state.q || "");
    captune.listed = captune.sorted(captune.items.filter((item) => captune.fits(item, state, terms)), state.sort);
    gallery.replaceChildren();
    shown = 0;
    grow(STEP);
    nothing.hidden = captune.listed.length > 0;
    const number = captune.listed.length.toLocaleString("en");
    const noun = captune.listed.length === 1 ? "image" : "images";
    say(hasAll ? `${number} ${noun}` : `${number} of ${captune.items.length} images in this file`);
    showChips();
    captune.writeAddress(state.sort === defaultSort ? { ...state, sort: "", in: state.q ? state.in : "" } : { ...state, in: state.q ? state.in : "" });
  };

  let loading = null;
  /** Load the list of all images from the folder beside the page, once; resolves to whether it is there. */
  captune.loadAll = () => {
    if (hasAll) return Promise.resolve(true);
    loading ??= new Promise((resolve) => {
      window.captuneImages = (rows) => {
        const nodes = new Map(captune.items.map((item) => [item.place, item.node]));
        captune.items = rows.map((row, place) => Object.assign(fromRow(row, place), { node: nodes.get(place) ?? null }));
        hasAll = true;
        if (more) more.hidden = true;
        const lead = document.querySelector("[data-gallery-lead]");
        if (lead) lead.textContent = `All ${rows.length.toLocaleString("en")} images.`;
        resolve(true);
      };
      const script = document.createElement("script");
      script.addEventListener("error", () => {
        loading = null;
        if (more) more.replaceChildren(make("span", "note", `The folder ${files} is not beside this page: copy it along to see all images.`));
        resolve(false);
      }, { once: true });
      script.src = `${files}/images.js`;
      document.head.append(script);
    });
    return loading;
  };

  const readForm = () => {
    for (const key of ["sort", "show", "group", "q", "in"]) if (form.elements[key]) state[key] = form.elements[key].value;
  };

  const fillForm = () => {
    for (const key of ["sort", "show", "group", "q", "in"]) {
      const field = form.elements[key];
      if (!field || !state[key]) continue;
      field.value = state[key];
      // A link of another page can name an option that this one lacks.
      if (field.value !== state[key]) field.selectedIndex = 0;
    }
  };

  let defaultSort = "";
  const apply = async (wanted) => {
    form.reset();
    state = { ...wanted };
    fillForm();
    readForm();
    await captune.loadAll();
    update();
  };

  /** Filter the gallery (`group=colour@1`) and show it. */
  captune.drill = (query) => {
    if (!form) return;
    const values = Object.fromEntries(new URLSearchParams(query));
    apply(values).then(() => document.querySelector("#gallery").scrollIntoView());
  };

  for (const link of document.querySelectorAll("[data-filter]")) {
    link.addEventListener("click", (event) => { event.preventDefault(); captune.drill(link.dataset.filter); });
  }
  document.querySelector("[data-gallery-note]")?.remove();
  observer.observe(end);
  if (!form) { captune.startGallery = () => captune.items.forEach(captune.cardOf); return; }

  form.hidden = false;
  defaultSort = form.elements.sort.value;
  let typing = 0;
  const changed = async () => { readForm(); await captune.loadAll(); update(); };
  form.addEventListener("input", (event) => {
    clearTimeout(typing);
    if (event.target.name === "q") typing = setTimeout(changed, 150);
    else changed();
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  if (more) {
    more.hidden = false;
    more.querySelector("button").addEventListener("click", async (event) => { event.target.disabled = true; if (await captune.loadAll()) update(); });
  }
  addEventListener("hashchange", () => { const wanted = captune.readAddress(); if (Object.keys(wanted).length) apply(wanted); });
  captune.startGallery = () => {
    const wanted = captune.readAddress();
    if (Object.keys(wanted).length) apply(wanted).then(() => document.querySelector("#gallery").scrollIntoView());
    else { readForm(); update(); }
  };
})();
