// One line of events to the server, that comes back by itself where it was.

const RETRY_MS = 2000;

export class Line {
  // `tell` gets {kind: "events", events: [[position, event], ...]}, "open", "lost", or "out" (signed out).
  constructor(url, session, position, tell) {
    this.url = url;
    this.session = session;
    this.position = position;
    this.tell = tell;
    this.gathered = [];
    this.open();
  }

  open() {
    this.source = new EventSource(`${this.url}?after=${this.position}`);
    this.source.onopen = () => this.tell({ kind: "open" });
    this.source.onmessage = (message) => this.gather(Number(message.lastEventId), JSON.parse(message.data));
    this.source.onerror = () => this.failed();
  }

  // What comes in one go is told in one go.
  gather(position, event) {
    if (position <= this.position) return;
    this.position = position;
    this.gathered.push([position, event]);
    if (this.gathered.length === 1) {
      queueMicrotask(() => setTimeout(() => this.tell({ kind: "events", events: this.gathered.splice(0) })));
    }
  }

  async failed() {
    this.tell({ kind: "lost" });
    // The browser itself comes back after a line that broke, not after an answer that is no line of events.
    if (this.source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => this.open(), RETRY_MS);
    const answer = await fetch(this.session, { headers: { "X-Page-Script": "yes" } }).catch(() => null);
    if (answer?.status === 401) this.tell({ kind: "out" });
  }

  close() {
    this.source.close();
  }
}
