// The test mail in place. Without this module the same button does it by way of a page.

const form = document.getElementById("test-mail");
const said = document.getElementById("test-said");
const button = form.querySelector("button");

function show(text, isWell) {
  const box = document.createElement("div");
  box.className = `box ${isWell ? "success" : "danger"}`;
  const words = document.createElement("p");
  words.className = "said";
  words.textContent = text;
  box.append(words);
  said.replaceChildren(box);
}

async function send() {
  try {
    const response = await fetch(form.dataset.api, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: "{}",
    });
    const answer = await response.json();
    show(answer.success ? answer.message : answer.error, answer.success);
  } catch {
    show("Deployer did not answer. Try again in a moment.", false);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.hasAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  said.replaceChildren();
  await send();
  button.removeAttribute("aria-busy");
});
