// Words of captions: queries of whole words and quoted phrases, and the places where they occur.
(() => {
  const WORD = /[\p{L}\p{N}]+(?:['’][\p{L}\p{N}]+)*/gu;
  // Scripts without spaces have no whole words to compare.
  const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}]/u;
  const fold = (text) => text.normalize("NFKC").toLowerCase();

  captune.words = (text) => fold(text).match(WORD) || [];

  /** Return the terms of a query: {words} in this order side by side, or {part} of a text. */
  captune.parseQuery = (query) => {
    const terms = [];
    for (const [, phrase, word] of query.matchAll(/["“”]([^"“”]*)["“”]?|([^\s"“”]+)/gu)) {
      const text = phrase ?? word;
      const words = captune.words(text);
      if (UNSPACED.test(text)) terms.push({ part: fold(text.trim()) });
      else if (words.length) terms.push({ words });
    }
    return terms;
  };

  const follows = (words, wanted, start) => wanted.every((word, place) => words[start + place] === word);

  const contains = (text, term) => {
    const folded = fold(text);
    if (term.part) return folded.includes(term.part);
    // Most captions lack the word, and looking for its letters is quicker than splitting.
    if (!term.words.every((word) => folded.includes(word))) return false;
    const words = folded.match(WORD) || [];
    return words.some((_, start) => follows(words, term.words, start));
  };

  /** Return whether one of the texts contains all terms. */
  captune.matches = (texts, terms) => texts.some((text) => terms.every((term) => contains(text, term)));

  const rangesIn = (element, terms) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const nodes = [];
    let text = "";
    while (walker.nextNode()) {
      nodes.push([text.length, walker.currentNode]);
      text += walker.currentNode.data;
    }
    const at = (offset) => {
      let place = nodes.length - 1;
      while (place > 0 && nodes[place][0] > offset) place -= 1;
      return [nodes[place][1], Math.min(offset - nodes[place][0], nodes[place][1].length)];
    };
    const range = (start, end) => {
      const made = new Range();
      made.setStart(...at(start));
      made.setEnd(...at(Math.max(start, end - 1)));
      made.setEnd(made.endContainer, Math.min(made.endOffset + 1, made.endContainer.length));
      return made;
    };
    const found = [];
    const folded = text.toLowerCase();
    const words = [...folded.matchAll(WORD)];
    const plain = words.map((word) => fold(word[0]));
    for (const term of terms) {
      if (term.part) {
        for (let place = folded.indexOf(term.part); place >= 0; place = folded.indexOf(term.part, place + 1)) found.push(range(place, place + term.part.length));
        continue;
      }
      words.forEach((word, start) => {
        if (!follows(plain, term.words, start)) return;
        const last = words[start + term.words.length - 1];
        found.push(range(word.index, last.index + last[0].length));
      });
    }
    return found;
  };

  /** Highlight the terms in these elements; earlier highlights go. */
  captune.highlight = (elements, terms) => {
    if (!window.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("hit");
    if (!terms.length) return;
    CSS.highlights.set("hit", new Highlight(...elements.flatMap((element) => rangesIn(element, terms))));
  };
})();
