// Parts that the live page and the printed report share: the verdict's words, figures with their rules, and where a
// result can be checked.

import { el, gather, number, span, time } from "./draw.js";

export const machineWords = ({ serial, model, position }) => [serial, model, position].filter(Boolean).join("  ·  ");

const WORDS = { pass: "Passed", fail: "Failed", inconclusive: "Inconclusive" };
export const verdictWord = (view) => view.verdict ? WORDS[view.verdict.word] : view.state === "waiting" ? "Not begun" : `Running, ${Math.floor(view.permille / 10)} %`;

/** When it ran, or how long it goes on. */
export const when = (view) => {
  const began = view.began_ms == null ? [] : [`began ${time(view.began_ms)}`];
  const ended = view.ended_ms == null ? [] : [`ended ${time(view.ended_ms)}`];
  const left = view.state === "running" && view.seconds_left != null ? [`${span(view.seconds_left)} left`] : [];
  const boots = view.boots.length > 1 ? [`over ${view.boots.length} boots`] : [];
  return [...began, ...ended, ...left, ...boots].join(", ");
};

/** What a rule says of a figure, by word and not by colour alone. */
export const standing = (figure, rules) => {
  const told = figure.rules.map(({ rule, holds }) => {
    const words = rules[rule]?.words ?? "a rule of another profile";
    return { words, holds, number: rule + 1, mark: holds === true ? "holds" : holds === false ? "broken" : "open" };
  });
  const worst = told.find((one) => one.holds === false) ?? told.find((one) => one.holds == null) ?? told[0];
  if (!worst) return { text: "no rule", brief: "no rule", mark: "open" };
  const says = { holds: "holds", broken: "does not hold", open: "not compared" }[worst.mark];
  return { text: `${says}: ${told.map((one) => one.words).join("; ")}`, brief: `${says} (${told.map((one) => one.number).join(", ")})`, mark: worst.mark };
};

/** A value as it stands in a table; what was measured before a steady state says so. */
export const valueWords = (figure) => number(figure.value, figure.unit) + (figure.attained === false ? " (not steady)" : figure.attained ? " (steady)" : "");

/** Where this result can be checked. */
export const facts = (view) => [
  ["Profile", `${view.profile}: ${view.about}`],
  ["Profile, SHA-256", view.profile_digest],
  ["Result stream", view.stream ? `${view.stream.lines} lines` : "no line yet"],
  ["Stream's root, SHA-256", view.stream?.sha256],
  ["Report, SHA-256", view.report_digest],
  ["Evidence file, SHA-256", view.evidence_digest],
  ["Boots (TPM resetCount)", view.boots.join(", ")],
  ["Compared with", `${view.peers} figures of earlier burn-ins`],
].filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, name.endsWith("SHA-256") ? el("code", {}, value) : value)]);

/** What was looked at; what was said of several tasks in the same words is said once. */
export const coverage = (view) => {
  const lines = view.verdict?.coverage.length ? view.verdict.coverage : view.stages.flatMap((stage) => stage.tasks.flatMap((task) => task.coverage));
  const times = new Map();
  for (const line of lines) times.set(line, (times.get(line) ?? 0) + 1);
  return [...times].map(([line, count]) => count > 1 ? `${line} (${count} times)` : line);
};

/** Whether a rule broke for this task, or something was seen to be wrong. */
export const broken = (task) => task.faults.length > 0 || task.figures.some((figure) => figure.rules.some((rule) => rule.holds === false));

/** Curves that can be looked at side by side, in the order of the plan: of one stage, one kind of device and one name. */
export const groups = (view) => {
  const place = new Map(view.stages.map((stage, index) => [stage.name, index]));
  const all = gather(view.series, (series) => [series.task.split("/")[0], series.device.split(" ")[0], series.name].join("\n"))
    .map((series) => ({ stage: series[0].task.split("/")[0], name: series[0].name, series }));
  return all.sort((a, b) => place.get(a.stage) - place.get(b.stage));
};
