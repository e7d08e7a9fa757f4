// The page: files and policy in, verdict shown.  Texts from files are only ever set as text, never as markup.

import { FormatError, fromHex, type Bytes } from "./bytes.js";
import { decodeEvidence } from "./evidence.js";
import { loadCrls, loadRoots } from "./load.js";
import { parseReference, type Policy } from "./policy.js";
import { firstFailure, type Check, type Facts, type Verdict } from "./verdict.js";
import { verify } from "./verify.js";

interface NamedFile {
  readonly name: string;
  readonly bytes: Bytes;
}

/** What the reader of this page has given so far. */
const given: { evidence: NamedFile | undefined; roots: NamedFile[]; references: NamedFile[] } = { evidence: undefined, roots: [], references: [] };

/** Files larger than this are neither evidence nor lists of roots. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page lacks #${id}`);
  return found as T;
}

async function readFile(file: File): Promise<NamedFile> {
  if (file.size > FILE_BYTES_MAX) throw new FormatError(file.name, FILE_BYTES_MAX, `${file.size} bytes`);
  return { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
}

type Kind = "evidence" | "roots" | "references";

/** What a dropped file is, as its name says. */
function kindOf(name: string): Kind {
  if (/\.(pem|crt)$/i.test(name)) return "roots";
  return /\.json$/i.test(name) ? "references" : "evidence";
}

async function take(files: Iterable<File>, kind?: Kind): Promise<void> {
  for (const file of files) {
    const named = await readFile(file);
    const list = kind ?? kindOf(file.name);
    if (list === "evidence") given.evidence = named;
    else given[list] = [...given[list].filter((other) => other.name !== named.name), named];
  }
  showNames();
}

function showNames(): void {
  const rows: readonly (readonly [string, readonly NamedFile[]])[] = [
    ["evidence-name", given.evidence ? [given.evidence] : []],
    ["roots-name", given.roots],
    ["reference-name", given.references],
  ];
  for (const [id, files] of rows) {
    if (files.length === 0) continue;
    const label = element(id);
    label.textContent = files.map((file) => file.name).join(", ");
    label.parentElement?.classList.add("given");
  }
}

function hexField(text: string, length: number, name: string): Bytes {
  const bytes = fromHex(text);
  if (bytes?.length !== length) throw new FormatError(name, 0, `not ${2 * length} hex digits`);
  return bytes;
}

function policy(): Policy {
  const text = (file: NamedFile): { name: string; text: string } => ({ name: file.name, text: new TextDecoder("latin1").decode(file.bytes) });
  const keys = element<HTMLTextAreaElement>("challengers").value.split(/\s+/).filter((key) => key !== "");
  const nonce = element<HTMLInputElement>("nonce").value.trim();
  const k = Number.parseInt(element<HTMLInputElement>("k").value, 10);
  return {
    roots: loadRoots(given.roots.map(text)),
    boards: { certificates: [] },
    crls: loadCrls(given.roots.map(text)),
    deniedFirmware: [],
    references: given.references.map((file) => parseReference(file.bytes, file.name)),
    allowSoftwareTpm: element<HTMLInputElement>("software").checked,
    challengers: keys.map((key) => hexField(key, 64, "challenger")),
    k: keys.length === 0 || !(k >= 0) ? 0 : k,
    nonce: nonce === "" ? undefined : { word: hexField(nonce, 32, "nonce") },
    lastSeen: undefined,
    headers: [],
  };
}

