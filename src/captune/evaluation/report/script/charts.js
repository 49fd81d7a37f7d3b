// Values under the pointer or the arrow keys; a bar that stands for images filters the gallery.
(() => {
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
    const drill = () => { if (at >= 0 && points[at].filter) captune.drill(points[at].filter); };
    if (points.some((point) => point.filter)) {
      chart.classList.add("drills");
      chart.addEventListener("click", drill);
    }
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
      else if (event.key === "Enter" && points.some((point) => point.filter)) drill();
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    });
  }
})();
