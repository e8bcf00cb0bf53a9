// The page: what the reader chose, the panels that show it, and the address that keeps it.

function describeWeight({ labels, parts, unit }, row, column) {
  const [word, after] = [quote(labels[row]), quote(labels[column])];
  const size = labels.length;
  const both = parts.length > 1;
  const found = parts.filter(({ w }) => !Number.isNaN(w[column * size + row]));
  if (!found.length) return `${word} is read after ${after}, so it has no weight there.`;
  const name = (part) => (both || part.reverse ? ` (${directionName(part.reverse)})` : "");
  const value = (part) => part.w[column * size + row];
  const shares = found.map((part) => percent(part.shares[column]) + (found.length > 1 ? name(part) : ""));
  const zero = found.every(({ startsAtZero }) => startsAtZero) ? ", which is zero" : "";
  const initial = `Left of the initial state${zero}: ${shares.join(", ")}${unit ? "" : " on average over the units"}.`;
  if (row === column) {
    const each = found.map((part) => number(value(part)) + name(part)).join(", ");
    return `First weight of ${word}, in the memory after itself: ${each}. ${initial}`;
  }
  const [part] = found;
  const first = part.w[row * size + row];
  const share = first ? ` (${percent(value(part) / first)} of its first weight)` : "";
  return `Weight of ${word} in the memory after ${after}${name(part)}: ${number(value(part))}${share}. ${initial}`;
}

function weightsContent(found, panel, largest) {
  const size = found.labels.length;
  const model = data.models[panel.model];
  const { side, layer } = model.layers[panel.layer];
  const what = found.unit ? `unit ${found.unit.unit}, ${directionName(found.unit.reverse)}` : "all units";
  const order = found.parts.length > 1 ? ", forward above the diagonal and backward below" : "";
  return {
    rows: found.labels,
    columns: found.labels,
    sheets: found.parts.map(({ w, reverse }) => ({ at: (row, column) => w[column * size + row], upper: !reverse })),
    largest,
    negative: found.negative,
    caption: `${model.name}, ${side} ${layer}, ${what}${order}`,
    label: `Weights in ${side} ${layer} of ${model.name}, ${what}${order}`,
    describe: (row, column) => describeWeight(found, row, column),
    wordAt: (row) => row,
    wordOf: (_, index) => index,
  };
}

function attentionContent({ rows, columns, a, largest }) {
  const at = (row, column) => a[row * columns.length + column];
  return {
    rows,
    columns,
    sheets: [{ at, upper: null }],
    largest,
    negative: false,
    label: "Attention weights, target words by source words",
    describe: (row, column) =>
      `Attention to ${quote(columns[column])} for ${quote(rows[row])}: ${percent(at(row, column))}.`,
    wordAt: (_, column) => column,
    wordOf: (side, index) => (side === "columns" ? index : null),
  };
}

function createPanel(index) {
  const root = byId("panel").content.cloneNode(true).firstElementChild;
  const select = (name) => root.querySelector(`.controls .${name} select`);
  const figures = { weights: root.querySelector(".weights"), attention: root.querySelector(".attention") };
  let linked = false; // whether the words of both maps are those of the source

  /** Mark a source word in the other map, and in the same one if the pointer is at its label. */
  const marker = (from) => (word, atLabel) => {
    if (!linked) return;
    const here = (name) => (name !== from || atLabel ? word : null);
    maps.weights.mark(here("weights"), here("weights"));
    maps.attention.mark(null, here("attention"));
  };
  const maps = {};
  for (const name of ["weights", "attention"]) maps[name] = createMap(figures[name], marker(name));
  const change = (part) => {
    Object.assign(state.panels[index], part);
    render();
  };
  const showTable = createTable(root, (unit) => change({ unit }));
  for (const name of ["model", "layer", "direction", "unit"]) {
    const read = ["model", "layer"].includes(name) ? Number : String;
    select(name).addEventListener("change", (event) => change({ [name]: read(event.target.value) }));
  }

  function showControls(panel) {
    const model = data.models[panel.model];
    const directions = model.sentences[0].views[panel.layer].directions;
    setOptions(select("model"), data.models.map(({ name }, n) => [n, name]), panel.model);
    setOptions(select("layer"), model.layers.map(({ side, layer }, n) => [n, `${side} ${layer}`]), panel.layer);
    const names = directions.map((direction) => [letter(direction), directionName(direction.reverse)]);
    setOptions(select("direction"), [["both", "both"], ...names], panel.direction);
    const unitNames = unitsOf(panel).map(({ key, unit, reverse }) => [key, `unit ${unit}, ${directionName(reverse)}`]);
    setOptions(select("unit"), [["", "all: L2 norm"], ...unitNames], panel.unit);
    select("model").parentElement.hidden = data.models.length < 2;
    select("direction").parentElement.hidden = directions.length < 2;
    const { side, layer, directions: parts } = model.layers[panel.layer];
    root.setAttribute("aria-label", `${model.name}, ${side} ${layer}`);
    root.querySelector(".table h2").textContent = `Units of ${side} ${layer}`;
    root.querySelector(".table h2").append(
      element("small", {}, ` ${parts[0].units.length} of ${parts[0].of}${directions.length > 1 ? " in each direction" : ""}`));
  }

  return {
    root,
    show(panel, found, largest) {
      showControls(panel);
      const content = weightsContent(found, panel, largest);
      figures.weights.querySelector("figcaption").textContent = content.caption;
      // beside the encoder, or beside the decoder if no layer of the encoder has weights
      const shown = found.isSource || !data.models[panel.model].layers.some(({ side }) => side === "encoder");
      const attention = shown ? attentionOf(panel, state) : null;
      figures.attention.hidden = !attention;
      linked = Boolean(attention) && found.isSource;
      maps.weights.show(content);
      if (attention) maps.attention.show(attentionContent(attention));
      showTable(panel);
      showDetail(root.querySelector(".detail"), found.unit, () => {
        change({ unit: "" });
        root.querySelector(".scroll").focus();
      });
    },
  };
}

