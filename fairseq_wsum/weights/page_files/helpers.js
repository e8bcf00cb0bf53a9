// Small helpers.

const byId = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const range = (n) => Array.from({ length: n }, (_, k) => k);
/** A word that leaves the direction of the text around it as it is, even if read from right to left. */
const isolate = (word) => `\u2068${word}\u2069`;
const quote = (word) => `“${isolate(word)}”`;
function percent(x) {
  if (x > 0 && x < 0.001) return "< 0.1%";
  return `${(100 * x).toFixed(x && Math.abs(x) < 0.01 ? 1 : 0)}%`;
}

function number(x) {
  if (x === 0) return "0";
  return Math.abs(x) < 0.001 ? x.toExponential(1).replace("-", "−") : x.toPrecision(3).replace("-", "−");
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Fill a select with [value, text] pairs. */
function setOptions(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
}
