"use strict";
// Fetches the page's content again and again. Only sections that changed are exchanged, so scrolling and focus stay.
const EVERY = 3000;

async function refresh() {
  const fresh = document.getElementById("fresh");
  try {
    const response = await fetch("/watch/live", { signal: AbortSignal.timeout(20000) });
    if (!response.ok) throw new Error(String(response.status));
    const next = document.createElement("template");
    next.innerHTML = await response.text();
    for (const section of next.content.querySelectorAll("section[id]")) {
      const old = document.getElementById(section.id);
      if (old.innerHTML === section.innerHTML) continue;
      const scrolled = [...old.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
      old.innerHTML = section.innerHTML;
      [...old.querySelectorAll(".scroll")].forEach((part, number) => { part.scrollLeft = scrolled[number] ?? 0; });
    }
    fresh.textContent = "";
  } catch {
    fresh.textContent = "The server does not answer; this is what it said last.";
  }
  setTimeout(refresh, EVERY);
}

setTimeout(refresh, EVERY);
