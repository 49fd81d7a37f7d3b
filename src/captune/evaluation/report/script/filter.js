// What the gallery shows: one state, in the controls and in the address (#gallery?q=...).
(() => {
  const KEYS = ["q", "in", "sort", "show", "group", "gain", "length"];
  const ADDRESS = /^#gallery\?(.*)$/;

  /** Return the state in the page's address; empty without one. */
  captune.readAddress = () => {
    const found = ADDRESS.exec(location.hash);
    const values = new URLSearchParams(found ? found[1] : "");
    return Object.fromEntries(KEYS.filter((key) => values.get(key)).map((key) => [key, values.get(key)]));
  };

  /** Put the state into the address, without a step in the browser's history. */
  captune.writeAddress = (state) => {
    const text = new URLSearchParams(Object.entries(state).filter(([, value]) => value)).toString();
    if (!text && !ADDRESS.test(location.hash)) return;
    try { history.replaceState(null, "", text ? `#gallery?${text}` : "#gallery"); } catch { /* some browsers forbid this for files */ }
  };

  const inRange = (value, range) => {
    const [low, high] = range.split(":");
    return !Number.isNaN(value) && (low === "" || value >= Number(low)) && (high === "" || value <= Number(high));
  };

  const OUTCOMES = { better: (gain) => gain > 0, worse: (gain) => gain < 0, equal: (gain) => gain === 0 };

  const hasGroup = (item, group) => {
    const [kind, place] = group.split("@");
    if (kind === "none") return !item.groups.some((own) => own.endsWith(`@${place}`));
    return item.groups.includes(group);
  };

  const textsIn = (item, scope) => {
    if (scope === "human") return item.references;
    if (scope === "file") return [item.name];
    if (scope === "any") return [...item.captions, ...item.references];
    return [item.captions[Number(scope)] ?? ""];
  };

  const inName = (name, query) => query.toLowerCase().replace(/["“”]/g, "").split(/\s+/).filter(Boolean)
    .every((part) => name.toLowerCase().includes(part));

  /** Return whether an image fits the state; `terms` is the parsed query. */
  captune.fits = (item, state, terms) => {
    if (state.show && OUTCOMES[state.show] && !OUTCOMES[state.show](item.gain)) return false;
    if (state.group && !hasGroup(item, state.group)) return false;
    if (state.gain && !inRange(item.gain, state.gain)) return false;
    if (state.length && !inRange(item.lengths[item.lengths.length - 1], state.length)) return false;
    if (!state.q) return true;
    if (state.in === "file") return inName(item.name, state.q);
    return !terms.length || captune.matches(textsIn(item, state.in), terms);
  };

  /** Return images in the order of the state; unknown values last, ties as in the data. */
  captune.sorted = (items, sort) => {
    const [key, direction] = (sort || "place:up").split(":");
    const sign = direction === "down" ? -1 : 1;
    const value = (item) => { const own = sign * item[key]; return Number.isNaN(own) ? Infinity : own; };
    return [...items].sort((a, b) => {
      const x = value(a);
      const y = value(b);
      return (x === y ? 0 : x < y ? -1 : 1) || a.place - b.place;
    });
  };
})();
