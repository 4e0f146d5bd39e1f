// What every page does; what only one does is in a module of its own, loaded where it is needed.

import { ask, at, toast } from "./ask.js";
import { tellTimes } from "./times.js";

const VIEWS = {
  overview: () => import("./overview.js"),
  live: () => import("./live.js"),
  adding: () => import("./adding.js"),
};

document.documentElement.classList.add("scripted");
tellTimes();
VIEWS[document.body.dataset.view]?.().then((view) => view.begin(), again);

// The server went away while the page was loading: it is loaded again once the server is back.
async function again(error) {
  console.warn(error);
  while (!(await fetch(at("ui/session"), { headers: { "X-Page-Script": "yes" } }).catch(() => null))) {
    await new Promise((done) => setTimeout(done, 2000));
  }
  location.reload();
}

// Values to copy.
document.addEventListener("click", async (click) => {
  const button = click.target.closest("[data-copy]");
  if (!button) return;
  await copied(button.dataset.copy);
  const word = button.querySelector("span");
  word.textContent = "Copied";
  setTimeout(() => (word.textContent = "Copy"), 1500);
});

async function copied(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Without https there is only the old way.
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "sr";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

// Nothing is sent twice by an impatient second click; forms that show what comes back do so in place.
document.addEventListener("submit", async (submit) => {
  const form = submit.target;
  const button = submit.submitter;
  const place = button?.dataset.into ?? form.dataset.into;
  if (form.dataset.busy) return submit.preventDefault();
  form.dataset.busy = "yes";
  button?.setAttribute("aria-busy", "true");
  if (!place) return;
  submit.preventDefault();
  try {
    await inPlace(form, button, document.getElementById(place));
  } finally {
    delete form.dataset.busy;
    button?.removeAttribute("aria-busy");
  }
});

async function inPlace(form, button, place) {
  const body = new URLSearchParams(new FormData(form));
  const answer = await ask(button?.formAction && button.hasAttribute("formaction") ? button.formAction : form.action, {
    method: "POST",
    body,
  });
  if (!answer.ok) return toast((await answer.json().catch(() => ({}))).detail ?? "That did not work; try again.");
  place.innerHTML = await answer.text();
  place.dispatchEvent(new CustomEvent("filled", { bubbles: true }));
}

// A page that comes out of the browser's memory may be old, and its forms are not busy.
addEventListener("pageshow", (show) => {
  if (show.persisted) location.reload();
});

// Of tabs that do not all fit, the present one is in sight.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// The menu closes like one.
const who = document.querySelector(".who");
document.addEventListener("click", (click) => {
  if (who?.open && !who.contains(click.target)) who.open = false;
});
document.addEventListener("keydown", (key) => {
  if (key.key === "Escape" && who?.open) {
    who.open = false;
    who.querySelector("summary").focus();
  }
  const typing = key.target.closest?.("input, select, textarea");
  if (key.key === "/" && !typing && !key.ctrlKey && !key.metaKey) {
    const search = document.querySelector("input[type=search]");
    if (search) {
      key.preventDefault();
      search.focus();
    }
  }
});
