// A host's burn-in as it goes on: verdict, bars, figures, plots.  It asks again every other second until there is a verdict.

import { ask, at, el, host, hostPath, number, span, sync, table, work, write } from "./draw.js";
import { broken, coverage, facts, groups, machineWords, standing, valueWords, verdictWord, when } from "./parts.js";
import { curve, scale } from "./plot.js";

const LOOK_MILLISECONDS = 2000;
const PAUSE_MILLISECONDS_MAX = 60_000;
const id = host();

/** A folded part, whose inside is drawn when it is opened and anew when what it shows has changed. */
const fold = (draw) => {
  const box = el("details", {}, el("summary"), el("div", { class: "in" }));
  box.addEventListener("toggle", () => box.open && box.draw?.());
  box.renew = (state, inside = draw) => {
    box.draw = () => { if (box.drawn !== state) { box.drawn = state; inside(box.children[1]); } };
    if (box.open) box.draw();
  };
  return box;
};

const show = (view) => {
  const words = machineWords(view.machine);
  write(at("machine"), words);
  document.title = `${verdictWord(view)} · ${words} · burn-in`;
  at("verdict").className = `verdict ${view.verdict?.word ?? view.state}`;
  write(at("word"), verdictWord(view));
  write(at("when"), when(view));
  bar(at("whole"), view.permille);
  at("whole").hidden = view.state !== "running";
  list(at("reasons"), view.verdict?.reasons ?? []);
  at("report").hidden = view.state !== "ended";
  at("report").href = hostPath(id, "burn-in/report");
  at("body").hidden = false;
  sync(at("stages"), view.stages, (stage) => stage.name, stageBox, (box, stage) => renewStage(box, stage, view.rules));
  const plots = plotGroups(view);
  sync(at("plots"), plots, (group) => group.stage, () => fold(), renewPlots);
  at("plots-head").hidden = !plots.length;
  list(at("coverage"), coverage(view), "nothing yet");
  at("facts").replaceChildren(...facts(view), el("dt", {}, "Stream"), el("dd", {}, el("a", { href: `/api/v1/hosts/${encodeURIComponent(id)}/burn-in/stream`, download: `${id}.jsonl` }, "download"), " and judge it again: ", el("code", {}, `scalerforge burn-in judge ${id}.jsonl`)));
  at("rules").children[1].replaceChildren(table([["Figure"], ["Rule"], ["Origin"]], view.rules.map((rule) => [rule.figure, rule.words, rule.origin]), "Rules of the profile"));
};

const bar = (box, permille) => {
  box.setAttribute("aria-valuenow", Math.floor(permille / 10));
  box.firstElementChild.style.width = `${permille / 10}%`;
};

const list = (box, lines, empty) => {
  const all = lines.length || !empty ? lines : [empty];
  sync(box, all.map((text, index) => ({ text, index })), (line) => String(line.index), () => el("li"), (item, line) => write(item, line.text));
};

// Stages and tasks.

const STATES = { waiting: "waits", running: "runs", done: "done", undone: "not done" };

const stageBox = () => {
  const box = fold();
  box.children[1].append(el("div", { class: "tasks" }), fold());
  return box;
};

const renewStage = (box, stage, rules) => {
  const [ended, bad] = [stage.tasks.filter((task) => task.state === "done" || task.state === "undone").length, stage.tasks.some(broken)];
  if (!stage.tasks.length) write(box.children[0], `${stage.name}: nothing to do on this machine`);
  else write(box.children[0], `${stage.name}: ${ended} of ${stage.tasks.length} tasks ended, at most ${span(stage.seconds_max)}${bad ? ", with faults" : stage.state === "undone" ? ", not all done" : ""}`);
  // Opened once where a person would look; after that it is his.
  const wants = stage.state === "running" || bad || stage.state === "undone";
  if (wants && !box.dataset.shown) [box.dataset.shown, box.open] = ["yes", true];
  const [tasks, figures] = box.children[1].children;
  sync(tasks, stage.tasks, (task) => task.id, taskRow, renewTask);
  const rows = stage.tasks.flatMap((task) => task.figures);
  figures.hidden = !rows.length;
  write(figures.children[0], `${rows.length} figures, with their rules`);
  figures.renew(JSON.stringify(rows), (inside) => inside.replaceChildren(table([["Figure"], ["Value", "number"], ["Rule"]],
    stage.tasks.filter((task) => task.figures.length).flatMap((task) => [`${task.device}: ${work(task.work)}`, ...task.figures.map((figure) => [figure.name, valueWords(figure), standing(figure, rules)])]), `Figures of stage ${stage.name}`)));
};

