// Buttons with data-copy="<id>" copy that element's text.

function show(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    // Without TLS there is no clipboard: the text is selected, so that a key press copies it.
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copy(document.getElementById(button.dataset.copy));
  const text = button.querySelector("[data-copy-text]");
  text.textContent = done ? "Copied" : "Selected";
  document.getElementById("announcer").textContent = text.textContent;
  setTimeout(() => {
    text.textContent = "Copy";
  }, 2000);
});

show(document);
document.addEventListener("swapped", () => show(document));
