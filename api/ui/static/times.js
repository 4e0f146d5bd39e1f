// Times in words that stay true, in the same words as the server's.

export function tellTimes() {
  setInterval(() => tell(document), 1000);
  tell(document);
}

export function tell(within) {
  const now = Date.now();
  for (const time of within.querySelectorAll("time[data-relative]")) {
    const moment = Date.parse(time.dateTime);
    set(time, relative((moment - now) / 1000));
    if (!time.dataset.told) {
      time.dataset.told = "yes";
      time.title = `${new Date(moment).toLocaleString()} (${time.title})`;
    }
  }
  for (const time of within.querySelectorAll("time[data-lasting]")) {
    set(time, span(Math.max(0, (now - Date.parse(time.dateTime)) / 1000)));
  }
  for (const time of within.querySelectorAll("time[data-clock]")) {
    set(time, new Date(time.dateTime).toLocaleTimeString("en-GB"));
  }
}

function set(time, text) {
  if (time.textContent !== text) time.textContent = text;
}

function relative(seconds) {
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

function span(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 2 * 86400) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} days`;
}
