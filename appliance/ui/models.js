// The fleet, model by model: a strip of dots for each figure, outliers by name.

import { ask, at, el, hostPath, number, table, write } from "./draw.js";
import { strip } from "./plot.js";

const here = new URLSearchParams(location.search).get("host");
let fleet = { models: [] };

const contains = (text, wanted) => text.toLowerCase().includes(wanted);
const wantedFigures = (model, wanted) => contains(model.model, wanted) ? model.figures : model.figures.filter((figure) =>
  contains(figure.figure, wanted) || figure.values.some((one) => [one.device, one.host, one.serial].some((text) => contains(text, wanted))));

const count = (number, what) => `${number || "no"} ${what}${number === 1 ? "" : "s"}`;

const show = () => {
  const wanted = at("filter").value.trim().toLowerCase();
  const models = fleet.models.map((model) => ({ ...model, figures: wantedFigures(model, wanted) })).filter((model) => model.figures.length);
  at("models").replaceChildren(...(models.length ? models.map(modelBox) : [el("p", {}, fleet.models.length ? "nothing contains these words" : "no burn-in has ended yet")]));
  const outliers = fleet.models.flatMap((model) => model.figures.flatMap((figure) => figure.values.filter((one) => one.outlier))).length;
  write(at("count"), `${count(fleet.models.length, "model")}, ${count(outliers, "outlier")}`);
};

const modelBox = ({ model, figures }) => el("section", { class: "model" }, el("h2", {}, model), ...figures.map(measure));

const share = (value, median) => median ? `${((value / median) * 100).toFixed(1)} % of the median` : "";

const measure = (figure) => {
  const { n, min, median, max, unit, values } = figure;
  const outliers = values.filter((one) => one.outlier);
  const words = n === 1 ? `one device: ${number(median, unit)}` : `${n} devices: least ${number(min, unit)}, median ${number(median, unit)}, greatest ${number(max, unit)}`;
  const rule = figure.bound_permille === undefined ? "" : `; the rule is at least ${figure.bound_permille / 10} % of the median of the others`;
  const all = el("details", {}, el("summary", {}, "the same as numbers"), el("div", { class: "in" }));
  all.addEventListener("toggle", () => all.open && all.children[1].replaceChildren(numbers(figure)));
  return el("div", { class: "measure" }, el("h3", {}, `${figure.figure}, in stage ${figure.stage}`), el("p", {}, words + rule), strip(figure, here),
    outliers.length ? el("ul", {}, ...outliers.map((one) => el("li", {}, `${one.device} in `, hostLink(one), `: ${number(one.value, unit)}, ${share(one.value, median)}`))) : null, all);
};

const hostLink = (one) => el("a", { href: hostPath(one.host, "burn-in") }, one.serial || one.host);

const numbers = ({ unit, values, median, figure }) => table([["Device"], ["Host"], ["Value", "number"], ["Of the median", "number"], ["Outlier"]],
  values.map((one) => [one.device, hostLink(one), number(one.value, unit), share(one.value, median), one.outlier ? { text: "OUTLIER", mark: "broken" } : "no"]), `${figure} by device`);

const look = async () => {
  try {
    fleet = (await ask("/api/v1/burn-in/models")) ?? { models: [] };
    write(at("link"), "");
    show();
  } catch (error) {
    write(at("link"), `${error.message}; load this page again`);
    at("link").className = "gone";
  }
};
at("filter").addEventListener("input", show);
look();