const taskRow = (task) => el("div", {}, el("div", { class: "who" }, task.device, task.model ? el("span", {}, task.model) : null), el("div", { class: "work" }, work(task.work)),
  el("div", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": task.id }, el("i")), el("div", { class: "state" }), el("ul"));

const renewTask = (row, task) => {
  const [, , progress, state, faults] = row.children;
  row.className = `task ${task.state}`;
  progress.className = `bar ${broken(task) ? "faulty" : task.state}`;
  bar(progress, task.permille);
  const left = task.seconds_left == null ? "" : `, ${span(task.seconds_left)} left`;
  const took = task.took_seconds == null ? "" : ` in ${span(task.took_seconds)}`;
  write(state, task.state === "running" ? `${Math.floor(task.permille / 10)} %${left}` : task.state === "waiting" ? `waits, ${span(task.seconds)}` : `${task.faults.length ? "faulty" : broken(task) ? "breaks a rule" : STATES[task.state]}${took}`);
  list(faults, [...task.faults, ...(task.why ? [task.why] : [])]);
  faults.hidden = !faults.children.length;
};

// Plots: a fold for each stage, in it a card for each device with its curves below each other.

const plotGroups = (view) => {
  const tasks = view.stages.flatMap((stage) => stage.tasks);
  const models = new Map(tasks.map((task) => [task.device, task.model]));
  const bad = new Set(tasks.filter(broken).map((task) => task.id));
  const stages = new Map();
  for (const group of groups(view)) stages.set(group.stage, [...(stages.get(group.stage) ?? []), { ...group, scale: scale(group.series) }]);
  return [...stages].map(([stage, groups], index) => ({ stage, groups, models, bad, first: index === 0 }));
};

const renewPlots = (box, { stage, groups, models, bad, first }) => {
  const devices = [...new Set(groups.flatMap((group) => group.series.map((series) => series.device)))];
  write(box.children[0], `${stage}: ${[...new Set(groups.map((group) => group.name))].join(", ")} of ${devices.length === 1 ? devices[0] : `${devices.length} devices`}`);
  const count = groups.map((group) => group.series.map((series) => series.points.length).join()).join(";");
  box.renew(count, (inside) => inside.replaceChildren(el("div", { class: "plots" }, ...devices.map((device) => card(device, groups, models, bad)))));
  if (first && !box.dataset.shown) [box.dataset.shown, box.open] = ["yes", true];
};

const card = (device, groups, models, bad) => {
  const own = groups.flatMap((group) => group.series.filter((series) => series.device === device).map((series) => [series, group]));
  const model = models.get(device);
  const numbers = fold((inside) => inside.replaceChildren(el("div", { class: "long", tabindex: 0, role: "region", "aria-label": `numbers of ${device}` }, numbersTable(device, own.map(([series]) => series)))));
  write(numbers.children[0], "the same as numbers");
  numbers.renew("once");
  return el("article", { class: "device" }, el("h4", {}, device, model ? el("span", {}, `  ${model}`) : null), ...own.map(([series, group]) => curve(series, group.series, group.scale, bad.has(series.task))), numbers);
};

const numbersTable = (device, all) => {
  const rows = new Map();
  all.forEach((series, index) => series.points.forEach(([second, value]) => {
    if (!rows.has(second)) rows.set(second, all.map(() => ""));
    rows.get(second)[index] = number(value, series.unit);
  }));
  const sorted = [...rows].sort(([a], [b]) => a - b);
  return table([["Second", "number"], ...all.map((series) => [series.name, "number"])], sorted.map(([second, cells]) => [String(second), ...cells]), `Curves of ${device}`, "");
};

/** A view of a long soak has megabytes of curves: who asks takes a tenth of the appliance's time at most. */
const pause = (view, milliseconds) => Math.min(Math.max(view?.state === "ended" ? 10 * LOOK_MILLISECONDS : LOOK_MILLISECONDS, 10 * milliseconds), PAUSE_MILLISECONDS_MAX);

const look = async () => {
  const begun = performance.now();
  let view;
  try {
    // Nobody looks at a page that is hidden.
    if (!document.hidden || at("body").hidden) {
      view = await ask(`/api/v1/hosts/${encodeURIComponent(id)}/burn-in`);
      write(at("link"), "");
      if (view) show(view);
      else write(at("word"), "No burn-in yet");
    }
  } catch (error) {
    write(at("link"), `${error.message}; trying again`);
    at("link").className = "gone";
  }
  // One that ended is asked for now and then: the host may be burnt in again.
  setTimeout(look, pause(view, performance.now() - begun));
};
look();
