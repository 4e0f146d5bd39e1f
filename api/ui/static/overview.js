// The overview: filters as one types, more rows as one scrolls, and rows that follow what happens.

import { ask, at } from "./ask.js";
import { follow } from "./events.js";
import { tell } from "./times.js";

const TYPING_MS = 180;
// Rows are asked for at once, then no oftener than this.
const EVERY_MS = 120;
const AT_ONCE = 60;
const ENDED = ["succeeded", "partial", "failed", "cancelled"];

const filters = document.querySelector("[data-filters]");
const list = document.getElementById("rows");
const more = document.getElementById("more");
const dirty = new Map(); // id -> whether its place may be another
let flushing = false;
let flushedAt = 0;
let typing;
let asked = 0;

export function begin() {
  if (!list) return follow(() => location.reload(), () => location.reload());
  follow(onEvents, () => show());
  filters.addEventListener("input", (input) => {
    clearTimeout(typing);
    typing = setTimeout(show, input.target.type === "search" ? TYPING_MS : 0);
  });
  filters.addEventListener("submit", (submit) => {
    submit.preventDefault();
    delete filters.dataset.busy;
    show();
  });
  more.querySelector("a").addEventListener("click", (click) => {
    click.preventDefault();
    next();
  });
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && next(), {
    rootMargin: "800px",
  }).observe(more);
  list.addEventListener("pointerleave", flush);
  count();
}

function query() {
  const given = new URLSearchParams(new FormData(filters));
  const plain = { q: "", show: "all", system: "", project: "", group: "none", sort: "attention" };
  for (const [name, value] of [...given]) if (plain[name] === value) given.delete(name);
  return given;
}

function rowOf(id) {
  return list.querySelector(`.row[data-id="${id}"]`);
}

// What is asked for, made anew.
async function show() {
  const mine = ++asked;
  const given = query();
  const path = given.size ? `?${given}` : location.pathname;
  const answer = await ask(path, { headers: {} });
  if (!answer.ok || mine !== asked) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== asked) return;
  history.replaceState(null, "", path);
  list.replaceChildren(...page.getElementById("rows").childNodes);
  list.dataset.groupBy = page.getElementById("rows").dataset.groupBy;
  document.title = page.title;
  summarise(page.getElementById("summary").innerHTML);
  list.parentElement.setAttribute("aria-rowcount", page.querySelector("[aria-rowcount]").getAttribute("aria-rowcount"));
  for (const id of ["none", "more"]) document.getElementById(id).hidden = page.getElementById(id).hidden;
  more.querySelector("a").dataset.page = page.querySelector("#more a").dataset.page;
  tell(list);
  count();
}

let loading = false;

async function next() {
  if (loading || more.hidden) return;
  loading = true;
  try {
    const link = more.querySelector("a");
    const given = query();
    given.set("page", link.dataset.page);
    const last = list.querySelector(".row:last-child");
    if (last) given.set("last_group", last.dataset.group);
    const mine = asked;
    const answer = await ask(`?${given}`);
    if (!answer.ok || mine !== asked) return;
    const made = document.createElement("template");
    made.innerHTML = await answer.text();
    const rows = made.content.querySelectorAll(".row");
    for (const row of rows) if (rowOf(row.dataset.id)) row.remove();
    list.append(made.content);
    link.dataset.page = Number(link.dataset.page) + 1;
    const total = Number(list.parentElement.getAttribute("aria-rowcount")) - 1;
    more.hidden = rows.length === 0 || list.querySelectorAll(".row").length >= total;
    tell(list);
    count();
  } finally {
    loading = false;
    // Still in sight: the observer says nothing about what does not change.
    if (!more.hidden && more.getBoundingClientRect().top < innerHeight + 800) next();
  }
}

function onEvents(events) {
  const byTime = filters.elements.sort.value;
  for (const event of events) {
    if (!event.connection) continue;
    const health = event.type === "io.tidegate.connection_status";
    const moved = health || (byTime !== "attention" && byTime !== "name" && ENDED.includes(event.data.state));
    const shown = rowOf(event.connection) !== null;
    if (!shown && !health && event.data.state !== "queued") continue;
    dirty.set(event.connection, dirty.get(event.connection) || moved || !shown);
  }
  flush();
}

