// Requests to this server, as a script of one of its pages.

export async function ask(path, options = {}) {
  const headers = { "X-Page-Script": "yes", "X-Page-Token": document.body.dataset.token, ...options.headers };
  const answer = await fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  // The session is over: the page leads to the sign-in, and back here from there.
  if (answer.status === 401) location.reload();
  return answer;
}

export function at(path) {
  return new URL(document.body.dataset.root + path, location.href).href;
}

let hiding;

export function toast(text) {
  const place = document.querySelector("[data-toast]");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => place.classList.remove("shown"), 6000);
}
