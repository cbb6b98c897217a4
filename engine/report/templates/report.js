(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  form.hidden = false;
  const value = (name) => document.getElementById(`filter-${name}`).value;
  const more = document.getElementById("more-cases");
  const cases = [...document.querySelectorAll(".case")];
  const apply = () => {
    const verdict = value("verdict");
    if (more && ["dx", "predicted", "verdict", "round"].some(value)) more.open = true;
    let shown = 0;
    for (const card of cases) {
      const fits = ["dx", "predicted", "round"].every((name) => !value(name) || card.dataset[name] === value(name))
        && (!verdict || card.dataset.verdicts.split(" ").includes(verdict));
      card.hidden = !fits;
      shown += fits;
      for (const item of card.querySelectorAll("[data-verdict]")) {
        item.hidden = Boolean(verdict) && item.dataset.verdict !== verdict;
      }
    }
    document.getElementById("filter-count").textContent = `${shown} of ${cases.length} cases`;
    document.getElementById("no-cases").hidden = shown > 0;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
})();
(() => {
  const dialog = document.getElementById("enlarged");
  const large = new Image();
  const caption = dialog.querySelector("p");
  const open = (image) => {
    large.src = image.src;
    large.alt = caption.textContent = image.alt;
    caption.before(large);
    dialog.showModal();
  };
  for (const image of document.querySelectorAll("main img")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => open(image));
  }
  for (const list of document.querySelectorAll(".thumbs, .missed")) {
    const buttons = [...list.querySelectorAll(".zoom")];
    buttons.forEach((button, place) => { button.tabIndex = place ? -1 : 0; });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const shown = buttons.filter((button) => button.offsetParent !== null);
      const next = shown[shown.indexOf(document.activeElement) + step];
      if (!step || !next) return;
      document.activeElement.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      event.preventDefault();
    });
  }
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
})();
(() => {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const sections = [...document.querySelectorAll("section[aria-labelledby]")].filter((s) => links.has(s.getAttribute("aria-labelledby")));
  const mark = () => {
    const here = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).pop();
    for (const link of links.values()) link.removeAttribute("aria-current");
    if (here) links.get(here.getAttribute("aria-labelledby")).setAttribute("aria-current", "true");
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
})();