const other = data.models.length > 1 ? { model: 1, layer: 0 } : { model: 0, layer: Math.min(1, data.models[0].layers.length - 1) };
const CHECKS = ["join", "small", "compare", "shared"];
const state = {
  sentence: 0,
  join: false,
  small: false,
  compare: false,
  shared: true,
  panels: [{ model: 0, layer: 0, direction: "both", unit: "" }, { ...other, direction: "both", unit: "" }],
};

/** Replace what the data does not have by what it has. */
function repair(panel) {
  const valid = (x, count) => (Number.isInteger(x) ? clamp(x, 0, count - 1) : 0);
  panel.model = valid(panel.model, data.models.length);
  const model = data.models[panel.model];
  panel.layer = valid(panel.layer, model.layers.length);
  const letters = model.sentences[0].views[panel.layer].directions.map(letter);
  if (letters.length < 2 || !letters.includes(panel.direction)) panel.direction = "both";
  if (!findUnit(panel)) panel.unit = "";
}

function writeAddress() {
  const panels = state.panels.slice(0, state.compare ? 2 : 1);
  const parts = new URLSearchParams({ sentence: state.sentence + 1 });
  if (state.join) parts.set("join", 1);
  if (state.small) parts.set("small", 1);
  if (state.compare) parts.set("shared", Number(state.shared));
  panels.forEach(({ model, layer, direction, unit }, n) =>
    parts.set("ab"[n], [model + 1, layer + 1, direction, unit || "all"].join(".")));
  const hash = `#${parts}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  state.sentence = clamp((parseInt(parts.get("sentence"), 10) || 1) - 1, 0, data.sentences.length - 1);
  state.join = hasSubwords && parts.get("join") === "1";
  state.small = parts.get("small") === "1";
  state.compare = parts.has("b");
  state.shared = parts.get("shared") !== "0";
  ["a", "b"].forEach((name, n) => {
    if (!parts.has(name)) return;
    const [model, layer, direction, unit] = parts.get(name).split(".");
    state.panels[n] = { model: model - 1, layer: layer - 1, direction, unit: unit === "all" ? "" : unit };
  });
}

const panels = [createPanel(0), createPanel(1)];

function render() {
  state.panels.forEach(repair);
  power = state.small ? 0.5 : 1;
  const shown = state.panels.slice(0, state.compare ? 2 : 1);
  const found = shown.map((panel) => weightsOf(panel, state));
  const largest = Math.max(...found.map((one) => one.largest));
  byId("sentence").value = state.sentence;
  for (const name of CHECKS) byId(name).checked = state[name];
  byId("shared-label").hidden = !state.compare;
  byId("previous").disabled = state.sentence === 0;
  byId("next").disabled = state.sentence === data.sentences.length - 1;
  byId("text").textContent = data.sentences[state.sentence];
  byId("panels").classList.toggle("two", state.compare);
  panels[1].root.hidden = !state.compare;
  shown.forEach((panel, n) => panels[n].show(panel, found[n], state.shared ? largest : found[n].largest));
  writeAddress();
}

function goTo(sentence) {
  state.sentence = clamp(sentence, 0, data.sentences.length - 1);
  render();
}

function start() {
  const names = data.models.map(({ name, arch, cells }) => {
    const each = Object.entries(cells).map(([side, cell]) => `${side} ${cell}`).join(", ");
    return `${name} (${arch}: ${each})`;
  });
  byId("models").textContent = names.join(" · ");
  setOptions(byId("sentence"), data.sentences.map((text, n) => [n, `${n + 1}. ${text}`]), 0);
  byId("join-label").hidden = !hasSubwords;
  byId("panels").append(...panels.map(({ root }) => root));
  byId("sentence").addEventListener("change", (event) => goTo(+event.target.value));
  byId("previous").addEventListener("click", () => goTo(state.sentence - 1));
  byId("next").addEventListener("click", () => goTo(state.sentence + 1));
  for (const name of CHECKS) {
    byId(name).addEventListener("change", (event) => {
      state[name] = event.target.checked;
      render();
    });
  }
  byId("theme").addEventListener("click", toggleTheme);
  darkByDefault.addEventListener("change", () => {
    showTheme();
    render();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    if (event.key === "p") goTo(state.sentence - 1);
    if (event.key === "n") goTo(state.sentence + 1);
  });
  window.addEventListener("hashchange", () => {
    readAddress();
    render();
  });
  readAddress();
  showTheme();
  render();
}

start();
