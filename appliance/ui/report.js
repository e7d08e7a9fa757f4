// The acceptance report: one ended burn-in on paper, for a technician to sign.  Devices of a model share a row, so that a
// machine with dozens of drives stays readable; whoever broke a rule is named in the verdict's reasons.

import { ask, at, bare, el, gather, host, hostPath, middle, number, span, table, work, write } from "./draw.js";
import { broken, coverage, facts, groups, machineWords, standing, valueWords, verdictWord, when } from "./parts.js";
import { curves, scale } from "./plot.js";

const id = host();

const items = (lines) => lines.map((line) => el("li", {}, line));
const both = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

const whose = (devices, model) => devices.length === 1 ? devices[0] + (model ? ` (${model})` : "") : `${devices.length} × ${model ?? devices[0].split(" ")[0]}`;

const taskRows = (view) => view.stages.flatMap((stage) => gather(stage.tasks, (task) => [task.work, task.model, task.state].join("\n")).map((tasks) => {
  const [first] = tasks;
  const took = tasks.map((task) => task.took_seconds ?? 0).reduce((a, b) => Math.max(a, b), 0);
  const state = first.state === "done" ? { text: "done", mark: "holds" } : { text: first.state === "undone" ? "NOT DONE" : first.state, mark: "broken" };
  return [stage.name, whose(tasks.map((task) => task.device), first.model), work(first.work), `${span(took)} of ${span(first.seconds)}`, state];
}));

const RANK = { broken: 2, open: 1, holds: 0 };

const figureRows = (view) => view.stages.flatMap((stage) =>
  gather(stage.tasks.filter((task) => task.figures.length), (task) => [task.model ?? task.device, task.work].join("\n")).flatMap((tasks) => [
    `${stage.name}: ${whose(tasks.map((task) => task.device), tasks[0].model)}, ${work(tasks[0].work)}`,
    ...gather(tasks.flatMap((task) => task.figures), (figure) => figure.name).map((same) => figureRow(same, view.rules)),
  ]));

const figureRow = (same, rules) => {
  const sorted = same.map((figure) => figure.value).sort((a, b) => a - b);
  const { unit, name } = same[0];
  const value = same.length === 1 ? valueWords(same[0]) : `${bare(sorted[0])} / ${bare(middle(sorted))} / ${number(sorted[sorted.length - 1], unit)}`;
  const worst = same.map((figure) => standing(figure, rules)).sort((a, b) => RANK[b.mark] - RANK[a.mark])[0];
  return [name, value, { ...worst, text: worst.brief }];
};

/** One plot for each group; who broke a rule in that stage is drawn in red, and named. */
const plot = (view) => ({ stage, name, series }) => {
  const bad = view.stages.filter((one) => one.name === stage).flatMap((one) => one.tasks).filter(broken).map((task) => task.device);
  const red = [...new Set(series.map((one) => one.device).filter((device) => bad.includes(device)))];
  const title = `${stage}: ${name} of ${whose([...new Set(series.map((one) => one.device))])}`;
  return curves(title, red.length ? `; red: ${red.slice(0, 3).join(", ")}${red.length > 3 ? ` and ${red.length - 3} more` : ""}` : "", series, scale(series), red);
};

/** The rules that a figure was held against; a profile has more, for devices that not every machine has. */
const rulesOf = (view) => {
  const used = new Set(view.stages.flatMap((stage) => stage.tasks.flatMap((task) => task.figures.flatMap((figure) => figure.rules.map((one) => one.rule)))));
  const rows = view.rules.flatMap((rule, index) => used.has(index) ? [[String(index + 1), rule.words, rule.origin]] : []);
  const rest = view.rules.length - rows.length;
  return [table([["No.", "tiny"], ["Rule"], ["Origin"]], rows, "Rules and their origin"),
    el("p", { class: "soft" }, rest ? `The profile has ${rest} more, on figures that nothing in this machine gave.` : "These are all rules of the profile.")];
};

const show = (view) => {
  document.title = `Acceptance report ${view.machine.serial}`;
  write(at("machine"), machineWords(view.machine));
  at("verdict").className = `verdict ${view.verdict?.word ?? ""}`;
  write(at("word"), view.verdict ? verdictWord(view) : `No verdict yet: ${verdictWord(view)}`);
  write(at("when"), `${when(view)}; profile ${view.profile}`);
  at("reasons").replaceChildren(...items(view.verdict?.reasons ?? []));
  at("parts").replaceChildren(...view.machine.parts.flatMap((part) => both(part.kind, part.what)));
  at("tasks").replaceChildren(table([["Stage", "narrow"], ["Device"], ["Work"], ["Time", "mid"], ["State", "narrow"]], taskRows(view), "What was done"));
  at("figures").replaceChildren(el("p", { class: "soft" }, "Of several devices: least / median / greatest. Numbers of rules are those of the list below."),
    table([["Figure"], ["Value", "number"], ["Rule"]], figureRows(view), "Figures"));
  at("coverage").replaceChildren(...items(coverage(view)));
  at("plots").replaceChildren(...groups(view).map(plot(view)));
  at("rules").replaceChildren(...rulesOf(view));
  at("facts").replaceChildren(...facts(view));
  write(at("replay"), `scalerforge burn-in judge ${id}.jsonl`);
  write(at("signed"), view.verdict ? `The signatures below stand for machine ${view.machine.serial}, whose burn-in with profile ${view.profile} came to: ${verdictWord(view)}.` : "This burn-in has no verdict: there is nothing to sign yet.");
  at("sheet").hidden = false;
};

at("print").addEventListener("click", () => print());
at("back").href = hostPath(id, "burn-in");
try {
  const view = await ask(`/api/v1/hosts/${encodeURIComponent(id)}/burn-in`);
  if (view) show(view);
  else write(at("link"), "this host has had no burn-in yet");
} catch (error) {
  write(at("link"), `${error.message}; load this page again`);
  at("link").className = "gone";
}
