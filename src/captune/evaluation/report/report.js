// Sorting, filtering, the log switch, read-outs and the theme. Without it, the page is complete.
(() => {
  "use strict";
  const root = document.documentElement;
  const remember = (value) => { try { sessionStorage.setItem("captune-theme", value); } catch { /* some browsers forbid this for files */ } };
  const recall = () => { try { return sessionStorage.getItem("captune-theme"); } catch { return null; } };
  const forced = recall() || new URLSearchParams(location.search).get("theme");
  if (forced === "dark" || forced === "light") root.dataset.theme = forced;

  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
    });
  }

  for (const figure of document.querySelectorAll("[data-log-switch]")) {
    const label = figure.querySelector(".switch");
    if (!label) continue;
    label.hidden = false;
    label.querySelector("input").addEventListener("change", (event) => {
      figure.querySelector("[data-linear]").hidden = event.target.checked;
      figure.querySelector("[data-log]").hidden = !event.target.checked;
    });
  }

  for (const form of document.querySelectorAll("[data-gallery-controls]")) {
    const gallery = document.querySelector("[data-gallery]");
    const nothing = document.querySelector("[data-gallery-empty]");
    const cards = [...gallery.children];
    const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
    const output = form.querySelector("output");
    const number = (card, key) => Number.parseFloat(card.dataset[key]);
    const update = () => {
      const [key, direction] = form.elements.sort.value.split(":");
      const sign = direction === "down" ? -1 : 1;
      const reason = form.elements.reason ? form.elements.reason.value : "";
      const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const unknownLast = (value) => (Number.isNaN(value) ? Infinity : value);
      const sorted = [...cards].sort((a, b) =>
        unknownLast(sign * number(a, key)) - unknownLast(sign * number(b, key)) || number(a, "place") - number(b, "place"));
      let shown = 0;
      for (const card of sorted) {
        const fits = (!reason || card.dataset.reasons.split(" ").includes(reason))
          && words.every((word) => texts.get(card).includes(word));
        card.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      gallery.append(...sorted);
      nothing.hidden = shown > 0;
      output.textContent = shown === 1 ? "1 image" : `${shown} images`;
    };
    form.hidden = false;
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  }

  const readout = document.querySelector(".readout");
  for (const chart of document.querySelectorAll("svg[data-readout]")) {
    const points = JSON.parse(chart.dataset.readout);
    if (!points.length) continue;
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", chart.dataset.top);
    cursor.setAttribute("y2", chart.dataset.bottom);
    let at = -1;
    const show = (place) => {
      at = Math.max(0, Math.min(points.length - 1, place));
      const point = points[at];
      cursor.setAttribute("x1", point.x);
      cursor.setAttribute("x2", point.x);
      chart.append(cursor);
      readout.textContent = [point.label, ...point.rows.map(([name, value]) => `${name}  ${value}`)].join("\n");
      readout.hidden = false;
      const box = chart.getBoundingClientRect();
      const x = box.left + (point.x / chart.viewBox.baseVal.width) * box.width;
      const width = readout.offsetWidth;
      readout.style.left = `${x + 14 + width > innerWidth ? x - width - 14 : x + 14}px`;
      readout.style.top = `${Math.max(8, box.top + 12)}px`;
    };
    const hide = () => { cursor.remove(); readout.hidden = true; };
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      let best = 0;
      points.forEach((point, place) => { if (Math.abs(point.x - x) < Math.abs(points[best].x - x)) best = place; });
      show(best);
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(at + 1);
      else if (event.key === "ArrowLeft") show(at < 0 ? points.length - 1 : at - 1);
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    });
  }
})();
