// The page: files and policy in, verdict shown.  Texts from files are only ever set as text, never as markup.

import { FormatError, fromHex, type Bytes } from "./bytes.js";
import { decodeEvidence } from "./evidence.js";
import { latin1, Library, slotOf, type NamedFile, type Slot } from "./given.js";
import type { Policy } from "./policy.js";
import { selfTest } from "./selftest.js";
import { render } from "./show.js";
import { verify } from "./verify.js";

/** Browsers give WebCrypto to pages from a file, from this machine or over https only. */
const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
const library = subtle && new Library(subtle);

/** What the reader of this page has given so far.  A place that holds one file keeps the last. */
const given: Record<Slot, readonly NamedFile[]> = { evidence: [], roots: [], boards: [], references: [], chain: [], firmware: [] };

/** Larger than revocation lists, and evidence has 4 MiB at most. */
const FILE_BYTES_MAX = 24 * 1024 * 1024;

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page lacks #${id}`);
  return found as T;
}

async function readFile(file: File): Promise<NamedFile> {
  if (file.size > FILE_BYTES_MAX) throw new FormatError(file.name, FILE_BYTES_MAX, `${file.size} bytes`);
  return { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
}

/** Files go where they were dropped, and those dropped on no place where their content belongs. */
async function take(files: readonly File[], slot?: Slot): Promise<void> {
  for (const file of await Promise.all(files.map(readFile))) {
    const place = slot ?? slotOf(file);
    given[place] = place === "evidence" ? [file] : [...given[place].filter((other) => other.name !== file.name), file];
    const label = document.querySelector(`[data-slot="${place}"]`);
    label?.classList.add("given");
    const names = label?.querySelector("em");
    if (names) names.textContent = given[place].map(({ name }) => name).join(", ");
  }
  await run();
}

const isPublication = ({ bytes }: NamedFile): boolean => latin1(bytes.subarray(0, 16)).trimStart().startsWith("{");

function hexField(text: string, length: number, name: string): Bytes {
  const bytes = fromHex(text);
  if (bytes?.length !== length) throw new FormatError(name, 0, `not ${2 * length} hex digits`);
  return bytes;
}

function word(id: string): string {
  return element<HTMLInputElement>(id).value.trim().replace(/^0x/, "");
}

function keys(id: string): Bytes[] {
  return element<HTMLTextAreaElement>(id).value.split(/\s+/).filter((key) => key !== "").map((key) => hexField(key, 64, id));
}

/** The policy as the page has it, and what of it could not be read. */
async function policy(from: Library): Promise<{ rules: Policy; remarks: readonly string[] }> {
  const [makers, boards] = [from.makers(given.roots), from.makers(given.boards)];
  const challengers = keys("challengers");
  const k = Number.parseInt(element<HTMLInputElement>("k").value, 10);
  const [nonce, block] = [word("nonce"), word("block")];
  const [publication, another] = given.chain.filter(isPublication);
  if (another !== undefined) throw new FormatError(another.name, 0, "a second publication: give one");
  const rules: Policy = {
    roots: makers.roots,
    boards: boards.roots,
    crls: [...makers.crls.lists, ...boards.crls.lists],
    deniedFirmware: from.denied(given.firmware),
    references: await from.references(given.references, keys("signers")),
    allowSoftwareTpm: element<HTMLInputElement>("software").checked,
    challengers,
    k: challengers.length === 0 || !(k >= 0) ? 0 : k,
    nonce: nonce === "" ? undefined : { word: hexField(nonce, 32, "nonce") },
    lastSeen: undefined,
    headers: from.headers(given.chain.filter((file) => !isPublication(file))),
    publication: publication?.bytes,
    publishedBlock: block === "" ? undefined : hexField(block, 32, "block"),
  };
  return { rules, remarks: [makers.roots, makers.crls, boards.roots, boards.crls].flatMap(({ remarks }) => remarks) };
}

/** Verifies what is given.  Later calls overtake earlier ones. */
let turn = 0;
async function run(): Promise<void> {
  const mine = ++turn;
  try {
    if (subtle === undefined || library === undefined) throw new FormatError("this page", 0, "was loaded over plain http: open it as a file or over https");
    const { rules, remarks } = await policy(library);
    await tested;
    const [evidence] = given.evidence;
    if (evidence === undefined) {
      if (mine === turn) render.remarks(remarks);
      return;
    }
    const now = Math.floor(Date.now() / 1000);
    const start = performance.now();
    const verdict = await verify(subtle, decodeEvidence(evidence.bytes), rules, now);
    const milliseconds = performance.now() - start;
    if (mine !== turn) return;
    render.remarks(remarks);
    render.verdict(verdict, milliseconds);
  } catch (error) {
    if (mine === turn) render.refusal(error instanceof Error ? error.message : String(error));
  }
}

/** The page judges nothing before it has shown that it can. */
const tested: Promise<void> = subtle === undefined ? Promise.resolve() : selfTest(subtle).then(
  (wrong) => {
    const line = element("self-test");
    line.textContent = wrong === undefined ? "It has judged a good and a forged file rightly." : `Do not use this browser: ${wrong}.`;
    line.className = wrong === undefined ? "right" : "wrong";
    if (wrong !== undefined) throw new Error(`this browser failed the page's self-test: ${wrong}`);
  },
);
// Whoever gives a file hears of it.
tested.catch(() => undefined);

function taking(files: readonly File[], slot?: Slot): void {
  take(files, slot).catch((error: unknown) => render.refusal(error instanceof Error ? error.message : String(error)));
}

for (const label of document.querySelectorAll<HTMLElement>("[data-slot]")) {
  const input = label.querySelector("input");
  input?.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    // Emptied, so that the same file can be given again after it changed.
    input.value = "";
    taking(files, label.dataset["slot"] as Slot);
  });
}
for (const id of ["challengers", "k", "nonce", "software", "signers", "block"]) element(id).addEventListener("input", () => void run());
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const files = [...(event.dataTransfer?.files ?? [])];
  const label = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-slot]") : null;
  // Several files on one place may be of several kinds: only a single one is taken at its reader's word.
  taking(files, files.length === 1 ? (label?.dataset["slot"] as Slot | undefined) : undefined);
});
