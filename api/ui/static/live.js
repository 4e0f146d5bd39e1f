// Pages whose parts are made anew when something happens: each part with `data-live` and an id.

import { ask } from "./ask.js";
import { follow } from "./events.js";
import { tell } from "./times.js";

const EVERY_MS = 400;
let wanted = false;
let busy = false;
let doneAt = -EVERY_MS;

export function begin() {
  const of = Number(document.body.dataset.connection ?? 0);
  follow((events) => {
    if (!of || events.some((event) => event.connection === of)) refresh();
  }, refresh);
  const seconds = Number(document.body.dataset.every ?? 0);
  if (seconds) setInterval(() => !document.hidden && refresh(), seconds * 1000);
}

function refresh() {
  wanted = true;
  if (busy) return;
  busy = true;
  setTimeout(run, Math.max(0, doneAt + EVERY_MS - performance.now()));
}

async function run() {
  wanted = false;
  try {
    const answer = await ask(location.href);
    if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The server is away; the line of events says so, and tells of the rest once it is back.
  }
  doneAt = performance.now();
  busy = false;
  if (wanted) refresh();
}

function put(page) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (!fresh || fresh.innerHTML === part.dataset.was) continue;
    const html = fresh.innerHTML;
    // What somebody has opened, or is at, stays so.
    const open = [...part.querySelectorAll("details[id][open]")].map((one) => one.id);
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    if (part.contains(document.activeElement) && !focused) continue;
    part.innerHTML = html;
    part.dataset.was = html;
    for (const id of open) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus();
    tell(part);
  }
  document.title = page.title;
}
