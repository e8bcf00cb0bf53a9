// The table of units, and what is known of one unit.

function createTable(root, pick) {
  const body = root.querySelector("tbody");
  const headers = [...root.querySelectorAll("th")];
  let sort = { key: "life", ascending: false };
  let units = [];
  let shown = "";
  let chosen = "";

  const value = (unit, key) => (key === "life" ? (unit.life ?? Infinity) : unit[key]);

  function fill() {
    const sign = sort.ascending ? 1 : -1;
    const sorted = [...units].sort((a, b) => {
      const [x, y] = [value(a, sort.key), value(b, sort.key)];
      return sign * (typeof x === "string" ? x.localeCompare(y) : x === y ? 0 : x < y ? -1 : 1);
    });
    body.replaceChildren(...sorted.map(row));
    for (const header of headers) {
      const mine = header.dataset.key === sort.key;
      header.setAttribute("aria-sort", mine ? (sort.ascending ? "ascending" : "descending") : "none");
    }
    select();
  }

  function row(unit) {
    const button = element("button", { type: "button", "aria-label": `Show unit ${unit.unit}, ${directionName(unit.reverse)}` }, `${unit.unit}`);
    const cells = [directionName(unit.reverse), halfLife(unit), unit.forget.toFixed(2), unit.input.toFixed(2)];
    const words = unit.most.slice(0, 3).map(([word]) => isolate(word)).join(" · ");
    const made = element("tr", { "data-unit": unit.key },
      element("td", {}, button),
      ...cells.map((text, n) => element("td", n ? { class: "number" } : {}, text)),
      element("td", { class: "words" }, words));
    made.addEventListener("click", () => pick(unit.key));
    return made;
  }

  function select() {
    for (const one of body.rows) {
      const mine = one.dataset.unit === chosen;
      one.classList.toggle("chosen", mine);
      one.querySelector("button").setAttribute("aria-pressed", mine);
    }
  }

  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => {
      const { key } = header.dataset;
      const numeric = ["life", "forget", "input"].includes(key);
      sort = { key, ascending: sort.key === key ? !sort.ascending : !numeric };
      fill();
    });
  }
  return (panel) => {
    const key = [panel.model, panel.layer, panel.direction].join();
    chosen = panel.unit;
    if (key === shown) return select();
    shown = key;
    units = unitsOf(panel);
    fill();
  };
}

function histogram(bins) {
  const most = Math.max(...bins, 1);
  const total = bins.reduce((sum, n) => sum + n, 0) || 1;
  const range = (k) => [k, k + 1].map((edge) => (edge / bins.length).toFixed(2));
  const bars = bins.map((count, k) => {
    const title = `${range(k).join(" to ")}: ${count} of ${total} steps`;
    const bar = element("span", { title });
    bar.style.height = `${(100 * count) / most}%`;
    return bar;
  });
  const peak = bins.indexOf(Math.max(...bins));
  const label = `Histogram of the forget gate; the fullest of ${bins.length} bins, ${range(peak).join(" to ")}, has ${bins[peak]} of ${total} steps`;
  return element("div", {},
    element("div", { class: "histogram", role: "img", "aria-label": label }, ...bars),
    element("div", { class: "ticks" }, ...["0", "0.5", "1"].map((text) => element("span", {}, text))));
}

function wordList(title, words, unit) {
  const items = words.map(([word, mean]) => {
    const bar = element("span", { class: "amount", "aria-hidden": "true" });
    bar.style.setProperty("--part", clamp(mean, 0, 1));
    return element("li", {}, element("span", { class: "word", title: word, dir: "auto" }, word), bar, element("span", { class: "number" }, mean.toFixed(2)));
  });
  return element("div", {}, element("h4", {}, title), element("ol", { "aria-label": `${title}, unit ${unit.unit}` }, ...items));
}

function showDetail(box, unit, showAll) {
  if (!unit) {
    box.replaceChildren(element("p", { class: "hint" },
      "Choose a unit in the table to see its weights, the histogram of its forget gate, and the words for which its input gate opens."));
    return;
  }
  const button = element("button", { type: "button" }, "Show all units");
  button.addEventListener("click", showAll);
  box.replaceChildren(
    element("div", { class: "head" }, element("h3", {}, `Unit ${unit.unit}, ${directionName(unit.reverse)}`), button),
    element("p", {}, `Half-life ${halfLife(unit)} steps. Mean forget gate ${unit.forget.toFixed(2)}, mean input gate ${unit.input.toFixed(2)}.`),
    element("h4", {}, "Forget gate over all sentences"),
    histogram(unit.bins),
    element("div", { class: "lists" },
      wordList("Opens most for", unit.most, unit), wordList("Opens least for", unit.least, unit)));
}
