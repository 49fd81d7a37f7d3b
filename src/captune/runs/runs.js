
// Overview of runs: sorting, filtering, and two runs side by side. Texts are set as text, never as HTML.
(() => {
  "use strict";
  const table = document.querySelector("[data-runs]");
  if (!table) return;
  const data = JSON.parse(document.getElementById("runs-data").textContent);
  const [SHOWN_METRICS, SHOWN_CARDS] = [6, 12];
  const body = table.tBodies[0];
  const rows = [...body.rows];

  // Sorting: a button in each header, so that the keyboard reaches it.
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const kind = header.dataset.sort;
    if (!kind) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const first = kind === "number" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = header.getAttribute("aria-sort") === first ? other : first;
      headers.forEach((each) => each.dataset.sort && each.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = kind === "number"
        ? (a, b) => {
          const [x, y] = [Number.parseFloat(value(a)), Number.parseFloat(value(b))];
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
          return sign * (x - y);
        }
        : (a, b) => (!value(a) - !value(b)) || sign * value(a).localeCompare(value(b), "en", { numeric: true });
      body.append(...[...body.rows].sort(compare));
    });
  });

  // Filter.
  const controls = document.querySelector("[data-runs-controls]");
  const nothing = document.querySelector("[data-runs-empty]");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const words = controls.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      shown += row.hidden ? 0 : 1;
    }
    nothing.hidden = shown > 0;
    controls.querySelector("output").textContent = shown === 1 ? "1 run" : `${shown} runs`;
  };
  controls.hidden = false;
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // Picking two runs: the two lists hold the choice, the boxes in the table change it.
  const pair = document.querySelector("[data-pair]");
  const place = document.querySelector("[data-comparison]");
  const status = document.querySelector("[data-pair-status]");
  const comparable = rows.filter((row) => row.querySelector("input"));
  const lists = [pair.elements.first, pair.elements.second];
  for (const list of lists) {
    list.append(new Option("choose a run", ""));
    for (const row of comparable) list.append(new Option(data.runs[row.dataset.run].name, row.dataset.run));
  }
  pair.hidden = comparable.length < 2;
  for (const cell of comparable.length < 2 ? [] : table.querySelectorAll(".pick")) cell.hidden = false;
  const picked = () => lists.map((list) => list.value);
  const refresh = () => {
    for (const row of comparable) {
      const is = picked().includes(row.dataset.run);
      row.querySelector("input").checked = is;
      row.classList.toggle("picked", is);
    }
    const [a, b] = picked();
    const both = a !== "" && b !== "" && a !== b;
    const address = both ? `#compare=${a},${b}` : location.pathname + location.search;
    if (both || location.hash.startsWith("#compare=")) {
      try { history.replaceState(null, "", address); } catch { /* a page in a frame */ }
    }
    status.textContent = both ? `Comparing ${data.runs[a].name} with ${data.runs[b].name}` : "";
    place.replaceChildren(...(both ? compareRuns(Number(a), Number(b)) : [note("Tick two runs in the table, or choose them here.")]));
  };
  for (const row of comparable) {
    row.querySelector("input").addEventListener("change", (event) => {
      const mine = row.dataset.run;
      if (!event.target.checked) lists.forEach((list) => { if (list.value === mine) list.value = ""; });
      else if (lists[0].value === "") lists[0].value = mine;
      else if (lists[1].value === "") lists[1].value = mine;
      else { lists[0].value = lists[1].value; lists[1].value = mine; }
      refresh();
    });
  }
  pair.addEventListener("change", refresh);
  pair.addEventListener("submit", (event) => event.preventDefault());
  pair.querySelector("[data-swap]").addEventListener("click", () => {
    const [a, b] = picked();
    [lists[0].value, lists[1].value] = [b, a];
    refresh();
  });
  const wanted = /^#compare=(\d+),(\d+)$/.exec(location.hash);
  if (wanted) { lists[0].value = wanted[1]; lists[1].value = wanted[2]; }
  refresh();

  function element(name, { text, className, ...attributes } = {}, ...children) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function note(text) { return element("p", { text, className: "note" }); }
  function makeTable(head, lines, { className = "", label }) {
    const made = element("table", { className });
    made.createTHead().append(element("tr", {}, ...head.map((text) => element("th", { text, scope: "col" }))));
    made.append(element("tbody", {}, ...lines));
    return element("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": label }, made);
  }

  function compareRuns(first, second) {
    const [a, b] = [data.runs[first], data.runs[second]];
    const group = a.group !== null && a.group === b.group ? data.groups[a.group] : null;
    return [...compareScores(a, b, group, [first, second]), ...compareSettings(a, b), ...compareCaptions(a, b, group, [first, second])];
  }

  function compareScores(a, b, group, places) {
    const names = Object.keys(data.metrics).filter((name) => a.scores[name] && b.scores[name]);
    const parts = [element("h3", { text: "Scores" })];
    if (!names.length) return [...parts, note("They have no scores in common.")];
    if (a.signature !== b.signature) {
      parts.push(element("p", { className: "warning", role: "note", text: `Scored in different ways, so the difference proves nothing: ${a.signature} and ${b.signature}.` }));
    }
    const test = group ? pairedTest(group, places) : null;
    const first = group && names.includes(group.metric) ? [group.metric] : [];
    const ordered = [...new Set([...first, ...names])];
    const line = (name) => {
      const metric = data.metrics[name];
      const [x, y] = [a.scores[name], b.scores[name]];
      const own = test && group.metric === name;
      const delta = x[0] === null || y[0] === null ? null : y[0] - x[0];
      const change = element("td");
      const certain = own ? test.p < 0.05 : null;
      const isUp = delta !== null && (delta > 0) !== metric.lower;
      const outcome = certain && metric.rated && round(delta, metric.decimals) !== 0 ? (isUp ? "better" : "worse") : "same";
      change.append(element("span", { className: `delta ${outcome}`, text: delta === null ? "–" : signed(delta, metric.decimals) }));
      const tested = element("td");
      if (own) {
        tested.append(element("span", { text: test.p < 0.001 ? "p < 0.001" : `p = ${test.p.toFixed(test.p < 0.1 ? 3 : 2)}` }),
          element("small", { text: `${signed(test.low, metric.decimals)} to ${signed(test.high, metric.decimals)}` }),
          element("small", { text: `${test.wins} better, ${test.ties} equal, ${test.losses} worse` }));
      } else tested.textContent = "–";
      const value = (row) => {
        const cell = element("td", { text: number(row[0], metric.decimals) });
        if (row[1] !== null) cell.append(element("small", { text: `${number(row[1], metric.decimals)} to ${number(row[2], metric.decimals)}` }));
        return cell;
      };
      const label = metric.label + (metric.lower ? " (lower is better)" : "");
      return element("tr", own ? { className: "main" } : {}, element("th", { scope: "row", text: label }), value(x), value(y), change, tested);
    };
    const head = ["Metric", a.name, b.name, "Change", "Paired test"];
    parts.push(makeTable(head, ordered.slice(0, SHOWN_METRICS).map(line), { className: "scores", label: "Scores of both runs" }));
    const others = ordered.slice(SHOWN_METRICS);
    if (others.length) {
      parts.push(element("details", {}, element("summary", { text: others.length === 1 ? "1 more metric" : `${others.length} more metrics` }),
        makeTable(head, others.map(line), { className: "scores", label: "More scores of both runs" })));
    }
    parts.push(note(test
      ? `The paired test of ${group.label} uses ${group.images.toLocaleString("en")} images. For the other metrics: captune compare RUN RUN --data DATA.`
      : "No paired test: the runs were not scored on the same images, or lack scores_per_image.jsonl. captune compare RUN RUN --data DATA scores both on the same images."));
    return parts;
  }

  // The test of `captune compare` (Koehn 2004, centred differences), on resamples drawn when the page was written.
  function pairedTest(group, [first, second]) {
    const column = (place, key) => unpack(group.runs[place][key]);
    const [va, vb] = [column(first, "values"), column(second, "values")];
    const [ra, rb] = [column(first, "resampled"), column(second, "resampled")];
    const mean = (list) => list.reduce((sum, each) => sum + each, 0) / list.length;
    const delta = mean(vb) - mean(va);
    const deltas = Array.from(rb, (value, i) => value - ra[i]);
    const middle = mean(deltas);
    const distances = deltas.map((each) => Math.abs(each - middle));
    const total = distances.length;
    const extreme = distances.filter((each) => each >= Math.abs(delta)).length;
    const least = 2 ** (1 - va.length);
    let allowed = 0;
    while (allowed < total && (allowed + 1) / (total + 1) < 0.05) allowed += 1;
    const sorted = [...distances].sort((x, y) => y - x);
    const reach = least >= 0.05 || !allowed ? Math.max(Math.abs(delta), sorted[0]) : sorted[allowed - 1];
    const shown = 0.5 * 10 ** -group.decimals;
    let [wins, ties, losses] = [0, 0, 0];
    vb.forEach((value, i) => {
      const gain = (group.lower ? -1 : 1) * (value - va[i]);
      if (gain >= shown) wins += 1; else if (gain <= -shown) losses += 1; else ties += 1;
    });
    return { p: Math.max((extreme + 1) / (total + 1), least), low: delta - reach, high: delta + reach, wins, ties, losses };
  }

  function compareSettings(a, b) {
    const parts = [element("h3", { text: "Recipe" })];
    if (!a.settings || !b.settings) return [...parts, note("The recipe of at least one of them cannot be read.")];
    const value = (run, key) => (key in run.settings ? run.settings[key] : data.defaults[key]);
    const show = (each) => (each === undefined ? "–" : typeof each === "string" ? each : JSON.stringify(each));
    const keys = [...new Set([...Object.keys(a.settings), ...Object.keys(b.settings)])]
      .filter((key) => show(value(a, key)) !== show(value(b, key))).sort();
    if (!keys.length) return [...parts, note("Both runs have the same settings.")];
    const lines = keys.map((key) => element("tr", {}, element("th", { scope: "row", text: key }),
      element("td", { text: show(value(a, key)) }), element("td", { text: show(value(b, key)) })));
    const count = keys.length === 1 ? "1 setting differs" : `${keys.length} settings differ`;
    return [...parts, note(`${count}; all others are equal.`), makeTable(["Setting", a.name, b.name], lines, { className: "settings", label: "Settings that differ" })];
  }

  function compareCaptions(a, b, group, places) {
    const parts = [element("h3", { text: "Captions" })];
    if (!group) return [...parts, note("The runs were not scored on the same images.")];
    const values = places.map((each) => unpack(group.runs[each].values));
    const gain = (image) => values[1][image.place] - values[0][image.place];
    const shown = [...group.shown].sort((x, y) => Math.abs(gain(y)) - Math.abs(gain(x)));
    const which = shown.length < group.images
      ? `${shown.length} of ${group.images.toLocaleString("en")} images: those on which runs differ most, and others drawn at random`
      : `All ${group.images.toLocaleString("en")} images`;
    parts.push(note(`${which}; those with the biggest difference between these two are first. The number beside a name is the image's ${group.label}.`));
    const cards = shown.map((image) => {
      const card = element("article", { className: "card" });
      if (image.thumbnail) card.append(element("img", { src: image.thumbnail, alt: image.human[0] || image.name }));
      const inner = element("div", { className: "body named" });
      places.forEach((each, number_) => {
        const run = number_ ? b : a;
        const score = values[number_][image.place].toFixed(2);
        inner.append(element("div", { className: `said system-edge-${number_}` },
          element("h4", { text: `${run.name} · ${score}` }),
          element("p", { dir: "auto", text: image.captions[each] || "(empty caption)" })));
      });
      if (image.human.length) {
        inner.append(element("div", { className: "references" }, element("h4", { text: image.human.length === 1 ? "Human caption" : "Human captions" }),
          element("ul", {}, ...image.human.map((text) => element("li", { text, dir: "auto" })))));
      }
      inner.append(element("p", { className: "file", text: image.name }));
      card.append(inner);
      return card;
    });
    const gallery = element("div", { className: "gallery" }, ...cards.slice(0, SHOWN_CARDS));
    if (cards.length <= SHOWN_CARDS) return [...parts, gallery];
    const more = element("button", { text: `Show all ${cards.length} images`, className: "plain-button more", type: "button" });
    more.addEventListener("click", () => {
      const next = cards[SHOWN_CARDS];
      gallery.append(...cards.slice(SHOWN_CARDS));
      more.remove();
      next.tabIndex = -1;
      next.focus();
    });
    return [...parts, gallery, more];
  }

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  function round(value, decimals) { return Number(value.toFixed(decimals)); }
  function number(value, decimals) {
    return value === null ? "–" : value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "−");
  }
  function signed(value, decimals) {
    if (round(value, decimals) === 0) return `±${number(0, decimals)}`;
    return (value > 0 ? "+" : "") + number(value, decimals);
  }
})();
