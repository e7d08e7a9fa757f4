// Statements of challengers that the attestation key lives in the TPM of the endorsement key (FORMAT.md, section 4).

import { equal, FormatError, toHex, type Bytes } from "./bytes.js";
import { asBytes, decodeCbor, Members, type Item } from "./cbor.js";
import { sigStructure } from "./cborwrite.js";
import type { Endorsed } from "./endorsement.js";
import type { Evidence } from "./evidence.js";
import type { Policy } from "./policy.js";
import { verifyP256 } from "./quote.js";
import type { Checks } from "./verdict.js";

interface Binding {
  readonly payload: Bytes;
  readonly signature: Bytes;
  readonly certificateHash: Bytes;
  readonly akName: Bytes;
  readonly nodeId: Bytes;
  readonly time: bigint;
  readonly challenger: Bytes;
}

const BINDING_BYTES_MAX = 2048;
const PROFILE = "scalerforge/binding/v1";
/** {1: -7}: ES256. */
const PROTECTED = Uint8Array.of(0xa1, 0x01, 0x26);
/** Clocks of challengers may be ahead by this much. */
const AHEAD_SECONDS_MAX = 600;

/** A statement that could be read, and whether its challenger, if known, signed it. */
interface Heard {
  readonly binding: Binding;
  readonly signed: Promise<boolean> | undefined;
}

/** Reads all statements and has their signatures judged side by side; an objection stands for what cannot be read. */
export function hearBindings(subtle: SubtleCrypto, evidence: Evidence, policy: Policy): readonly (Heard | string)[] {
  return evidence.bindings.map((bytes, index) => {
    try {
      const binding = decodeBinding(bytes, `bindings[${index}]`);
      const known = policy.challengers.some((one) => equal(one, binding.challenger));
      return { binding, signed: known ? verifyP256(subtle, binding.challenger, sigStructure(PROTECTED, binding.payload), binding.signature) : undefined };
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return error.message;
    }
  });
}

/** Counts different known challengers whose statement holds. */
export async function checkBindings(
  heard: readonly (Heard | string)[],
  evidence: Evidence,
  akName: Bytes,
  endorsed: Endorsed,
  policy: Policy,
  now: number,
  checks: Checks,
): Promise<number> {
  const counted = new Set<string>();
  const objections: string[] = [];
  for (const one of heard) {
    const objection = typeof one === "string" ? one : await objectionTo(one, evidence, akName, endorsed, now);
    if (objection !== undefined) objections.push(objection);
    else if (typeof one !== "string") counted.add(toHex(one.binding.challenger));
  }
  const note = objections.join("; ");
  if (policy.k === 0 && counted.size === 0) {
    checks.skip("bindings", note || "none is asked for");
  } else if (counted.size >= policy.k) {
    checks.remark("bindings", `${counted.size}`, `at least ${policy.k}`, note);
  } else {
    checks.add("bindings", false, `${counted.size}`, `at least ${policy.k}`, note || "no known challenger bound the key");
  }
  return counted.size;
}

function decodeBinding(bytes: Bytes, field: string): Binding {
  if (bytes.length > BINDING_BYTES_MAX) throw new FormatError(field, BINDING_BYTES_MAX, `${bytes.length} bytes`);
  const tagged = decodeCbor(bytes, field);
  if (tagged.kind !== "tag") throw new FormatError(field, tagged.at, "not a COSE_Sign1");
  const parts: readonly Item[] = tagged.value.kind === "array" ? tagged.value.value : [];
  const [header, open, payload, signature] = parts;
  if (parts.length !== 4 || !header || !payload || !signature) throw new FormatError(field, tagged.at, "not a COSE_Sign1");
  if (!equal(asBytes(header, field), PROTECTED)) throw new FormatError(field, header.at, "protected header is not {1: -7}");
  if (open?.kind !== "map" || open.value.size > 0) throw new FormatError(field, tagged.at, "unprotected header is not empty");
  const body = asBytes(payload, field);
  const members = Members.of(decodeCbor(body, field, payload.kind === "bytes" ? payload.bodyAt : 0), field);
  const profile = members.member(1, "profile");
  if (profile.kind !== "text" || profile.value !== PROFILE) throw new FormatError(field, profile.at, `not "${PROFILE}"`);
  const binding = {
    payload: body,
    signature: asBytes(signature, field, 64),
    certificateHash: members.bytes(2, "ek-certificate", 32),
    akName: members.bytes(3, "ak-name"),
    nodeId: members.bytes(4, "node-id", 32),
    firmware: members.uint(5, "firmware"),
    time: members.uint(6, "time"),
    challenger: members.bytes(7, "challenger", 64),
  };
  members.end();
  return binding;
}

async function objectionTo(
  { binding, signed }: Heard,
  evidence: Evidence,
  akName: Bytes,
  endorsed: Endorsed,
  now: number,
): Promise<string | undefined> {
  const who = `challenger ${toHex(binding.challenger).slice(0, 16)}…`;
  if (signed === undefined) return `${who} is not known here`;
  if (!(await signed)) return `${who} did not sign this`;
  const same = (a: Bytes, b: Bytes | undefined): boolean => b !== undefined && equal(a, b);
  if (!same(binding.certificateHash, endorsed.certificateHash)) return `${who} speaks of another certificate`;
  if (!same(binding.akName, akName)) return `${who} speaks of another attestation key`;
  if (!equal(binding.nodeId, evidence.nodeId)) return `${who} speaks of another node`;
  if (binding.time > BigInt(Math.trunc(now)) + BigInt(AHEAD_SECONDS_MAX)) return `${who} speaks from the future`;
  return undefined;
}
