// The step list in place: add, remove, move; also by drawing a step at its handle. Without this module the same buttons
// do it by way of the server.

const list = document.getElementById("steps");
const form = list.closest("form");
const announcer = document.getElementById("announcer");

const rows = () => [...list.children];
const commandOf = (row) => row.querySelector("textarea");
const buttonOf = (row, verb) => row.querySelector(`button[value^="${verb}:"]`);

function number() {
  const all = rows();
  all.forEach((row, index) => {
    for (const node of row.querySelectorAll(".step-number")) node.textContent = index + 1;
    for (const button of row.querySelectorAll("button")) {
      button.value = `${button.value.split(":")[0]}:${index}`;
    }
    buttonOf(row, "up").disabled = index === 0;
    buttonOf(row, "down").disabled = index === all.length - 1;
  });
}

function emptied(row) {
  for (const field of row.querySelectorAll("textarea, input")) {
    field.value = "";
    field.removeAttribute("aria-invalid");
  }
  commandOf(row).rows = 1;
  row.querySelector("details").open = false;
  return row;
}

const act = {
  add() {
    const row = emptied(list.lastElementChild.cloneNode(true));
    list.append(row);
    number();
    commandOf(row).focus();
    return `Step ${rows().length} added`;
  },
  remove(index) {
    const row = rows()[index];
    if (rows().length === 1) {
      commandOf(emptied(row)).focus();
      return "Step 1 emptied";
    }
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    number();
    buttonOf(next, "remove").focus();
    return `Step ${index + 1} removed`;
  },
  up: (index) => move(index, index - 1, "up"),
  down: (index) => move(index, index + 1, "down"),
};

function move(from, to, verb) {
  const row = rows()[from];
  const other = rows()[to];
  if (!other) return "";
  // The other one moves, so that the focus stays where it is.
  if (to < from) row.after(other);
  else row.before(other);
  number();
  const button = buttonOf(row, verb);
  (button.disabled ? buttonOf(row, verb === "up" ? "down" : "up") : button).focus();
  return `Step ${from + 1} is now step ${to + 1}`;
}

form.addEventListener("click", (event) => {
  const button = event.target.closest('button[name="action"]');
  const [verb, index] = button?.value.split(":") ?? [];
  if (!act[verb]) return;
  event.preventDefault();
  announcer.textContent = act[verb](Number(index));
});

// Alt with an arrow moves the step that one types in.
list.addEventListener("keydown", (event) => {
  const verb = event.altKey && { ArrowUp: "up", ArrowDown: "down" }[event.key];
  const row = verb && event.target.closest(".step");
  if (!row) return;
  event.preventDefault();
  const field = event.target;
  announcer.textContent = act[verb](rows().indexOf(row));
  field.focus();
});

// A step follows the pointer (mouse, pen or finger), and the others make room while it passes them.
const EDGE_PX = 56;
list.classList.add("movable");
list.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle || event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  draw(handle.closest(".step"), handle, event);
});

const middle = (row) => row.getBoundingClientRect().top + row.offsetHeight / 2;

function draw(row, handle, { pointerId, clientY }) {
  const from = rows().indexOf(row);
  const grip = clientY - row.getBoundingClientRect().top;
  const listening = new AbortController();
  let y = clientY;
  let frame = 0;

  // The others move around it: a row that is taken out of the document would lose the pointer.
  function place() {
    const top = y - grip;
    const before = () => row.previousElementSibling;
    const after = () => row.nextElementSibling;
    row.style.transform = "";
    while (before() && top < middle(before())) row.after(before());
    while (after() && top + row.offsetHeight > middle(after())) row.before(after());
    row.style.transform = `translateY(${top - row.getBoundingClientRect().top}px)`;
  }

  // Near the window's edge the page goes along.
  function follow() {
    const beyond = Math.min(y - EDGE_PX, 0) || Math.max(y + EDGE_PX - innerHeight, 0);
    if (beyond) {
      scrollBy(0, beyond / 4);
      place();
    }
    frame = requestAnimationFrame(follow);
  }

  function end(isMeant) {
    listening.abort();
    cancelAnimationFrame(frame);
    row.style.transform = "";
    row.classList.remove("drawn");
    while (!isMeant && rows().indexOf(row) > from) row.after(row.previousElementSibling);
    while (!isMeant && rows().indexOf(row) < from) row.before(row.nextElementSibling);
    number();
    const to = rows().indexOf(row);
    if (to !== from) announcer.textContent = `Step ${from + 1} is now step ${to + 1}`;
  }

  const on = (target, name, act) => target.addEventListener(name, act, { signal: listening.signal });
  on(handle, "pointermove", (event) => {
    y = event.clientY;
    place();
  });
  on(handle, "pointerup", () => end(true));
  on(handle, "pointercancel", () => end(false));
  on(document, "keydown", (event) => event.key === "Escape" && end(false));
  handle.setPointerCapture(pointerId);
  row.classList.add("drawn");
  frame = requestAnimationFrame(follow);
}
