// Adding a connection: what is pasted is recognised, and the next times are shown, as one types.

import { ask, at } from "./ask.js";
import { tell } from "./times.js";

const TYPING_MS = 220;
const form = document.querySelector("[data-adding]");
const turns = {};

export function begin() {
  if (document.getElementById("found")) {
    form.elements.url.addEventListener("input", () => later("found", recognise));
  }
  for (const name of ["frequency", "timezone", "often"]) {
    for (const field of form.querySelectorAll(`[name="${name}"]`)) {
      field.addEventListener("input", () => later("times", times));
    }
  }
  form.addEventListener("change", (change) => {
    if (change.target.name === "system" && change.target.type === "radio") recognise();
    fields();
  });
  document.addEventListener("filled", kept);
  document.addEventListener("click", (click) => {
    if (click.target.closest("[data-my-zone]")) zone();
  });
  if (form.elements.timezone && form.dataset.fresh) zone();
  fields();
}

function later(what, run) {
  clearTimeout(turns[what]);
  turns[what] = setTimeout(run, TYPING_MS);
}

async function part(path, names, id) {
  const given = new URLSearchParams();
  for (const name of names) {
    const field = form.elements[name];
    if (field?.value) given.set(name, field.value);
  }
  const answer = await ask(at(`${path}?${given}`));
  if (!answer.ok) return;
  const place = document.getElementById(id);
  const html = await answer.text();
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus();
  tell(place);
  fields();
}

function recognise() {
  const chosen = form.querySelector("[name=system]:checked");
  return part("ui/recognise", chosen?.dataset.chosen ? ["url", "system"] : ["url"], "found").then(credentials);
}

// The credentials that fit the system.
let shownFor = null;

function credentials() {
  const system = form.querySelector("[name=system]:checked")?.value ?? "";
  if (system === shownFor) return;
  shownFor = system;
  return part("ui/credentials", ["system"], "credential-part");
}

function times() {
  return part("ui/times", ["frequency", "timezone", "often"], "times");
}

// Only what belongs to the choice is there to be filled in.
function fields() {
  const credential = form.elements.credential?.value;
  const kind = form.elements.kind?.value;
  for (const name of ["credential", "project", "which"]) {
    for (const block of form.querySelectorAll(`[data-of-${name}]`)) {
      block.hidden = block.getAttribute(`data-of-${name}`) !== form.elements[name]?.value;
    }
  }
  for (const block of form.querySelectorAll("[data-of-kind]")) {
    block.hidden = credential !== "new" || !block.dataset.ofKind.split(" ").includes(kind);
    for (const field of block.querySelectorAll("input")) field.disabled = block.hidden;
  }
  const often = form.querySelector("[name=often]");
  const other = document.getElementById("other-frequency");
  if (often && other) other.hidden = often.value !== "other";
}

// A new credential that works is one to choose from now on.
function kept() {
  const told = document.querySelector("[data-kept]");
  const choice = form.elements.credential;
  if (told && choice && ![...choice.options].some((one) => one.value === told.dataset.kept)) {
    choice.prepend(new Option(told.dataset.keptName, told.dataset.kept));
    choice.value = told.dataset.kept;
  }
  fields();
}

function zone() {
  const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!mine) return;
  form.elements.timezone.value = mine;
  times();
}
