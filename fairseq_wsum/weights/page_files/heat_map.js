// A heat map that is read by mouse, touch and keyboard.

const MOST_PIXELS = 2 ** 24; // of a canvas: phones draw nothing in a larger one

const darkByDefault = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (darkByDefault.matches ? "dark" : "light")) === "dark";

/** 256 colours of evenly spaced lightness, from one near the background to its opposite. */
function palette() {
  return range(256).map((n) => {
    const x = n / 255;
    const lightness = isDark() ? 0.29 + 0.66 * x : 0.955 - 0.675 * x;
    const hue = isDark() ? 270 - 170 * x : 100 + 170 * x;
    const chroma = 0.005 + 0.115 * Math.sin(Math.PI * (0.03 + 0.82 * x));
    return `oklch(${lightness.toFixed(4)} ${chroma.toFixed(4)} ${hue.toFixed(1)})`;
  });
}

let colours = palette();
let power = 1; // the colour of a value x is that of (x / largest) ^ power

/** The place of a value on the colour scale, from 0 to 1. */
const level = (value, largest) => clamp(Math.abs(value) / (largest || 1), 0, 1) ** power;

function showTheme() {
  colours = palette();
  byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
  render();
}

const [SMALLEST, LARGEST] = [16, 34]; // pixels of a cell
let mapCount = 0;

/**
 * A heat map in a figure. `show` takes rows and columns (labels), `sheets` (each with `at(row,
 * column)`, which is NaN where there is no value, and `upper`, its half of a cell on the diagonal
 * that two sheets share), largest, negative, label, and `describe(row, column)`.
 */
