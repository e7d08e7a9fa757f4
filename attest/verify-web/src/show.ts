// A verdict as the page shows it.

import { firstFailure, type Check, type Facts, type Verdict } from "./verdict.js";
import { wordsFor } from "./words.js";

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page lacks #${id}`);
  return found as T;
}

function made<K extends keyof HTMLElementTagNameMap>(tag: K, text: string): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

function banner(word: string, accepted: boolean, tier: string, why: string, time: string): void {
  const box = element<HTMLOutputElement>("verdict");
  box.hidden = false;
  box.className = accepted ? "accepted" : "refused";
  element("verdict-word").textContent = word;
  element("verdict-tier").textContent = tier;
  element("verdict-why").textContent = why;
  element("verdict-time").textContent = time;
}

function refusal(why: string): void {
  element("result").hidden = true;
  banner("Cannot be checked", false, "", why, "");
}

/** What could not be read of the files that say whom to believe. */
function remarks(lines: readonly string[]): void {
  element("remarks").hidden = lines.length === 0;
  element("remarks").replaceChildren(...lines.map((line) => made("li", line)));
}

function verdict(all: Verdict, milliseconds: number): void {
  const failure = firstFailure(all);
  const count = (outcome: Check["outcome"]): number => all.checks.filter((check) => check.outcome === outcome).length;
  const time = `${count("pass")} checks passed, ${count("fail")} failed, ${count("not-applicable")} had nothing to judge; ${milliseconds.toFixed(1)} ms`;
  const box = element("verdict");
  box.dataset["milliseconds"] = milliseconds.toFixed(2);
  box.dataset["failed"] = failure?.name ?? "";
  if (failure === undefined) banner("Accepted", true, `Tier ${all.tier}`, `Not higher: ${all.why_not_higher}`, time);
  else banner("Refused", false, `by ${failure.name}`, failure.note, time);
  // Accepted is not the same as proven: tier T0 must not look like success.
  box.classList.toggle("weak", all.tier === "T0");
  sandwich(all.facts);
  element("facts").replaceChildren(...facts(all.facts));
  element("checks").replaceChildren(...all.checks.map(row));
  element("result").hidden = false;
}

function moment(seconds: bigint): string {
  // A block's time is any number below 2^64; beyond what dates can say it is shown as it stands.
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s after 1970` : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Between which two blocks it was made: a line with the quote in its middle. */
function sandwich({ not_before, not_after }: Facts): void {
  const line = element("sandwich");
  const [before, from, , to, after] = [...line.children] as HTMLElement[];
  const end = (text: HTMLElement | undefined, way: HTMLElement | undefined, label: string, time: bigint | undefined): void => {
    if (text) text.textContent = `${label}\n${time === undefined ? "nobody shows it" : moment(time)}`;
    for (const part of [text, way]) part?.classList.toggle("known", time !== undefined);
  };
  end(before, from, "not before", not_before);
  end(after, to, "not after", not_after);
  const say = (time: bigint | undefined): string => (time === undefined ? "not shown" : moment(time));
  line.setAttribute("aria-label", `The quote was made not before: ${say(not_before)}; not after: ${say(not_after)}`);
}

function facts(all: Facts): Node[] {
  const shown: readonly (readonly [string, unknown])[] = [
    ["Purpose", all.purpose],
    ["Node", all.node],
    ["TPM", all.tpm],
    ["Board", all.board ?? null],
    ["Image", all.image],
    ...(all.tried_in_vain === undefined ? [] : [["Tried in vain before it", `boot options: ${all.tried_in_vain}`] as const]),
    ["Secure Boot", all.secure_boot === null ? null : all.secure_boot ? "on" : "off"],
    ["Booted from", all.boot_url === null ? null : `${all.boot_url} (the firmware's word)`],
    ["Challengers", all.challengers],
    ["TPM resets", all.reset_count],
    ["Published in", all.published_block === undefined ? null : `block ${all.published_block}: ask the chain whether it is its own`],
    ["File", all.evidence],
  ];
  return shown.flatMap(([name, value]) => [made("dt", name), made("dd", value === null ? "not known" : String(value))]);
}

const WORDS = { pass: "pass", fail: "FAIL", "not-applicable": "not applicable" } as const;

function row(check: Check): HTMLTableRowElement {
  const line = document.createElement("tr");
  line.className = check.outcome;
  line.dataset["name"] = check.name;
  line.insertCell().textContent = WORDS[check.outcome];
  const words = wordsFor(check.name);
  line.insertCell().append(words, ...(words === "" ? [check.name] : [made("code", check.name)]));
  const values = line.insertCell();
  if (check.note !== "") values.append(made("p", check.note));
  const told: readonly (readonly [string, string])[] = check.measured === check.expected || check.expected === ""
    ? [["", check.measured]]
    : [["measured", check.measured || "nothing"], ["expected", check.expected]];
  for (const [what, text] of told.filter(([, value]) => value !== "")) {
    const value = made("div", text);
    if (what !== "") value.dataset["what"] = what;
    values.append(value);
  }
  return line;
}

export const render = { refusal, remarks, verdict };
