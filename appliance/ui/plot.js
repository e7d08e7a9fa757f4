// Plots: curves over time with the range of all devices behind them, and strips of a fleet's values.  Own small drawings:
// labels are HTML, so that they keep their size; the same numbers stand in a table beside each plot.

import { bare, el, middle, number, span, svg, symbol } from "./draw.js";

const WIDTH = 300, HEIGHT = 64, BUCKETS = 100;

/** Scale of plots that are looked at side by side: rates from nothing, temperatures around what there is. */
export const scale = (all) => {
  const values = all.flatMap((series) => series.points.map(([, value]) => value));
  const [least, most] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), 0)];
  const seconds = all.flatMap((series) => series.points.map(([second]) => second)).reduce((a, b) => Math.max(a, b), 1);
  const around = all[0]?.unit === "celsius";
  const [low, high] = around ? [Math.floor(least / 10) * 10, Math.ceil((most + 1) / 10) * 10] : [0, nice(most)];
  return { low: Number.isFinite(low) ? low : 0, high: Math.max(high, 1), seconds };
};

/** The next number that is easy to read. */
const nice = (value) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return ([1, 1.5, 2, 3, 4, 5, 7.5, 10].find((step) => step * power >= value) ?? 10) * power;
};

const place = ({ low, high, seconds }) => [
  (second) => (second / seconds) * WIDTH,
  (value) => HEIGHT - 2 - ((value - low) / (high - low)) * (HEIGHT - 4),
];
const path = (points, scale) => {
  const [x, y] = place(scale);
  return points.map(([second, value], index) => `${index ? "L" : "M"}${x(second).toFixed(1)} ${y(value).toFixed(1)}`).join("");
};

/** Least and greatest of all series at each time. */
const band = (all, scale) => {
  const [x, y] = place(scale);
  const range = Array.from({ length: BUCKETS }, () => [Infinity, -Infinity]);
  for (const { points } of all) for (const [second, value] of points) {
    const one = range[Math.min(BUCKETS - 1, Math.floor((second / scale.seconds) * BUCKETS))];
    [one[0], one[1]] = [Math.min(one[0], value), Math.max(one[1], value)];
  }
  const seen = range.flatMap(([low, high], index) => low <= high ? [[((index + 0.5) / BUCKETS) * scale.seconds, low, high]] : []);
  if (seen.length < 2) return "";
  const edge = (which) => seen.map((one) => `${x(one[0]).toFixed(1)} ${y(one[which]).toFixed(1)}`);
  return `M${edge(2).join("L")}L${edge(1).reverse().join("L")}Z`;
};

/** What a plot shows, for who does not see it. */
const words = (all) => all.map((series) => {
  const sorted = series.points.map(([, value]) => value).sort((a, b) => a - b);
  if (!sorted.length) return `${series.name} of ${series.device}: no points`;
  const [least, mid, most] = [sorted[0], middle(sorted), sorted[sorted.length - 1]].map((value) => number(value, series.unit));
  return `${series.name} of ${series.device} over ${span(series.points[series.points.length - 1][0])}: from ${least} to ${most}, median ${mid}`;
});

/** One device's curve; `group` are all devices that are looked at beside it, itself among them. */
export const curve = (series, group, scale, bad) => {
  const lines = group.length > 1 ? [svg("path", { class: "band", d: band(group, scale) })] : [];
  lines.push(svg("path", { class: bad ? "curve bad" : series.unit === "celsius" ? "curve hot" : "curve", d: path(series.points, scale) }));
  return frame(series.name, series.unit, scale, lines, words([series])[0]);
};

/** All devices in one plot, for paper; those of `red` on top. */
export const curves = (name, note, group, scale, red) => {
  const kind = (device) => red.includes(device) ? " bad" : group[0].unit === "celsius" ? " hot" : "";
  const sorted = [...group].sort((a, b) => red.includes(a.device) - red.includes(b.device));
  const lines = sorted.map((series) => svg("path", { class: (group.length > 1 && !red.includes(series.device) ? "curve thin" : "curve") + kind(series.device), d: path(series.points, scale) }));
  return frame(name, group[0].unit, scale, lines, words(group).join("; "), note);
};

const frame = (name, unit, { low, high, seconds }, lines, label, note = "") => {
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...lines);
  const caption = (symbol(unit) ? `${name}, ${symbol(unit)}` : name) + note;
  return el("figure", { class: "plot" }, el("figcaption", {}, caption),
    el("div", { class: "y", "aria-hidden": "true" }, el("span", {}, bare(high)), el("span", {}, bare(low))), drawing,
    el("div", { class: "x", "aria-hidden": "true" }, el("span", {}, "0 s"), el("span", {}, span(seconds))));
};

/** A strip of dots, one for each device, with the median, the bound, and outliers by name. */
export const strip = (measure, here) => {
  const { min, max, median, unit, bound_permille: bound } = measure;
  const line = bound === undefined ? undefined : Math.round((median * bound) / 1000);
  const [low, high] = [Math.min(min, line ?? min), Math.max(max, median)];
  const x = (value) => high === low ? 50 : 3 + ((value - low) / (high - low)) * 94;
  // Equal ones stand on each other, as high as there is room.
  const stacked = new Map();
  for (const { value } of measure.values) stacked.set(Math.round(x(value)), [0, (stacked.get(Math.round(x(value)))?.[1] ?? 0) + 1]);
  const step = Math.min(6, 26 / Math.max(1, ...[...stacked.values()].map(([, count]) => count - 1)));
  const dots = measure.values.map((one) => {
    const pile = stacked.get(Math.round(x(one.value)));
    const [cx, cy] = [`${x(one.value)}%`, 37 - pile[0]++ * step];
    const dot = svg("circle", { cx, cy, r: one.outlier ? 5 : 4, class: [one.outlier ? "out" : "", here && one.host === here ? "here" : ""].join(" ").trim() || undefined });
    dot.append(svg("title", {}, `${one.device} in ${one.serial}: ${number(one.value, unit)}`));
    return dot;
  });
  const named = measure.values.filter((one) => one.outlier).slice(0, 2).map((one, index) =>
    svg("text", { x: `${x(one.value)}%`, y: 12 + index * 12, class: "out", "text-anchor": x(one.value) < 50 ? "start" : "end" }, one.device));
  const upright = (value, kind) => svg("line", { class: kind, x1: `${x(value)}%`, x2: `${x(value)}%`, y1: 8, y2: 42 });
  const outliers = measure.values.filter((one) => one.outlier).map((one) => `${one.device} in ${one.serial} at ${number(one.value, unit)}`);
  const label = `${measure.figure} of ${measure.n} devices: from ${number(min, unit)} to ${number(max, unit)}, median ${number(median, unit)}; ` +
    (outliers.length ? `outliers: ${outliers.join(", ")}` : "no outliers");
  return svg("svg", { class: "strip", role: "img", "aria-label": label },
    svg("line", { class: "axis", x1: 0, x2: "100%", y1: 42, y2: 42 }), upright(median, "mid"), line === undefined ? null : upright(line, "bound"), ...dots, ...named,
    svg("text", { x: 0, y: 55 }, bare(low)), svg("text", { x: "100%", y: 55, "text-anchor": "end" }, number(high, unit)));
};