function createMap(figure, onWord) {
  const box = figure.querySelector(".map");
  const readout = figure.querySelector(".readout");
  const parts = {};
  for (const name of ["corner", "columns", "rows", "cells"]) {
    parts[name] = box.appendChild(element("div", { class: name }));
  }
  const canvas = parts.cells.appendChild(element("canvas"));
  const bands = {};
  for (const name of ["marked-row", "marked-column", "row-band", "column-band", "cursor"]) {
    bands[name] = parts.cells.appendChild(element("div", { class: name, hidden: "" }));
  }
  readout.id = `readout-${++mapCount}`;
  box.setAttribute("aria-describedby", readout.id);
  let content = null;
  let cursor = null;
  let pointed = false; // whether the word at the cursor is the one that is marked
  let marked = { row: null, column: null };
  let size = SMALLEST;

  function layout() {
    if (!content || !box.clientWidth) return;
    const free = box.clientWidth - parts.rows.offsetWidth - 2;
    const [wide, high] = [free / content.columns.length, (0.52 * innerHeight) / content.rows.length];
    // where not even the smallest cells fit in height, the map scrolls, and uses its width
    const fitting = high < SMALLEST ? wide : Math.min(wide, high);
    size = clamp(Math.floor(fitting), SMALLEST, content.rows.length > 30 ? 20 : LARGEST);
    box.style.setProperty("--cell", `${size}px`);
    box.style.scrollPadding = `${parts.columns.offsetHeight + 6}px 6px 6px ${parts.rows.offsetWidth + 6}px`;
    paint();
    place();
    const over = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    box.classList.toggle("scrolls", over);
  }

  function paint() {
    const [width, height] = [content.columns.length * size, content.rows.length * size];
    const scale = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (width * height)));
    canvas.width = Math.floor(width * scale);
    canvas.height = Math.floor(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    for (const sheet of content.sheets) {
      content.rows.forEach((_, row) => content.columns.forEach((_, column) => {
        const value = sheet.at(row, column);
        if (Number.isNaN(value)) return;
        const half = content.sheets.length > 1 && row === column;
        paintCell(context, column * size, row * size, value, half ? sheet.upper : null);
      }));
    }
  }

  function paintCell(context, x, y, value, upper) {
    const side = size - 1;
    const shade = level(value, content.largest);
    context.fillStyle = colours[Math.round(255 * shade)];
    if (upper === null) {
      context.fillRect(x, y, side, side);
    } else {
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(...(upper ? [x + side, y] : [x, y + side]));
      context.lineTo(x + side, y + side);
      context.fill();
    }
    if (value < 0) { // a minus sign, as the colour is that of the absolute value
      context.fillStyle = shade > 0.5 === isDark() ? "#000" : "#fff";
      context.fillRect(x + side / 2 - 3, y + side / 2 - 0.75, 6, 1.5);
    }
  }

  /** Show a band at a row, a column or both, and its class on their labels; hide it without both. */
  function band(name, row, column, labelClass) {
    bands[name].hidden = row === null && column === null;
    Object.assign(bands[name].style, {
      top: row === null ? 0 : `${row * size}px`,
      left: column === null ? 0 : `${column * size}px`,
      height: row === null ? "100%" : `${size - 1}px`,
      width: column === null ? "100%" : `${size - 1}px`,
    });
    if (labelClass && row !== null) parts.rows.children[row].classList.add(labelClass);
    if (labelClass && column !== null) parts.columns.children[column].classList.add(labelClass);
  }

  /** Put the cursor, its bands and the marks where they belong. */
  function place() {
    for (const label of box.querySelectorAll(".at, .marked")) label.classList.remove("at", "marked");
    const { row, column } = cursor ?? { row: null, column: null };
    band("marked-row", marked.row, null, "marked");
    band("marked-column", null, marked.column, "marked");
    band("row-band", row, null, "at");
    band("column-band", null, column, "at");
    band("cursor", row, column);
  }

  function move(row, column, scroll) {
    row = clamp(row, 0, content.rows.length - 1);
    column = clamp(column, 0, content.columns.length - 1);
    if (pointed && cursor && cursor.row === row && cursor.column === column) return;
    cursor = { row, column };
    pointed = true;
    place();
    readout.textContent = content.describe(row, column);
    onWord(content.wordAt(row, column), false);
    if (scroll) bands.cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Mark the word of a label, or none, in place of that of the cursor. */
  function markLabel(word) {
    pointed = false;
    onWord(word, true);
  }

  function pointAt(event) {
    const cells = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - cells.top) / size);
    const column = Math.floor((event.clientX - cells.left) / size);
    move(row, column, false);
  }

  parts.cells.addEventListener("pointermove", (event) => event.pointerType !== "touch" && pointAt(event));
  parts.cells.addEventListener("click", pointAt);
  for (const side of ["rows", "columns"]) {
    parts[side].addEventListener("pointerover", (event) => {
      const index = [...parts[side].children].indexOf(event.target);
      if (index >= 0) markLabel(content.wordOf(side, index));
    });
  }
  box.addEventListener("pointerleave", () => markLabel(null));
  box.addEventListener("focus", () => cursor || (box.matches(":focus-visible") && move(0, 0, true)));
  box.addEventListener("keydown", (event) => {
    const { row, column } = cursor ?? { row: 0, column: 0 };
    const to = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, content.columns.length - 1],
    }[event.key];
    if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(...to, true);
  });
  new ResizeObserver(layout).observe(box);

  return {
    show(next) {
      const other = !content || content.rows.join("\n") !== next.rows.join("\n") || content.columns.join("\n") !== next.columns.join("\n");
      content = next;
      if (other) {
        cursor = null;
        marked = { row: null, column: null };
        for (const side of ["rows", "columns"]) {
          parts[side].replaceChildren(...next[side].map((word) => element("span", { title: word, dir: "auto" }, word)));
        }
        box.scrollTo(0, 0);
      }
      box.setAttribute("aria-label", next.label);
      readout.textContent = cursor
        ? next.describe(cursor.row, cursor.column)
        : "Point at a cell, tap it, or use the arrow keys to read its value.";
      showLegend(figure.querySelector(".legend"), next);
      figure.style.setProperty("--want", `${110 + 20 * next.columns.length}px`);
      layout();
    },
    /** Mark a row and a column, or none where null. */
    mark(row, column) {
      marked = { row, column };
      place();
    },
  };
}

function showLegend(box, { largest, negative }) {
  const bar = element("span", { class: "bar" });
  bar.style.background = `linear-gradient(to right, ${colours.filter((_, n) => n % 15 === 0).join(", ")})`;
  const ticks = [0, largest * 0.5 ** (1 / power), largest].map((x) => element("span", {}, number(x)));
  box.replaceChildren(bar, element("span", { class: "ticks" }, ...ticks));
  box.title = negative ? "Absolute value; − marks negative weights" : "";
  if (negative) box.append(element("span", { class: "sign" }, "− negative"));
}