/** Verifies what is given.  Later calls overtake earlier ones. */
let turn = 0;
async function run(): Promise<void> {
  const mine = ++turn;
  if (given.evidence === undefined) return;
  try {
    // Browsers give WebCrypto to pages from a file, from this machine or over https only.
    const subtle = globalThis.crypto?.subtle;
    if (subtle === undefined) throw new FormatError("this page", 0, "was loaded over plain http: open it as a file or over https");
    const rules = policy();
    const now = Math.floor(Date.now() / 1000);
    const start = performance.now();
    const verdict = await verify(subtle, decodeEvidence(given.evidence.bytes), rules, now);
    const milliseconds = performance.now() - start;
    if (mine === turn) show(verdict, milliseconds);
  } catch (error) {
    if (mine === turn) refuse(error instanceof Error ? error.message : String(error));
  }
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

function refuse(why: string): void {
  element("result").hidden = true;
  banner("Cannot be checked", false, "", why, "");
}

function show(verdict: Verdict, milliseconds: number): void {
  const failure = firstFailure(verdict);
  const count = (outcome: Check["outcome"]): number => verdict.checks.filter((check) => check.outcome === outcome).length;
  const time = `${count("pass")} checks passed, ${count("fail")} failed, ${count("not-applicable")} had nothing to judge; ${milliseconds.toFixed(1)} ms`;
  const box = element("verdict");
  box.dataset["milliseconds"] = milliseconds.toFixed(2);
  box.dataset["failed"] = failure?.name ?? "";
  if (failure === undefined) banner("Accepted", true, `Tier ${verdict.tier}`, `Not higher: ${verdict.why_not_higher}`, time);
  else banner("Refused", false, `by ${failure.name}`, failure.note, time);
  // Accepted is not the same as proven: tier T0 must not look like success.
  box.classList.toggle("weak", verdict.tier === "T0");
  element("facts").replaceChildren(...facts(verdict.facts));
  element("checks").replaceChildren(...verdict.checks.map(row));
  element("result").hidden = false;
}

function facts(all: Facts): Node[] {
  const shown: readonly (readonly [string, unknown])[] = [
    ["Purpose", all.purpose],
    ["Node", all.node],
    ["TPM", all.tpm],
    ["Image", all.image],
    ["Secure Boot", all.secure_boot === null ? null : all.secure_boot ? "on" : "off"],
    ["Booted from", all.boot_url === null ? null : `${all.boot_url} (the firmware's word)`],
    ["Challengers", all.challengers],
    ["TPM resets", all.reset_count],
    ["File", all.evidence],
  ];
  return shown.flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value === null ? "not known" : String(value);
    return [term, text];
  });
}

const WORDS = { pass: "pass", fail: "FAIL", "not-applicable": "not applicable" } as const;

function row(check: Check): HTMLTableRowElement {
  const line = document.createElement("tr");
  line.className = check.outcome;
  line.dataset["name"] = check.name;
  const cell = (text: string): HTMLTableCellElement => {
    const made = line.insertCell();
    made.textContent = text;
    return made;
  };
  cell(WORDS[check.outcome]);
  cell(check.name);
  const same = check.measured === check.expected || check.expected === "";
  const values = cell(same ? check.measured : `${check.measured || "nothing"}; expected ${check.expected}`);
  if (check.note !== "") {
    const note = document.createElement("p");
    note.textContent = check.note;
    values.prepend(note);
  }
  return line;
}

// The first use of WebCrypto starts its threads; better now than while somebody waits for a verdict.
void globalThis.crypto?.subtle?.digest("SHA-256", new Uint8Array());

function taking(files: Iterable<File>, kind?: Kind): void {
  take(files, kind).then(run, (error: unknown) => refuse(error instanceof Error ? error.message : String(error)));
}

const SLOTS: readonly (readonly [string, Kind])[] = [["evidence-file", "evidence"], ["roots-files", "roots"], ["reference-files", "references"]];
for (const [id, kind] of SLOTS) {
  const input = element<HTMLInputElement>(id);
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    // Emptied, so that the same file can be given again after it changed.
    input.value = "";
    taking(files, kind);
  });
}
for (const id of ["challengers", "k", "nonce", "software"]) element(id).addEventListener("input", () => void run());
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  taking(event.dataTransfer?.files ?? []);
});
