// What if: numbers that people declare, what a commitment would cost at them, what is missing when, what an anomaly takes.
// The appliance reckons; this page shows and keeps nothing.

import { ask, at, el, table, write } from "./draw.js";

// Name, where it stands in the numbers, whether it is an amount of ICNT (text) or a whole number.
const FIELDS = [
  ["Capacity, in the class's own measure", "node", "capacity"], ["First day (empty: today)", "node", "from", "day"], ["Warranty until", "node", "warranty_until", "day"],
  ["Commitments, days", "offer", "commitment_days", "list"], ["Prices for a unit and day, ICNT", "offer", "price_per_unit_and_day_icnt", "list"], ["Owner's share, thousandths", "offer", "owner_share_permille"],
  ["Running costs a day, ICNT", "costs", "running_per_day_icnt", "amount"], ["Costs once, ICNT", "costs", "once_icnt", "amount"], ["What locked tokens bring elsewhere, thousandths a year", "costs", "capital_rate_permille"],
  ["Asked of the owner, ICNT", "collateral", "node_part_icnt", "amount"], ["Asked of anybody, ICNT", "collateral", "network_part_icnt", "amount"],
  ["The owner's own, ICNT", "collateral", "own_icnt", "amount"], ["Delegated, ICNT", "collateral", "delegated_icnt", "amount"],
  ["Passport, worth when new, ICNT", "passport", "value_icnt", "amount"], ["Passport, days until worth nothing", "passport", "decay_days"], ["Passport, staked on", "passport", "staked", "day"],
];
const CHAINS = ["node_part_icnt", "network_part_icnt"];
const id = (part, key) => `if-${part}-${key}`;
let begun;

const input = ([name, part, key, kind]) => {
  const value = begun.numbers[part]?.[key];
  const field = el("input", { id: id(part, key), autocomplete: "off", inputmode: kind === "day" ? undefined : "decimal", placeholder: kind === "day" ? "2027-01-31" : undefined, value: value ?? "" });
  return el("div", {}, el("label", { for: field.id }, name), field);
};

const chosen = () => begun.machines.find((one) => one.serial === at("if-machine").value);
const machines = () => {
  const select = el("select", { id: "if-machine" }, el("option", { value: "" }, "none: by the numbers below"), ...begun.machines.map((one) => el("option", { value: one.serial }, `${one.serial}: ${one.class}, ${one.capacity}`)));
  select.addEventListener("change", () => {
    const machine = chosen();
    if (machine) at(id("node", "capacity")).value = machine.capacity;
    // What the chain asks, nobody types.
    for (const key of CHAINS) at(id("collateral", key)).disabled = Boolean(machine);
  });
  return el("div", {}, el("label", { for: "if-machine" }, "Collateral as the chain asks it now for"), select);
};

// One that the owner holds: its numbers are put into the fields, where they can be changed.
const passports = () => {
  const held = begun.passports ?? [];
  if (!held.length) return undefined;
  const select = el("select", { id: "if-passport" }, el("option", { value: "" }, "by the numbers below"), ...held.map((one) => el("option", { value: one.number }, `passport ${one.number}`)));
  select.addEventListener("change", () => {
    const one = held.find(({ number }) => number === select.value);
    if (one) for (const [key, value] of Object.entries(one.passport)) at(id("passport", key)).value = value ?? "";
  });
  return el("div", {}, el("label", { for: "if-passport" }, "A passport that the owner holds"), select);
};

const words = (part, key) => at(id(part, key)).value.trim();
const list = (part, key) => words(part, key).split(/[\s,;]+/).filter(Boolean);
const question = () => {
  const numbers = structuredClone(begun.numbers);
  for (const [name, part, key, kind] of FIELDS) {
    const text = kind === "list" ? list(part, key)[0] ?? "" : words(part, key);
    const whole = kind === undefined || key === "commitment_days";
    if (whole && text && !/^\d+$/.test(text)) throw new Error(`${name}: ${text} is no whole number`);
    (numbers[part] ??= {})[key] = whole ? Number(text) : text || (kind === "amount" ? "0" : null);
  }
  // Nothing staked, nothing decays.
  if (!/[1-9]/.test(numbers.passport.value_icnt)) numbers.passport = null;
  return { numbers, class: chosen()?.class, prices: list("offer", "price_per_unit_and_day_icnt"), commitment_days: list("offer", "commitment_days").map(Number) };
};