// Records that were not counted yet when the page was made.
function count() {
  const unknown = [...list.querySelectorAll(".row[data-uncounted]")];
  for (const row of unknown) {
    row.removeAttribute("data-uncounted");
    dirty.set(Number(row.dataset.id), dirty.get(Number(row.dataset.id)) || false);
  }
  if (unknown.length) setTimeout(flush, 200);
}

function flush() {
  if (flushing || !dirty.size) return;
  flushing = true;
  setTimeout(fetchRows, Math.max(0, flushedAt + EVERY_MS - performance.now()));
}

async function fetchRows() {
  flushedAt = performance.now();
  // Nothing is moved from under the pointer, or from where the keyboard is.
  const held = list.matches(":hover") || (list.contains(document.activeElement) && document.activeElement !== list);
  const some = [...dirty].slice(0, AT_ONCE);
  for (const [id] of some) dirty.delete(id);
  const given = query();
  given.set("ids", some.map(([id]) => id).join(","));
  given.set("moved", some.filter(([, moved]) => moved).map(([id]) => id).join(","));
  const mine = asked;
  try {
    const answer = await ask(at(`ui/rows?${given}`));
    if (!answer.ok || mine !== asked) return;
    const told = await answer.json();
    for (const row of told.rows) place(row, held);
    for (const id of told.gone) if (!held) remove(rowOf(id));
    if (told.summary) summarise(told.summary);
    document.getElementById("none").hidden = list.querySelector(".row") !== null;
  } catch {
    // The line of events tells of what is missed now once the server is back.
    for (const [id, moved] of some) dirty.set(id, dirty.get(id) || moved);
  } finally {
    flushing = false;
    if (dirty.size) setTimeout(flush, EVERY_MS);
  }
}

function place(told, held) {
  const made = document.createElement("template");
  made.innerHTML = told.html;
  const row = made.content.querySelector(".row");
  const old = rowOf(told.id);
  tell(made.content);
  if (old) keepFocus(old, row);
  if (!("after" in told) || (held && old)) return;
  const before = told.after === null ? null : rowOf(told.after);
  const mine = old ? row : row;
  if (told.after !== null && before === null) return old && remove(mine); // behind what is shown so far
  if (old && row.previousElementSibling === before && told.after !== null) return;
  insert(mine, before, told.group);
}

// The new row in the place of the old one, with the focus where it was.
function keepFocus(old, row) {
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  if (old.className !== row.className) row.classList.add("fresh");
  old.replaceWith(row);
  if (focused) row.querySelector(`a[href="${focused}"]`)?.focus();
}

function insert(row, before, group) {
  const left = row.isConnected ? row.previousElementSibling : null;
  let anchor = before;
  if (list.dataset.groupBy !== "none" && before?.dataset.group !== group) {
    anchor = [...list.querySelectorAll(".row-group")].find((head) => head.dataset.group === group) ?? null;
    if (anchor === null) return show();
  }
  if (anchor) anchor.after(row);
  else list.prepend(row);
  dropEmpty(left);
}

function remove(row) {
  if (!row) return;
  const left = row.previousElementSibling;
  row.remove();
  dropEmpty(left);
}

// A heading with nothing below it.
function dropEmpty(head) {
  if (head?.matches(".row-group") && !head.nextElementSibling?.matches(".row")) head.remove();
}

// The counts, without taking the focus away.
function summarise(html) {
  const place = document.getElementById("summary");
  const made = document.createElement("template");
  made.innerHTML = html;
  const values = (within) => [...within.querySelectorAll("input")].map((one) => one.value).join();
  if (values(place) === values(made.content)) {
    const numbers = made.content.querySelectorAll(".chip b");
    place.querySelectorAll(".chip b").forEach((one, i) => (one.textContent = numbers[i].textContent));
    place.querySelectorAll(".chip").forEach((one, i) => (one.className = made.content.querySelectorAll(".chip")[i].className));
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.value : null;
  place.replaceChildren(made.content);
  if (focused) place.querySelector(`input[value="${focused}"]`)?.focus();
}
