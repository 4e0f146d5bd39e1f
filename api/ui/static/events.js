// Events for a page, from the position that it was made at: none is missed, none comes twice.

import { at } from "./ask.js";
import { Line } from "./line.js";

const PATIENCE_MS = 1500;

// `onEvents` gets the events of one go; `onGap` is called where some may be missing for good.
export function follow(onEvents, onGap) {
  let position = Number(document.body.dataset.position);
  const shown = document.querySelector("[data-line]");
  let lost;

  function tell(message) {
    if (message.kind === "events") {
      const news = message.events.filter(([place]) => place > position);
      if (!news.length) return;
      position = news.at(-1)[0];
      document.body.dataset.position = position;
      onEvents(news.map(([place, event]) => ({ ...event, position: place, connection: connectionOf(event) })));
    } else if (message.kind === "out") {
      location.reload();
    } else if (message.kind === "gap") {
      onGap();
    } else if (message.kind === "open") {
      clearTimeout(lost);
      lost = undefined;
      shown.hidden = true;
      document.body.dataset.line = "open";
    } else if (lost === undefined) {
      document.body.dataset.line = "lost";
      lost = setTimeout(() => {
        shown.textContent = "Reconnecting …";
        shown.hidden = false;
      }, PATIENCE_MS);
    }
  }

  const url = at("ui/events");
  const session = at("ui/session");
  try {
    const file = new URL("./events-worker.js", import.meta.url);
    const name = `tidegate ${document.body.dataset.token}`;
    const worker = new SharedWorker(file, { type: "module", name });
    worker.port.onmessage = ({ data }) => tell(data);
    worker.port.postMessage({ kind: "join", url, session, position });
    addEventListener("pagehide", () => worker.port.postMessage({ kind: "leave" }));
  } catch {
    // Not every browser has workers that pages share.
    const line = new Line(url, session, position, tell);
    addEventListener("pagehide", () => line.close());
  }
}

function connectionOf(event) {
  const [, kind, id] = event.source.split("/");
  return kind === "connections" ? Number(id) : 0;
}
