// Copy buttons on commands and tables, and the score table as a picture.
(() => {
  const copyText = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Some browsers give pages from a disk no clipboard; a selection can still be copied.
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };

  for (const block of document.querySelectorAll("pre.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await copyText(block.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.classList.add("can-copy");
    block.append(button);
  }

  // Not innerText, which is empty in a folded part.
  const linesOf = (small) => [...small?.childNodes ?? []].map((node) => node.nodeName === "BR" ? ", " : node.textContent).join("");

  const cellText = (cell) => {
    const small = linesOf(cell.querySelector("small")).replace(/\s+/g, " ").trim();
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("small, .record, .record-text, .visually-hidden").forEach((part) => part.remove());
    const direction = cell.scope === "row" && small.endsWith("Lower is better.") ? " (lower is better)" : "";
    return [copy.textContent.trim().replace(/\s+/g, " ") + direction, small];
  };

  /** Draw the score tables' texts; charts and counts of images stay out. */
  const drawTables = () => {
    const found = [...document.querySelectorAll("#scores table.scores")];
    // Without metrics that use references, the properties of the captions are all there is.
    const rated = found.filter((table) => !table.classList.contains("variety"));
    const tables = rated.length ? rated : found;
    const keep = [...tables[0].rows[0].cells].map((cell) => !cell.classList.contains("chart-cell") && !cell.textContent.startsWith("Images"));
    const rowsOf = (part) => [...part].map((row) => [...row.cells].filter((_, place) => keep[place]).map(cellText));
    const rows = [...rowsOf([tables[0].rows[0]]), ...tables.flatMap((table) => rowsOf([...table.tBodies].flatMap((body) => [...body.rows])))]
      .map((row, place) => row.map(([text, small], column) => [text, place && column ? small : ""]));
    const canvas = document.createElement("canvas");
    const pen = canvas.getContext("2d");
    const fonts = ["600 15px system-ui, sans-serif", "12px system-ui, sans-serif"];
    const measure = (text, font) => { pen.font = font; return pen.measureText(text).width; };
    const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => Math.max(measure(row[column][0], fonts[0]), measure(row[column][1], fonts[1])))) + 34);
    const height = 46;
    const [width, total] = [widths.reduce((sum, each) => sum + each, 20), height * rows.length + 12];
    [canvas.width, canvas.height] = [width * 2, total * 2];
    pen.scale(2, 2);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, total);
    rows.forEach((row, place) => {
      let x = 20;
      const y = height * place + 6;
      pen.strokeStyle = "#dfe3e9";
      if (place) { pen.beginPath(); pen.moveTo(0, y); pen.lineTo(width, y); pen.stroke(); }
      row.forEach(([text, small], column) => {
        pen.font = place ? fonts[0] : "600 13px system-ui, sans-serif";
        pen.fillStyle = place ? "#16202b" : "#586474";
        pen.fillText(text, x, y + (small ? 20 : 28));
        pen.font = fonts[1];
        pen.fillStyle = "#586474";
        pen.fillText(small, x, y + 37);
        x += widths[column];
      });
    });
    return canvas;
  };

  for (const line of document.querySelectorAll("[data-copy-picture]")) {
    line.hidden = false;
    line.querySelector("button").addEventListener("click", () => drawTables().toBlob((blob) => captune.save(blob, "scores.png")));
  }

  /** Offer a file for download. */
  captune.save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
})();
