// What all pages draw with: elements from text, numbers with units, times in words.  Everything that a host says is text,
// never markup: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element.  `attributes` are ours; text of others goes into `children`, as text. */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
};

export const at = (id) => document.getElementById(id);

/** Keeps one child for each item, so that what a person opened or focused stays as it is while numbers change. */
export const sync = (parent, items, key, make, update) => {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const name = key(item);
    let child = old.get(name);
    if (!child) (child = make(item)).dataset.key = name;
    update(child, item);
    return child;
  });
  if (children.length !== parent.children.length || children.some((child, index) => parent.children[index] !== child)) parent.replaceChildren(...children);
};

/** Writes text only where it changed: a live region speaks of changes, not of looks. */
export const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const SYMBOLS = {
  count: "", permille: "permille", "mebibytes-per-second": "MiB/s", "operations-per-second": "operations/s", microseconds: "µs",
  celsius: "°C", megahertz: "MHz", watts: "W", rpm: "rpm", bytes: "bytes", gigaflops: "GFLOP/s",
};
const digits = new Intl.NumberFormat("en");

export const symbol = (unit) => SYMBOLS[unit] ?? unit;
/** A number without its unit.  Thousandths stay what they are: a rule and a reason name them so. */
export const bare = (value) => digits.format(value);
/** A number with its unit. */
export const number = (value, unit) => [bare(value), symbol(unit)].filter(Boolean).join(" ");

/** Seconds in words. */
export const span = (seconds) => {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes && rest ? `${minutes} min ${rest} s` : minutes ? `${minutes} min` : `${rest} s`;
};

/** A time as everybody writes it, in one zone. */
export const time = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 16).replace("T", " ") + " UTC";

const WORKS = {
  "cpu-compare": "known answers on every core", "memory-walk": "patterns through memory", "drive-read": "reads", "drive-sweep": "reads at rising depths",
  "drive-steady": "reads until steady", "drive-verify": "writes, read back", "drive-self-test": "its own self-test", "gpu-compare": "products compared",
  "gpu-memory": "patterns through GPU memory", "gpu-bandwidth": "copies", network: "full rate with a partner", board: "sensors and events",
};
export const work = (kind) => WORKS[kind] ?? kind;

export const middle = (sorted) => sorted[(sorted.length - 1) >> 1];

/** Asks the appliance.  `null` where it has no such thing (yet). */
export const ask = async (path) => {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(body.error ?? `the appliance answered ${answer.status}`);
  return body;
};

/** The host in this page's address: `/hosts/ID/burn-in`. */
export const host = () => decodeURIComponent(location.pathname.split("/")[2] ?? "");
export const hostPath = (id, rest) => `/hosts/${encodeURIComponent(id)}/${rest}`;

/** A table whose cells carry their column's name, for narrow screens.  A row that is a text heads those below it. */
export const table = (columns, rows, caption, folds = "stack") => {
  const head = el("tr", {}, ...columns.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)));
  const heading = (text) => el("tr", { class: "group" }, el("th", { scope: "rowgroup", colspan: columns.length }, text));
  const body = rows.map((cells) => typeof cells === "string" ? heading(cells) : el("tr", {}, ...cells.map((cell, index) => {
    const [name, kind] = columns[index];
    const plain = typeof cell === "string" || cell instanceof Node;
    return el("td", { class: [kind, plain ? "" : cell.mark].filter(Boolean).join(" ") || undefined, "data-name": name }, plain ? cell : cell.text);
  })));
  return el("table", { class: folds }, el("caption", { class: "sr" }, caption), el("thead", {}, head), el("tbody", {}, ...body));
};

/** Puts things that have the same key together, in the order of their first. */
export const gather = (things, key) => {
  const found = new Map();
  for (const thing of things) found.set(key(thing), [...(found.get(key(thing)) ?? []), thing]);
  return [...found.values()];
};
