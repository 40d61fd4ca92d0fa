// The check of a repository in its place. Without this module the same buttons do it by way of the server.

const list = document.getElementById("steps");
const form = list.closest("form");
const announcer = document.getElementById("announcer");

form.addEventListener("click", async (event) => {
  const button = event.target.closest('button[value="check"], button[value="suggested"]');
  if (!button || form.dataset.asked) return;
  event.preventDefault();
  form.dataset.asked = "yes";
  button.setAttribute("aria-busy", "true");
  const fresh = await ask(button.value);
  button.removeAttribute("aria-busy");
  // Without an answer that is this form, the browser shows what there is instead.
  if (!fresh) return form.requestSubmit(button);
  delete form.dataset.asked;
  show[button.value](fresh);
});

// The form as the server answers it, as a document; null where it does not.
async function ask(action) {
  const entered = new URLSearchParams(new FormData(form));
  entered.set("action", action);
  try {
    const response = await fetch(location.pathname, { method: "POST", body: entered });
    if (response.redirected || (!response.ok && response.status !== 400)) return null;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    return fresh.getElementById("suggestion") && fresh;
  } catch {
    return null;
  }
}

function swap(fresh, ...ids) {
  for (const id of ids) document.getElementById(id).replaceWith(fresh.getElementById(id));
}

const show = {
  check(fresh) {
    swap(fresh, "at-repository", "seen", "at-branch", "suggestion");
    const said = document.querySelector("#seen .said") ?? document.getElementById("repository_url-error");
    announcer.textContent = said?.innerText ?? "";
  },
  suggested(fresh) {
    swap(fresh, "suggestion");
    list.replaceChildren(...fresh.getElementById("steps").children);
    list.querySelector("textarea").focus();
    announcer.textContent = `${list.children.length} steps`;
  },
};
