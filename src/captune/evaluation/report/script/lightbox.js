// Large pictures: a click or Enter on a picture opens it; left and right go through the gallery.
(() => {
  const box = document.querySelector("[data-lightbox]");
  if (!box || !captune.items) { captune.startGallery?.(); return; }
  const image = document.createElement("img");
  const none = document.createElement("p");
  none.className = "no-image";
  let list = [];
  let at = 0;

  const show = (place) => {
    at = (place + list.length) % list.length;
    const item = list[at];
    const card = captune.cardOf(item);
    const small = card.querySelector(".picture img");
    box.querySelector(".stage").replaceChildren(small ? image : none);
    if (small) {
      const embedded = small.src;
      image.alt = small.alt;
      image.onerror = () => { if (image.src !== embedded) image.src = embedded; };
      image.src = captune.hasFolder ? captune.pictureOf(item) : embedded;
    } else none.textContent = card.querySelector(".no-image").textContent;
    const body = card.querySelector(".body").cloneNode(true);
    box.querySelector(".side").replaceChildren(body);
    box.querySelector(".position").textContent = `${(at + 1).toLocaleString("en")} of ${list.length.toLocaleString("en")}`;
  };

  const open = (items, place) => {
    list = items;
    show(place);
    if (!box.open) box.showModal();
  };

  const act = (element, label, run) => {
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    element.setAttribute("aria-label", label);
    element.addEventListener("click", run);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      run();
    });
  };

  captune.makeZoom = (card) => {
    card.dataset.zooms = "yes";
    act(card.querySelector(".picture"), `Enlarge ${card.querySelector(".file").textContent}`, () => {
      const place = captune.listed.findIndex((item) => item.node === card);
      open(captune.listed, Math.max(0, place));
    });
  };

  for (const hero of document.querySelectorAll("[data-hero]")) {
    act(hero.querySelector(".picture"), `Enlarge the image: ${hero.querySelector("b").textContent}`, () => {
      const wanted = Number(hero.dataset.hero);
      const place = captune.listed.findIndex((item) => item.place === wanted);
      if (place >= 0) open(captune.listed, place);
      else {
        const own = captune.items.findIndex((item) => item.place === wanted);
        if (own >= 0) open(captune.items, own);
      }
    });
  }

  box.querySelector(".previous").addEventListener("click", () => show(at - 1));
  box.querySelector(".next-image").addEventListener("click", () => show(at + 1));
  box.querySelector(".close").addEventListener("click", () => box.close());
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") show(at + 1);
    else if (event.key === "ArrowLeft") show(at - 1);
    else return;
    event.preventDefault();
  });
  captune.startGallery?.();
})();
