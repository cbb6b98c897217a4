"use strict";
// One image at a time. An answer is sent, and the next image is shown when the server says that the answer is on the disk.
const at = (id) => document.getElementById(id);

async function ask(address, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(address, { ...options, signal: AbortSignal.timeout(60000) });
  } catch {
    throw { message: "The server does not answer. Is `hardcase review` still running? Your answers up to here are on the disk." };
  }
  const text = await response.text();
  let found;
  try { found = JSON.parse(text); } catch { found = { error: text }; }
  if (!response.ok) throw { message: found.error ?? "The server refused it.", task: found.task };
  return found;
}

function readerForm(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("/reader", { name: at("name").value });
      location.href = "/";
    } catch (problem) {
      at("reader-error").textContent = problem.message;
      at("reader-error").hidden = false;
      at("name").focus();
    }
  });
}

const lines = (guess) => guess.map((g) => {
  const line = document.createElement("li");
  line.textContent = `${g.percent} % ${g.name}${g.nature ? `, ${g.nature}` : ""}`;
  return line;
});
const duration = (s) => s < 90 ? `${Math.max(1, Math.round(s))} s` : `${Math.round(s / 60)} min`;

class Work {
  constructor(root) {
    this.kind = root.dataset.work;
    this.reader = root.dataset.reader;
    this.task = null;
    this.busy = true;
    this.zoom = new Zoom(at("stage"), at("image"));
    this.listen();
    this.go(() => ask(`/api/${this.kind}`));
  }

  listen() {
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.addEventListener("click", () => this.answer(button.dataset.choice));
    }
    const zooms = { in: () => this.zoom.by(1.5), out: () => this.zoom.by(1 / 1.5), fit: () => this.zoom.fit() };
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", zooms[button.dataset.zoom]);
    }
    at("undo").addEventListener("click", () => this.undo());
    at("help").addEventListener("click", () => at("keys").showModal());
    addEventListener("resize", () => this.zoom.show());
    document.addEventListener("keydown", (event) => this.pressed(event, zooms));
  }

  pressed(event, zooms) {
    if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open) return;
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const acts = {
      "+": zooms.in, "=": zooms.in, "-": zooms.out, "−": zooms.out, f: zooms.fit,
      "?": () => at("keys").showModal(), u: () => event.repeat || this.undo(),
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const choice = [...document.querySelectorAll("[data-key]")].find((button) => button.dataset.key === key);
    if (choice) {
      if (!event.repeat) this.answer(choice.dataset.choice);
    } else if (acts[key]) {
      acts[key]();
    } else if (moves[key] && this.zoom.scale > 1) {
      this.zoom.move(...moves[key]);
    } else {
      return;
    }
    event.preventDefault();
  }

  answer(choice) {
    if (this.busy || !this.task?.item) return;
    this.go(() => ask(`/api/${this.kind}/answer`, { reader: this.reader, key: this.task.item.key, choice }));
  }

  undo() {
    if (this.busy || !this.task?.last) return;
    this.go(() => ask(`/api/${this.kind}/undo`, { reader: this.reader, key: this.task.last.key }));
  }

  // Nothing can be answered until the image that it would be about is on the screen.
  async go(request) {
    this.busy = true;
    document.body.setAttribute("aria-busy", "true");
    at("problem").hidden = true;
    try {
      await this.show(await request());
    } catch (problem) {
      at("problem").textContent = problem.message ?? String(problem);
      at("problem").hidden = false;
      if (problem.task) await this.show(problem.task).catch(() => {});
    }
    document.body.removeAttribute("aria-busy");
    this.busy = false;
    document.body.dataset.shown = this.task?.item?.key ?? "";
  }

  async show(task) {
    this.task = task;
    const left = task.total - task.done;
    at("bar").max = Math.max(1, task.total);
    at("bar").value = task.done;
    at("standing").textContent = `${task.done} of ${task.total} done`
      + (task.seconds_left !== null && left ? `, about ${duration(task.seconds_left)} left` : "");
    this.showLast(task.last);
    const open = task.item !== null;
    at("finished").hidden = open;
    for (const part of [document.querySelector(".viewer"), at("choices"), at("question")]) part.hidden = !open;
    document.body.classList.toggle("done", !open);
    if (open) return this.showItem(task.item, task.done + 1, task.total);
    at("beside").hidden = true;
    at("guess-now").hidden = true;
    at("image").removeAttribute("src");
    at("finished-words").textContent = task.total
      ? `You have answered all ${task.total}. Undo still works. \`hardcase run\` goes on with your answers.`
      : "Nothing waits for an answer here.";
  }

  async showItem(item, number, total) {
    if (this.kind === "judge") {
      at("question").textContent = `Made as ${item.shows}${item.nature ? ` (${item.nature})` : ""}. Could it be a real photograph?`;
    }
    at("facts").textContent = item.facts.join(" · ");
    at("guess-now").hidden = item.guess.length === 0;
    at("guess-list").replaceChildren(...lines(item.guess));
    at("neighbours").replaceChildren(...item.beside.map(neighbour));
    at("beside").hidden = item.beside.length === 0;
    this.zoom.fit();
    const image = at("image");
    image.classList.remove("coarse");
    at("loading").hidden = false;
    image.alt = `Image ${number} of ${total}`;
    image.src = `/picture/${item.key}`;
    try {
      await image.decode();
    } catch {
      image.removeAttribute("src");
      throw { message: "The image cannot be shown. Load the page again; your answers are on the disk." };
    } finally {
      at("loading").hidden = true;
    }
    image.classList.toggle("coarse", image.naturalWidth <= 256);
    image.classList.toggle("tall", image.naturalHeight > image.naturalWidth);
  }

  showLast(last) {
    at("last").hidden = last === null;
    if (last === null) return;
    at("last-said").textContent = `Your last answer: ${last.said}`;
    at("last-guess-title").hidden = last.guess.length === 0;
    at("last-guess").replaceChildren(...lines(last.guess));
    at("last-image").src = `/picture/${last.key}/small`;
  }
}

function neighbour(beside) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  const caption = document.createElement("span");
  image.src = `/picture/${beside.picture}/small`;
  image.alt = "";
  caption.textContent = beside.caption;
  item.append(image, caption);
  if (beside.nature) {
    const nature = document.createElement("em");
    nature.textContent = beside.nature;
    item.append(nature);
  }
  return item;
}

if (at("reader-form")) readerForm(at("reader-form"));
if (at("work")) new Work(at("work"));
