(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  form.hidden = false;
  const value = (name) => document.getElementById(`filter-${name}`).value;
  const cases = [...document.querySelectorAll(".case")];
  const apply = () => {
    const verdict = value("verdict");
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
