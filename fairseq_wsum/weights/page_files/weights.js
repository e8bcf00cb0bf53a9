// The data of the page, and the weights, attention and units that follow from it.

const data = JSON.parse(document.getElementById("data").textContent);
const hasSubwords = data.models.some((model) =>
  model.sentences.some(({ texts }) => texts.some((text) => text.tokens.length !== text.words.length)));

/** Numbers of 32 bits in base64. */
const decode = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

/** The norms over all units, as a square at [t * size + j] with NaN where j is read after t. */
function allUnits(direction, size) {
  const values = decode(direction.norms);
  const w = new Float64Array(size * size).fill(NaN);
  let next = 0;
  for (let t = 0; t < size; t++) {
    const [from, to] = direction.reverse ? [t, size] : [0, t + 1];
    for (let j = from; j < to; j++) w[t * size + j] = values[next++];
  }
  return { w, shares: decode(direction.shares) };
}

/** The weights of one unit: w^t_j = i_j * f_{j+1} * ... * f_t, and s_t = f_1 * ... * f_t. */
function oneUnit(direction, k, count, size) {
  const [i, f] = [decode(direction.i), decode(direction.f)];
  const w = new Float64Array(size * size).fill(NaN);
  const shares = new Float64Array(size);
  const steps = direction.reverse ? range(size).reverse() : range(size);
  steps.forEach((t, n) => {
    const forget = f[t * count + k];
    for (const j of steps.slice(0, n)) w[t * size + j] = w[steps[n - 1] * size + j] * forget;
    w[t * size + t] = i[t * count + k];
    shares[t] = (n ? shares[steps[n - 1]] : 1) * forget;
  });
  return { w, shares };
}

/** The weights of words: roots of the sums of squares, in the memory after a word's last token. */
function joinWords({ w, shares }, { words, wordOf }, reverse) {
  const [size, count] = [wordOf.length, words.length];
  const after = range(count).map((word) => (reverse ? wordOf.indexOf(word) : wordOf.lastIndexOf(word)));
  const joined = new Float64Array(count * count).fill(NaN);
  after.forEach((t, column) => {
    for (let j = 0; j < size; j++) {
      const value = Math.abs(w[t * size + j]);
      const at = column * count + wordOf[j];
      if (Number.isNaN(value)) continue;
      joined[at] = Number.isNaN(joined[at]) ? value : Math.hypot(joined[at], value);
    }
  });
  return { w: joined, shares: after.map((t) => shares[t]) };
}

const labelsOf = (text, join) => (join ? text.words : text.tokens);

/** What a panel shows of a sentence: its words, and the weights of one or both directions. */
function weightsOf(panel, { sentence: number, join }) {
  const model = data.models[panel.model];
  const sentence = model.sentences[number];
  const view = sentence.views[panel.layer];
  const layer = model.layers[panel.layer];
  const text = sentence.texts[view.text];
  const size = text.tokens.length;
  const unit = findUnit(panel);
  const parts = [];
  view.directions.forEach((direction, d) => {
    if (unit ? unit.direction !== d : !["both", letter(direction)].includes(panel.direction)) return;
    let part = unit ? oneUnit(direction, unit.k, layer.directions[d].units.length, size) : allUnits(direction, size);
    if (join) part = joinWords(part, text, direction.reverse);
    parts.push({ ...part, reverse: direction.reverse, startsAtZero: direction.startsAtZero });
  });
  const values = parts.flatMap(({ w }) => [...w]).filter((x) => !Number.isNaN(x));
  const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const isSource = layer.side === "encoder" && view.text === sentence.source;
  return { labels: labelsOf(text, join), parts, largest, unit, isSource, negative: values.some((x) => x < 0) };
}

/** The attention, with rows of target words and columns of source words, or null. */
function attentionOf(panel, { sentence: number, join }) {
  const sentence = data.models[panel.model].sentences[number];
  if (!sentence.attention) return null;
  const target = sentence.texts[sentence.target];
  const source = sentence.texts[sentence.source];
  const tokens = decode(sentence.attention);
  const [rows, columns] = [labelsOf(target, join), labelsOf(source, join)];
  const tokensOf = (text, word) => text.wordOf.filter((one) => one === word).length;
  const a = new Float64Array(rows.length * columns.length);
  tokens.forEach((value, n) => {
    let [r, c] = [Math.floor(n / source.tokens.length), n % source.tokens.length];
    if (join) {
      [r, c] = [target.wordOf[r], source.wordOf[c]];
      value /= tokensOf(target, r);
    }
    a[r * columns.length + c] += value;
  });
  return { rows, columns, a, largest: a.reduce((most, x) => Math.max(most, x), 0) };
}

const letter = (direction) => (direction.reverse ? "b" : "f");
const directionName = (reverse) => (reverse ? "backward" : "forward");

/** All units of a panel's layer and of the directions that it shows. */
function unitsOf(panel) {
  const model = data.models[panel.model];
  const views = model.sentences[0].views[panel.layer].directions;
  return model.layers[panel.layer].directions.flatMap(({ units }, direction) => {
    const { reverse } = views[direction];
    const key = letter(views[direction]);
    if (panel.direction !== "both" && panel.direction !== key) return [];
    return units.map((unit, k) => (
      { ...unit, k, direction, reverse, key: key + unit.unit, word: unit.most[0]?.[0] ?? "" }));
  });
}

const findUnit = (panel) => panel.unit && unitsOf(panel).find(({ key }) => key === panel.unit);
const halfLife = (unit) => (unit.life === null ? "∞" : unit.life < 0.1 ? "< 0.1" : unit.life.toFixed(1));
