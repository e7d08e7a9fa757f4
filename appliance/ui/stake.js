// The stake, as it changes: alerts, each node with what runs out, accounts, and what registering would cost.

import { at, el, hostPath, sync, table, write } from "./draw.js";

const DAY = 86400;
// What the chain's clock was ahead of ours when it last told, in seconds: countdowns go on between two pictures.
let ahead = 0;
let shown;
const now = () => Math.floor(Date.now() / 1000) + ahead;

const moment = (unix) => new Date(unix * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
const left = (seconds) => {
  const [days, hours, minutes] = [Math.floor(seconds / DAY), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days >= 10) return `${days} days`;
  if (days) return `${days} day${days === 1 ? "" : "s"} ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${seconds % 60} s` : `${Math.max(0, seconds)} s`;
};

const LEVELS = { urgent: "Urgent", warning: "Warning", info: "To know" };
const MARKS = { urgent: "fail", warning: "inconclusive", info: "pass" };
const alertBox = (alert) => {
  const button = el("button", { type: "button" }, "I have read this");
  button.addEventListener("click", () => acknowledge(alert.id, button));
  return el("div", { class: `verdict alert ${MARKS[alert.level]}` }, el("div", { class: "head" }, el("strong", {}, LEVELS[alert.level]), el("span", { class: "soft" }), button), el("p", {}, alert.text));
};
const renewAlert = (box, alert) => {
  const until = alert.until_unix && alert.until_unix > now() ? `, ${left(alert.until_unix - now())} left` : "";
  write(box.firstElementChild.children[1], moment(alert.at_unix) + until);
  write(box.lastElementChild, alert.text);
};

const acknowledge = async (id, button) => {
  button.disabled = true;
  const answer = await fetch(`/api/v1/chain/alerts/${encodeURIComponent(id)}/acknowledge`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ by: "the page" }) }).catch(() => undefined);
  if (answer?.ok) { shown.alerts = shown.alerts.filter((alert) => alert.id !== id); show(); }
  else { button.disabled = false; write(button, "not taken: try again"); }
};

const NAMES = { restore: "To restore without cost", slash: "Until it costs more", booking: "Booked", passport: "Passport makes it up", commitment: "Commitment" };
const bar = () => el("div", { class: "task count" }, el("span"), el("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, el("i")), el("span", { class: "state" }), el("span", { class: "soft then" }));
const renewBar = (box, one) => {
  const [name, gauge, state, then] = box.children;
  const [all, rest] = [Math.max(1, one.until_unix - one.from_unix), one.until_unix - now()];
  const percent = Math.min(100, Math.max(0, Math.round(((all - rest) / all) * 100)));
  write(name, NAMES[one.what] ?? one.what);
  gauge.setAttribute("aria-label", NAMES[one.what] ?? one.what);
  gauge.setAttribute("aria-valuenow", percent);
  gauge.firstElementChild.style.width = percent + "%";
  write(state, rest > 0 ? left(rest) + " left" : "over");
  write(then, `${moment(one.until_unix)}: ${one.then}`);
  box.classList.toggle("late", (one.what === "restore" || one.what === "slash") && rest > 0);
};

const GRAVE = { slashing: "fail", restoring: "fail", "not-covered": "inconclusive", retired: "", booked: "pass", active: "pass" };
const nodeBox = () => el("section", {}, el("div", { class: "head" }, el("h3"), el("strong")), el("p"), el("dl", { class: "facts" }), el("div", { class: "counts" }), el("p", { class: "soft" }, el("code")));
const renewNode = (box, node) => {
  const [head, words, facts, counts, id] = box.children;
  box.className = `verdict node ${GRAVE[node.status] ?? ""}`;
  const name = node.host ? el("a", { href: hostPath(node.host, "burn-in") }, node.name) : node.name;
  head.firstElementChild.replaceChildren(name, ` · ${node.class}, ${node.capacity}`);
  write(head.lastElementChild, node.status);
  write(words, node.words);
  const rows = [
    ["Owner's own", `${node.own} of ${node.node_part} wanted`],
    ["By anybody", `${node.delegated} of ${node.network_part} wanted`],
    ["Passport, worth now", node.passport], ["Missing", node.missing], ["Taken by slashes", node.slashed],
  ].filter(([, value]) => value);
  facts.replaceChildren(...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  sync(counts, node.countdowns, (one) => one.what, bar, renewBar);
  write(id.firstElementChild, node.node);
};

const worth = (node) => ["slashing", "restoring", "not-covered", "booked", "active", "retired"].indexOf(node.status);

const costs = (rows) => rows.length
  ? rows.map((row) => el("details", {}, el("summary", {}, `${row.serial}: ${row.stake}${row.missing ? `, ${row.missing} missing` : ""}`), el("ul", {}, ...row.factors.map((line) => el("li", {}, line)))))
  : [el("p", { class: "soft" }, "no server waits for its approval")];

const limits = ({ registrations, registrations_max, retirements, retirements_max, collateral, collateral_max }) => [
  ["Registered today", `${registrations} of ${registrations_max}`], ["Staked today", `${collateral} of ${collateral_max}`], ["Retired today", `${retirements} of ${retirements_max}`],
].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);

const show = () => {
  const { alerts, nodes, accounts, trouble } = shown;
  const open = nodes.filter((node) => node.status !== "retired").length;
  write(at("count"), `${open} node${open === 1 ? "" : "s"}, ${alerts.length} to know`);
  write(at("chain"), `${shown.development ? "development chain" : "chain"} ${shown.chain_id}${shown.read_to ? `, read to block ${shown.read_to.block}` : ""}`);
  at("trouble").hidden = !trouble;
  write(at("trouble"), trouble ? `The chain cannot be read now, so this may be old: ${trouble}` : "");
  if (alerts.length) sync(at("alerts"), alerts, (alert) => alert.id, alertBox, renewAlert);
  else at("alerts").replaceChildren(el("p", { class: "soft" }, "Nothing. Every node is as it should be, or nobody has said otherwise."));
  if (nodes.length) sync(at("nodes"), [...nodes].sort((a, b) => worth(a) - worth(b) || a.name.localeCompare(b.name)), (node) => node.node, nodeBox, renewNode);
  else at("nodes").replaceChildren(el("p", { class: "soft" }, "no node yet"));
  at("accounts").replaceChildren(table([["Account"], ["Address"], ["Deposit, free for nodes", "number"], ["Holds", "number"], ["For gas", "number"]],
    accounts.map((one) => [one.role, el("code", {}, one.address), one.deposit, one.balance, one.gas]), "Accounts", "plain"));
  at("limits").replaceChildren(...(shown.limits ? limits(shown.limits) : []));
  const cost = JSON.stringify(shown.cost_sheet);
  if (at("costs").dataset.shown !== cost) { at("costs").dataset.shown = cost; at("costs").replaceChildren(...costs(shown.cost_sheet)); }
};

const live = new EventSource("/api/v1/stake/live");
live.addEventListener("stake", (event) => {
  shown = JSON.parse(event.data);
  ahead = shown.now_unix - Math.floor(Date.now() / 1000);
  write(at("link"), "");
  show();
});
live.onerror = () => { write(at("link"), "the appliance does not answer; trying again"); at("link").className = "gone"; };
setInterval(() => shown && show(), 1000);
