// One unit of a node, shown without the others: does this proof lead from the unit's text to a root that somebody else
// is believed about?  A second opinion on `appliance/carve`, made from what is written there and not from its code.

import { equal, FormatError, fromHex, utf8, type Bytes } from "./bytes.js";
import { parseJson, type Json } from "./json.js";
import { sha256 } from "./sha256.js";

/** `shown`, or the first thing that is wrong: no proof, a way that no tree has, another root, text of many meanings. */
export type UnitAnswer = "shown" | "file" | "way" | "elsewhere" | "unreadable";

const FILE_BYTES_MAX = 64 * 1024;
const UNITS_MAX = 65_536n;
const MEMBERS = ["version", "unit", "index", "count", "siblings"];

interface UnitProof {
  readonly unit: Bytes;
  readonly text: string;
  readonly index: bigint;
  readonly count: bigint;
  readonly siblings: readonly Bytes[];
}

/** What the file of a proof shows under `root`. */
export function checkUnitProof(file: Bytes, root: Bytes): UnitAnswer {
  let proof: UnitProof;
  try {
    proof = parse(file);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return "file";
  }
  const leads = follow(proof);
  if (leads === undefined) return "way";
  if (!equal(leads, root)) return "elsewhere";
  return isCarvers(proof.text) ? "shown" : "unreadable";
}

function fail(what: string): never {
  throw new FormatError("proof", 0, what);
}

function parse(file: Bytes): UnitProof {
  if (file.length > FILE_BYTES_MAX) fail("too large");
  const document = parseJson(file, "proof", 3);
  if (document.kind !== "object") return fail("no object");
  const { members } = document;
  if (members.size !== MEMBERS.length || MEMBERS.some((name) => !members.has(name))) fail("other members");
  if (integer(members.get("version")) !== 1n) fail("another version");
  const unit = members.get("unit");
  // Half a pair of surrogates is no character.
  if (unit?.kind !== "string" || /\p{Cs}/u.test(unit.value)) return fail("the unit is no text");
  const siblings = members.get("siblings");
  if (siblings?.kind !== "array") return fail("the siblings are no list");
  return {
    unit: utf8(unit.value),
    text: unit.value,
    index: integer(members.get("index")),
    count: integer(members.get("count")),
    siblings: siblings.items.map(hash),
  };
}

function integer(value: Json | undefined): bigint {
  if (value?.kind !== "number" || !/^(0|[1-9][0-9]{0,19})$/.test(value.text)) return fail("no count");
  const number = BigInt(value.text);
  return number < 1n << 64n ? number : fail("no count of 64 bits");
}

function hash(value: Json): Bytes {
  const bytes = value.kind === "string" ? fromHex(value.value.replace(/^0x/, "")) : undefined;
  return bytes?.length === 32 ? bytes : fail("a sibling is no hash");
}

/**
 * The root that a proof leads to, by intervals: the tree over `count` leaves splits where the left part is the largest
 * whole tree below the top level, so the way down to a leaf is known before the first hash is made.
 */
function follow({ unit, index, count, siblings }: UnitProof): Bytes | undefined {
  if (index >= count || count > UNITS_MAX) return undefined;
  const turns: boolean[] = [];
  let [from, size, width] = [0n, count, 1n];
  while (width < count) width *= 2n;
  for (; width > 1n; width /= 2n) {
    const half = width / 2n;
    // A part that is no wider than half a whole tree goes up unchanged.
    if (size <= half) continue;
    const right = index >= from + half;
    turns.push(right);
    [from, size] = right ? [from + half, size - half] : [from, half];
  }
  if (turns.length !== siblings.length) return undefined;
  let node = sha256(Uint8Array.of(0), unit);
  for (const sibling of siblings) {
    node = turns.pop() === true ? sha256(Uint8Array.of(1), sibling, node) : sha256(Uint8Array.of(1), node, sibling);
  }
  return node;
}

/** Text as it is written: of the escapes only those that are needed. */
const TEXT = '"(?:[^"\\\\\\u0000-\\u001f]|\\\\["\\\\bfnrt]|\\\\u00(?:0[0-7bef]|1[0-9a-f]))*"';
const U32 = upTo(String(2n ** 32n - 1n));
const U64 = upTo(String(2n ** 64n - 1n));

/** Kinds of resources with their members, in the order in which they are written. */
const RESOURCES = [
  `"compute","cpus":\\[(?:${several(U32)})?\\]`,
  `"memory","bytes":${U64}`,
  `"storage","serial":(?<serial>${TEXT}),"bytes":${U64},"tier":"(?:fast|slow)"`,
  `"network","mac":"[0-9a-f]{2}(?::[0-9a-f]{2}){5}","mbps":(?:null|${U32})`,
  `"gpu","uuid":${TEXT},"bytes":${U64}`,
  `"gpu-slice","uuid":${TEXT},"gpu":${TEXT},"profile":${TEXT},"bytes":${U64}`,
].join("|");

const UNIT = new RegExp(
  `^\\{"id":${TEXT},"resource":\\{"kind":(?:${RESOURCES})\\},"node":(?:null|${U32})` +
    `(?:,"pcie":\\[${several(TEXT)}\\])?(?:,"confidential":\\[${several('"(?:sev-snp|tdx|gpu)"')}\\])?\\}$`,
  "u",
);

/** What firmware writes where there is no serial. */
const NO_SERIALS = ["", "none", "not specified", "to be filled by o.e.m.", "default string", "unknown", "n/a"];
const SERIAL_BYTES_MAX = 128;

/** Whether a unit's text is as a carver writes it, so that two readers cannot see two units in it. */
function isCarvers(text: string): boolean {
  const found = UNIT.exec(text);
  if (found === null) return false;
  const written = found.groups?.serial;
  if (written === undefined) return true;
  const serial = JSON.parse(written) as string;
  // Nobody's serial begins or ends with a space, or has a control character.
  if (/^\p{White_Space}|\p{White_Space}$|\p{Cc}/u.test(serial)) return false;
  return utf8(serial).length <= SERIAL_BYTES_MAX && !NO_SERIALS.includes(serial.toLowerCase());
}

function several(one: string): string {
  return `${one}(?:,${one})*`;
}

/** A pattern of the counts from 0 to `most`, without needless zeros. */
function upTo(most: string): string {
  const parts = ["0", `[1-9][0-9]{0,${most.length - 2}}`, most];
  for (let at = 0; at < most.length; at++) {
    const [least, below] = [at === 0 ? 1 : 0, Number(most[at]) - 1];
    if (below >= least) parts.push(`${most.slice(0, at)}[${least}-${below}][0-9]{${most.length - 1 - at}}`);
  }
  return `(?:${parts.join("|")})`;
}
