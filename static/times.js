// Times as the reader knows them: "3 min ago" with the local time as its title, and durations that tick while
// something runs. The server's clock counts, for its times are compared with it.

const serverAhead = Date.parse(document.documentElement.dataset.now) - Date.now();
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

// As deployer/clock.py says it: "40 ms", "1.4 s", "12 s", "3 min 5 s", "1 h 2 min".
export function duration(seconds) {
  if (seconds > 0 && seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

// As deployer/web/text.py says it.
function ago(seconds) {
  if (seconds < 45) return "just now";
  if (seconds < 90 * 60) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

const now = () => Date.now() + serverAhead;

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function tellAges() {
  for (const node of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(node.dateTime);
    write(node, ago((now() - at) / 1000));
    node.title = full.format(at);
  }
}

// Write how long what a node names has taken; running ones are written again every second.
export function tick(node) {
  const from = Date.parse(node.dataset.from);
  if (Number.isNaN(from)) return;
  const to = node.dataset.to ? Date.parse(node.dataset.to) : now();
  const seconds = Math.max(0, (to - from) / 1000);
  write(node, duration(node.dataset.to ? seconds : Math.floor(seconds)));
}

function tickAll() {
  for (const node of document.querySelectorAll('[data-from][data-to=""]')) tick(node);
}

tellAges();
tickAll();
setInterval(tickAll, 1000);
setInterval(tellAges, 15000);
document.addEventListener("swapped", () => {
  tellAges();
  tickAll();
});
