// Shared by all pages that a browser has open, so that they need one line of events, and not one each: a
// browser has no more than six to a server.

import { Line } from "./line.js";

const KEPT = 2000;
const ports = new Set();
let line = null;
let began = 0;
let kept = [];
let state = { kind: "lost" };

onconnect = (connect) => {
  const port = connect.ports[0];
  port.onmessage = ({ data }) => (data.kind === "join" ? join(port, data) : leave(port));
};

function join(port, { url, session, position }) {
  ports.add(port);
  if (line === null) {
    began = position;
    kept = [];
    line = new Line(url, session, position, tell);
    return;
  }
  port.postMessage(state);
  const first = kept.length && kept.length >= KEPT ? kept[0][0] - 1 : began;
  if (position < first) return port.postMessage({ kind: "gap" });
  const missed = kept.filter(([at]) => at > position);
  if (missed.length) port.postMessage({ kind: "events", events: missed });
}

function leave(port) {
  ports.delete(port);
  if (ports.size || line === null) return;
  line.close();
  line = null;
}

function tell(message) {
  if (message.kind === "events") kept = kept.concat(message.events).slice(-KEPT);
  else state = message;
  for (const port of ports) port.postMessage(message);
}
