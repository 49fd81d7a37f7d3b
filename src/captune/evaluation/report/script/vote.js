// The blind test: two captions of an image without their authors, votes, and the win rate.
(() => {
  const section = document.querySelector("[data-vote]");
  const gallery = document.querySelector("[data-gallery]");
  if (!section || !captune.items?.length) return;
  const names = JSON.parse(gallery.dataset.systems);
  const [start, booth, outcome] = [".start", ".booth", ".outcome"].map((name) => section.querySelector(name));
  const buttons = [...section.querySelectorAll("[data-choice]")];
  const votes = [];
  let queue = [];
  let ballot = null;
  section.hidden = false;

  const shuffled = (list) => {
    const copy = [...list];
    for (let place = copy.length - 1; place > 0; place -= 1) {
      const other = Math.floor(Math.random() * (place + 1));
      [copy[place], copy[other]] = [copy[other], copy[place]];
    }
    return copy;
  };

  const makeBallot = (item) => {
    const pair = shuffled(names.map((_, place) => place)).slice(0, 2);
    return { item, pair };
  };

  // Captions of only emoji have no words to compare.
  const essence = (text) => captune.words(text).join(" ") || text.trim();
  const differs = ({ item, pair }) => essence(item.captions[pair[0]]) !== essence(item.captions[pair[1]]);

  const show = () => {
    booth.hidden = !ballot;
    section.querySelector(".count").textContent = `${votes.length} ${votes.length === 1 ? "vote" : "votes"}, ${queue.length + (ballot ? 1 : 0)} images left`;
    if (!ballot) { showOutcome(); return; }
    const picture = captune.cardOf(ballot.item).querySelector(".picture > *").cloneNode(true);
    if (picture.alt !== undefined) picture.alt = "The image to judge";
    section.querySelector(".picture").replaceChildren(picture);
    ballot.pair.forEach((system, side) => { buttons[side].querySelector("bdi").textContent = ballot.item.captions[system] || "(empty caption)"; });
  };

  const next = () => {
    ballot = null;
    while (queue.length && !ballot) {
      const made = makeBallot(queue.pop());
      if (differs(made)) ballot = made;
    }
    show();
  };

  const vote = (choice) => {
    if (!ballot || booth.hidden) return;
    votes.push({ ...ballot, choice });
    next();
  };

  /** Wilson's interval of a share, 95 %. */
  const wilson = (won, total) => {
    const [z, share] = [1.96, won / total];
    const middle = (share + (z * z) / (2 * total)) / (1 + (z * z) / total);
    const half = (z * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total))) / (1 + (z * z) / total);
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  };

  const tally = () => names.map((name, system) => {
    const own = votes.filter(({ pair }) => pair.includes(system));
    const ties = own.filter(({ choice }) => choice === "tie").length;
    const won = own.filter(({ pair, choice }) => choice !== "tie" && pair[Number(choice)] === system).length;
    const decided = own.length - ties;
    return { name, votes: own.length, won, ties, lost: decided - won, winRate: decided ? won / decided : null, interval: decided ? wilson(won, decided) : null };
  });

  const percent = (share) => `${(100 * share).toFixed(0)} %`;

  const row = (tag, cells) => {
    const line = document.createElement("tr");
    line.append(...cells.map((text) => { const cell = document.createElement(tag); cell.textContent = text; return cell; }));
    return line;
  };

  const showOutcome = () => {
    outcome.hidden = false;
    const table = document.createElement("table");
    table.append(row("th", ["", "Won", "Tied", "Lost", "Win rate", "95 % interval"]));
    for (const each of tally()) {
      const rate = each.winRate === null ? ["–", "–"] : [percent(each.winRate), each.interval.map(percent).join(" to ")];
      table.append(row("td", [each.name, each.won, each.ties, each.lost, ...rate]));
    }
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = "Ties do not count in the win rate.";
    const save = document.createElement("button");
    save.type = "button";
    save.textContent = "Export the votes (JSON)";
    save.addEventListener("click", () => {
      const rows = votes.map(({ item, pair, choice }) => ({
        image: item.name,
        shown: pair.map((system) => names[system]),
        captions: pair.map((system) => item.captions[system]),
        better: choice === "tie" ? null : names[pair[Number(choice)]],
      }));
      captune.save(new Blob([JSON.stringify({ schema: 1, systems: tally(), votes: rows }, null, 2)], { type: "application/json" }), "votes.json");
    });
    outcome.replaceChildren(table, note, save);
  };

  section.querySelector("[data-vote-start]").addEventListener("click", async () => {
    await captune.loadAll();
    queue = shuffled(captune.items);
    start.hidden = true;
    next();
    buttons[0].focus();
  });
  for (const button of buttons) button.addEventListener("click", () => vote(button.dataset.choice));
  section.querySelector("[data-vote-result]").addEventListener("click", showOutcome);
  section.querySelector("[data-vote-undo]").addEventListener("click", () => {
    const last = votes.pop();
    if (!last) return;
    if (ballot) queue.push(ballot.item);
    ballot = { item: last.item, pair: last.pair };
    outcome.hidden = true;
    show();
  });
  section.addEventListener("keydown", (event) => {
    const choice = { 1: "0", 2: "1", 0: "tie" }[event.key];
    if (choice === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    vote(choice);
  });
})();
