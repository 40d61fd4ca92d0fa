// A deployment's page: logs show their end, and while it is queued or runs, new lines, statuses and durations as
// they come.
// The frames are described in deployer/api/streams.py.

import { Screen } from "./ansi.js";
import { swap } from "./refresh.js";
import { duration, tick } from "./times.js";

const list = document.getElementById("commands");
const note = document.getElementById("live");
const announcer = document.getElementById("announcer");
const template = document.getElementById("command");
const SHOWN_CHARACTERS = 2_000_000;
const RETRY_MS = 5000;
const page = document.getElementById("main").dataset.source;

let last = Number(list.dataset.lastSeq);
let present = list.dataset.present;
// The entry whose command runs.
let current = null;

// One command's entry in the list. Its log follows its end (`follows`) until the reader scrolls away from there, and
// so does the page while the end is seen (`isWatched`).
class Entry {
  constructor(node) {
    this.node = node;
    this.details = node.querySelector("details");
    this.log = node.querySelector(".log");
    this.jump = node.querySelector("[data-jump]");
    this.took = node.querySelector(".took");
    this.screen = new Screen(this.log);
    this.follows = true;
    this.isWatched = this.isInView;
    this.isDirty = false;
    if (this.isRunning) current = this;
    this.log.addEventListener("scroll", () => this.look(), { passive: true });
    this.details.addEventListener("toggle", () => this.follows && this.follow());
    this.jump.addEventListener("click", () => {
      this.follows = this.isWatched = true;
      this.follow();
      this.log.focus({ preventScroll: true });
    });
    this.follow();
  }

  get isRunning() {
    return this.node.dataset.status === "running";
  }

  get isInView() {
    return this.log.getBoundingClientRect().bottom < innerHeight + 24;
  }

  static make(command) {
    const node = template.content.firstElementChild.cloneNode(true);
    node.dataset.command = command.id;
    node.querySelector(".command-name").textContent = command.name;
    const which = command.attempt > 1 ? `, try ${command.attempt}` : "";
    node.querySelector(".log").setAttribute("aria-label", `Output of ${command.name}${which}`);
    const line = node.querySelector("[data-line]");
    if (command.cmd === command.name) line.remove();
    else line.textContent = command.cmd;
    node.dataset.position = command.position;
    node.dataset.attempt = command.attempt;
    list.querySelectorAll(".planned").forEach((planned) => planned.remove());
    // Another try stands before the steps that wait for it.
    list.insertBefore(node, [...list.children].find((other) => isBehind(other.dataset, command)) ?? null);
    return new Entry(node);
  }

  show(command) {
    const before = this.node.dataset.status;
    this.node.dataset.status = command.status;
    this.node.querySelector("[data-status-text]").textContent = command.status;
    this.node.querySelector("[data-exit]").textContent = command.exit_code ? `exit ${command.exit_code}` : "";
    this.node.querySelector("[data-note]").textContent = noteOn(command);
    const cause = this.node.querySelector("[data-cause]");
    cause.textContent = command.cause ?? "";
    cause.hidden = !command.cause;
    this.took.dataset.from = command.started_at ?? "";
    this.took.dataset.to = command.finished_at ?? "";
    tick(this.took);
    if (before !== command.status && this.isRunning) this.reveal();
    this.offerJump();
  }

  // A command that begins opens, and comes into view where the reader watches what happens.
  reveal() {
    this.details.open = true;
    this.isWatched = current?.isWatched ?? this.isInView;
    current = this;
    this.follow();
  }

  write(text) {
    this.screen.write(text);
    if (this.isDirty) return;
    this.isDirty = true;
    requestAnimationFrame(() => {
      this.isDirty = false;
      this.screen.trim(SHOWN_CHARACTERS);
      if (this.follows) this.follow();
      this.offerJump();
    });
  }

  follow() {
    this.log.scrollTop = this.log.scrollHeight;
    const below = this.log.getBoundingClientRect().bottom + 16 - innerHeight;
    if (this.isRunning && this.isWatched && below > 0) scrollBy(0, below);
    this.offerJump();
  }

  look() {
    this.follows = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 24;
    this.isWatched = this.isInView;
    this.offerJump();
  }

  offerJump() {
    this.jump.hidden = !this.isRunning || (this.follows && (this.isWatched || this.isInView));
  }
}

addEventListener("scroll", () => current?.look(), { passive: true });

function isBehind({ position, attempt }, command) {
  return position - command.position > 0 || (position - command.position === 0 && attempt - command.attempt > 0);
}

// As the server says it: which try it is where that is worth a word, or why it need not run.
function noteOn({ status, cause, attempt, tries }) {
  if (tries > 1 && (attempt > 1 || status === "failed")) return `try ${attempt} of ${tries}`;
  return status === "skipped" ? cause ?? "" : "";
}

const entries = new Map();
for (const node of list.querySelectorAll("[data-command]")) entries.set(node.dataset.command, new Entry(node));

function entry(command) {
  if (!entries.has(command.id)) entries.set(command.id, Entry.make(command));
  return entries.get(command.id);
}

const frames = {
  status({ deployment }) {
    document.title = `${deployment.ref} ${deployment.status} · ${list.dataset.project}`;
    if (deployment.status !== present) {
      present = deployment.status;
      announcer.textContent = `${deployment.ref} ${said(deployment)}`;
    }
    // What stands at the top of the page is the server's to say: status, cause, commit, what can be done now.
    swap(["about"]);
  },
  command({ command }) {
    entry(command).show(command);
  },
  log({ seq, command, text }) {
    last = seq;
    entries.get(command)?.write(text);
  },
  done() {
    source.close();
    note.textContent = "";
  },
};

function said({ status, started_at, finished_at, cause }) {
  if (cause) return `${status}: ${cause}`;
  if (!started_at || !finished_at) return status;
  return `${status} after ${duration((Date.parse(finished_at) - Date.parse(started_at)) / 1000)}`;
}

let source;

function open() {
  source = new EventSource(`${list.dataset.stream}?after=${last}`);
  source.onopen = () => {
    note.textContent = "Live";
    note.dataset.state = "live";
  };
  source.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    frames[frame.type]?.(frame);
  };
  source.onerror = () => {
    note.textContent = "Reconnecting…";
    note.dataset.state = "lost";
    // An answer that is no stream (too many viewers, a restart behind a proxy) ends the browser's own tries.
    if (source.readyState === EventSource.CLOSED) again();
  };
}

async function again() {
  const { status, redirected } = await fetch(page, { method: "HEAD" }).catch(() => ({ status: 0 }));
  if (redirected || status === 401) logIn();
  else if (status === 404) end("This deployment was removed");
  else setTimeout(open, RETRY_MS);
}

function logIn() {
  const link = document.createElement("a");
  link.href = `/login?next=${encodeURIComponent(page)}`;
  link.textContent = "Log in again";
  end(link, " to go on watching");
}

// There is nothing more to come.
function end(...words) {
  source.close();
  note.replaceChildren(...words);
}

if (template) {
  open();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
