// The step list in place: add, remove, move. Without this module the same buttons do it by way of the server.

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
