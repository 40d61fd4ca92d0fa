// Parts of a page with data-refresh="<seconds>" are fetched again that often and swapped, as long as they are seen; and
// at once when the server tells of a change.

const main = document.getElementById("main");

// Fetch the page and swap the parts with these ids. False when the page cannot be had, e.g. after a logout.
export async function swap(ids) {
  let text;
  try {
    const response = await fetch(main.dataset.source, { headers: { Accept: "text/html" } });
    if (!response.ok || response.redirected) return false;
    text = await response.text();
  } catch {
    return true;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const said = [];
  for (const id of ids) {
    const old = document.getElementById(id);
    const part = fresh.getElementById(id);
    if (!old || !part || essence(old) === essence(part)) continue;
    if (part.dataset.say && part.dataset.say !== old.dataset.say) said.push(part.dataset.say);
    replace(old, part);
  }
  // Together: of what is said one after the other a screen reader may tell the last alone.
  if (said.length) document.getElementById("announcer").textContent = said.join("; ");
  return true;
}

// A part without its times, which scripts keep anyway: a swap would only disturb a reader's selection.
function essence(part) {
  const copy = part.cloneNode(true);
  for (const node of copy.querySelectorAll("time, .took")) {
    node.removeAttribute("title");
    node.textContent = "";
  }
  return copy.outerHTML;
}

function replace(old, part) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  old.replaceWith(part);
  if (focused) again(part, focused)?.focus();
  document.dispatchEvent(new Event("swapped"));
}

// What had the focus, in the new part: by its id, or by where its link leads.
function again(part, focused) {
  if (focused.id) return part.querySelector(`#${CSS.escape(focused.id)}`);
  const href = focused.getAttribute("href");
  return href && part.querySelector(`[href="${CSS.escape(href)}"]`);
}

const parts = () => [...document.querySelectorAll("[data-refresh]")];
const LIVE_S = 5;
let timer = 0;
let stream = null;
let isAsking = false;
let isNews = false;

async function round() {
  clearTimeout(timer);
  isNews = true;
  if (isAsking) return;
  isAsking = true;
  let goesOn = true;
  // One question at a time, so that an older answer never takes the place of a newer one.
  while (isNews && goesOn) {
    isNews = false;
    goesOn = document.hidden || (await swap(parts().map((part) => part.id)));
  }
  isAsking = false;
  if (goesOn) wait();
  else hush();
}

function wait() {
  clearTimeout(timer);
  const seconds = parts().map((part) => Number(part.dataset.refresh));
  if (!seconds.length) return;
  // What the stream tells of is fetched at once; the rest (a commit's message, say) has time.
  const least = stream?.readyState === EventSource.OPEN ? LIVE_S : 0;
  timer = setTimeout(round, Math.max(least, Math.min(...seconds)) * 1000);
}

// Only a page that is seen listens: a browser has but six connections to a server over HTTP/1.1.
function listen() {
  if (stream || document.hidden || !main.dataset.changes || !parts().length) return;
  stream = new EventSource(`/changes/stream?seen=${encodeURIComponent(main.dataset.changes)}`);
  stream.onmessage = (event) => {
    main.dataset.changes = JSON.parse(event.data).seen;
    round();
  };
  // An answer that is no stream (too many viewers) ends the browser's own tries: the page goes on asking as before.
  stream.onerror = () => stream?.readyState === EventSource.CLOSED && hush();
}

function hush() {
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
addEventListener("pagehide", hush);
addEventListener("pageshow", listen);
wait();
