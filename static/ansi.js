// Log output as a terminal shows it, in text nodes and spans with the classes of deployer/web/ansi.py: colours are
// kept, every other control sequence is dropped, a carriage return begins its line anew.

const CONTROL =
  /\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]?|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]/g;
// A sequence whose end has not come yet.
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b\n]{0,4096}\x1b?)?$/;

const ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

// What SGR codes (ECMA-48, 8.3.117) have switched on so far.
class Style {
  constructor() {
    this.reset();
  }

  reset() {
    this.flags = new Set();
    this.foreground = this.background = null;
  }

  apply(codes) {
    const numbers = codes.split(/[;:]/).map((code) => (/^\d{1,3}$/.test(code) ? Number(code) : 0));
    for (let i = 0; i < numbers.length; i++) {
      const code = numbers[i];
      if ((code === 38 || code === 48) && i + 1 < numbers.length) {
        // 256 colours (5;n): the first 16 are ours. True colour (2;r;g;b) is shown plain.
        const isIndexed = numbers[i + 1] === 5;
        const colour = isIndexed && numbers[i + 2] < 16 ? numbers[i + 2] : null;
        this[code === 38 ? "foreground" : "background"] = colour;
        i += isIndexed ? 2 : 4;
      } else {
        this.applyOne(code);
      }
    }
  }

  applyOne(code) {
    if (code === 0) this.reset();
    else if (ON[code]) this.flags.add(ON[code]);
    else if (OFF[code]) OFF[code].forEach((flag) => this.flags.delete(flag));
    else if (code >= 30 && code <= 37) this.foreground = code - 30;
    else if (code >= 90 && code <= 97) this.foreground = code - 82;
    else if (code >= 40 && code <= 47) this.background = code - 40;
    else if (code >= 100 && code <= 107) this.background = code - 92;
    else if (code === 39) this.foreground = null;
    else if (code === 49) this.background = null;
  }

  classes() {
    const names = [...this.flags].sort();
    if (this.foreground !== null) names.push(`fg-${this.foreground}`);
    if (this.background !== null) names.push(`bg-${this.background}`);
    return names.join(" ");
  }
}

// Of a line that was begun anew again and again, as progress bars do, what is seen of it in the end.
function lastState(line) {
  let end = line.length;
  while (end && line[end - 1] === "\r") end--;
  const begin = end && line.lastIndexOf("\r", end - 1);
  return begin > 0 ? line.slice(begin) : line;
}

// Writes to the end of an element. What the server rendered there is its beginning.
export class Screen {
  constructor(element) {
    this.element = element;
    this.style = new Style();
    this.held = "";
    this.length = element.textContent.length;
    // A carriage return at the end is kept by the server: what follows it overwrites the line.
    this.isReturned = element.textContent.endsWith("\r");
    if (this.isReturned) this.cut(1);
  }

  write(text) {
    text = this.held + text;
    this.held = text.match(UNFINISHED)?.[0] ?? "";
    if (this.held) text = text.slice(0, -this.held.length);
    let position = 0;
    for (const match of text.matchAll(CONTROL)) {
      this.put(text.slice(position, match.index));
      position = match.index + match[0].length;
      if (match[1] !== undefined) this.style.apply(match[1]);
    }
    this.put(text.slice(position));
  }

  // Text with no control character but tabs, newlines and carriage returns.
  put(text) {
    if (text.includes("\r")) text = text.split("\n").map(lastState).join("\n");
    for (const piece of text.split(/(\r+)/)) {
      if (!piece) continue;
      if (piece[0] === "\r") {
        this.isReturned = true;
        continue;
      }
      if (this.isReturned && piece[0] !== "\n") this.clearLine();
      this.isReturned = false;
      this.append(piece);
    }
  }

  append(text) {
    const classes = this.style.classes();
    const last = this.element.lastChild;
    this.length += text.length;
    if (last && last.nodeType === Node.TEXT_NODE && !classes && last.length < 8192) last.appendData(text);
    else if (!classes) this.element.append(text);
    else if (last?.className === classes && last.firstChild.length < 8192) last.firstChild.appendData(text);
    else {
      const span = document.createElement("span");
      span.className = classes;
      span.append(text);
      this.element.append(span);
    }
  }

  // Remove what lies behind the last newline.
  clearLine() {
    for (let node = this.element.lastChild; node; node = this.element.lastChild) {
      const newline = node.textContent.lastIndexOf("\n");
      if (newline >= 0) {
        this.cut(node.textContent.length - newline - 1);
        return;
      }
      this.length -= node.textContent.length;
      node.remove();
    }
  }

  // Remove the last `count` characters, all of them in the last node.
  cut(count) {
    const node = this.element.lastChild;
    const text = node.nodeType === Node.TEXT_NODE ? node : node.firstChild;
    text.deleteData(text.length - count, count);
    this.length -= count;
  }

  // Let go of the oldest output, so that a flood does not fill the browser. The server keeps it.
  trim(limit) {
    if (this.length <= limit * 1.25) return;
    while (this.length > limit && this.element.childNodes.length > 1) {
      this.length -= this.element.firstChild.textContent.length;
      this.element.firstChild.remove();
    }
    this.element.prepend("[… earlier output is left out here; load the page again to see its beginning …]\n");
  }
}
