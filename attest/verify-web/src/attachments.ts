// Documents that travel with the quote, and the root over the units in the manifest.

import { equal, FormatError, toHex, type Bytes } from "./bytes.js";
import type { Evidence } from "./evidence.js";
import { parseJson } from "./json.js";
import { sha256 } from "./sha256.js";
import { digest } from "./tpm.js";
import type { Checks } from "./verdict.js";

export async function checkAttachments(subtle: SubtleCrypto, evidence: Evidence, checks: Checks): Promise<void> {
  const { statement } = evidence;
  const pairs: readonly (readonly [string, Bytes | undefined, Bytes | undefined])[] = [
    ["attachment-inventory", evidence.inventory, statement.inventory],
    ["attachment-burn-in", evidence.burnIn, statement.burnIn],
    ["attachment-manifest", evidence.manifest, statement.manifest],
  ];
  // Long ones are hashed side by side.
  const hashes = pairs.map(([, document]) => document && digest(subtle, "SHA-256", document).then(toHex));
  for (const [at, [name, document, named]] of pairs.entries()) {
    if (document === undefined && named === undefined) {
      checks.skip(name, "neither in the file nor in the statement");
      continue;
    }
    const hash = await hashes[at];
    const expected = named && toHex(named);
    checks.add(name, hash === expected, hash ?? "none", expected ?? "none", "the statement was made over another document");
  }
  await checkUnitRoot(subtle, evidence, checks);
}

async function checkUnitRoot(subtle: SubtleCrypto, evidence: Evidence, checks: Checks): Promise<void> {
  const { unitRoot } = evidence.statement;
  if (unitRoot === undefined) {
    checks.skip("unit-root", "an admission offers no units");
    return;
  }
  if (evidence.manifest === undefined) {
    checks.fail("unit-root", "none", "the file has no manifest");
    return;
  }
  try {
    const root = await unitRootOf(subtle, evidence.manifest);
    checks.add("unit-root", equal(root, unitRoot), toHex(root), toHex(unitRoot), "the statement was made over other units");
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    checks.fail("unit-root", "", error.message);
  }
}

/** A unit is in the list, the list in the document: nothing below is taken apart. */
const UNIT_DEPTH = 2;
const UNITS_MAX = 65_536;

/** Merkle root over the units as their text stands in the manifest (FORMAT.md, section 5). */
export async function unitRootOf(subtle: SubtleCrypto, manifest: Bytes): Promise<Bytes> {
  const document = parseJson(manifest, "manifest", UNIT_DEPTH);
  const members = document.kind === "object" ? document.members : undefined;
  const version = members?.get("version");
  if (version?.kind !== "number" || version.text !== "1") throw new FormatError("manifest.version", 0, "not 1");
  const units = members?.get("units");
  if (units?.kind !== "array") throw new FormatError("manifest.units", units?.from ?? 0, "not a list");
  if (units.items.length > UNITS_MAX) throw new FormatError("manifest.units", units.from, `more than ${UNITS_MAX}`);
  let level: Bytes[] = await Promise.all(
    units.items.map((unit) => digest(subtle, "SHA-256", Uint8Array.of(0), manifest.subarray(unit.from, unit.to))),
  );
  while (level.length > 1) {
    const above: Bytes[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const [left, right] = [level[at] ?? new Uint8Array(), level[at + 1]];
      above.push(right === undefined ? left : sha256(Uint8Array.of(1), left, right));
    }
    level = above;
  }
  return level[0] ?? new Uint8Array(32);
}