const wide = (...parts) => el("div", { class: "scroll" }, table(...parts, "plain"));
const both = ({ node, network }) => `${node} by the owner, ${network} by anybody`;
// To the ten thousandth; all of it where the pointer rests.
const brief = (amount) => { const cut = amount.replace(/(\.\d{4})\d+/, "$1…"); return cut === amount ? amount : el("span", { title: amount }, cut); };
const after = (seconds) => seconds % 3600 ? `${Math.floor(seconds / 3600)} h and ${seconds % 3600} s` : `${seconds / 3600} h`;
const even = (row) => row.break_even_days == null ? { text: "never: not if every day is booked", mark: "broken" } : `${row.break_even_days} booked days, ${(row.break_even_permille / 10).toFixed(1)} %`;

const show = (view) => {
  const facts = [["Committed", `${view.from} to ${view.until}`], ["Asked for", both(view.required)], ["Missing on the first day", both(view.missing)], ...view.factors.map((line) => ["Because", line])];
  const number = "number";
  at("if-answer").replaceChildren(
    el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("h3", {}, "Price and duration"),
    wide([["Price"], ["Days", number], ["Costs in all", number], ["A day", number], ["A booked day brings", number], ["Costs are paid by"], ["Least price", number]],
      view.prices.map((row) => [row.price, String(row.days), brief(row.costs), brief(row.cost_per_day), brief(row.brings_per_day), even(row), brief(row.least_price ?? "none")]), "Price and duration"),
    el("h3", {}, "What ends before the commitment does"),
    el("ul", {}, ...view.limits.map((one) => el("li", { class: one.short ? "broken" : undefined }, `${one.what}: ${one.ends} (${one.assumption})`))),
    el("h3", {}, "Cover, if nothing is added and nothing slashed"),
    wide([["Day"], ["Passport", number], ["Missing: the owner's", number], ["Missing: anybody's", number]], view.cover.map((row) => [row.day, ...[row.passport, row.missing.node, row.missing.network].map(brief)]), "Cover"),
    ...(view.exposure.length ? [el("h3", {}, "An anomaly that is not restored"),
      wide([["After its report"], ["Of the collateral", number], ["The owner's", number], ["Delegators'", number]], view.exposure.map((row) => [after(row.after_seconds), `${row.bps / 100} %`, brief(row.own), brief(row.delegated)]), "Exposure")] : []),
  );
};

const trouble = (why) => { at("if-trouble").hidden = !why; write(at("if-trouble"), why ?? ""); };
const reckon = async () => {
  try {
    const answer = await fetch("/api/v1/chain/what-if", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(question()) }).catch(() => undefined);
    const body = await answer?.json().catch(() => ({}));
    if (!answer?.ok) throw new Error(body?.error ?? "the appliance does not answer; try again");
    show(body);
    trouble();
  } catch (error) {
    trouble(error.message);
  }
};

const begin = async () => {
  begun = await ask("/api/v1/chain/what-if");
  const button = el("button", { type: "submit" }, "Reckon");
  const form = el("form", { id: "if-form" }, el("div", { class: "asked" }, machines(), ...[passports()].filter(Boolean), ...FIELDS.map(input)), button);
  form.addEventListener("submit", (event) => { event.preventDefault(); reckon(); });
  at("if").replaceChildren(form);
};
let asked = false;
const opened = () => {
  if (!at("what-if").open || asked) return;
  asked = true;
  begin().catch((error) => { asked = false; trouble(error.message); });
};
at("what-if").addEventListener("toggle", opened);
// Somebody may have been faster than this script.
opened();
