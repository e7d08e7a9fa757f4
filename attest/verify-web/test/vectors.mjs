// Reads ../vectors as its README says, for the tests beside this file.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { webcrypto } from "node:crypto";
import * as verifier from "../dist/index.js";

export const subtle = webcrypto.subtle;
export const folder = fileURLToPath(new URL("../../vectors/", import.meta.url));

export const read = (path) => new Uint8Array(readFileSync(folder + path));
export const { vectors } = JSON.parse(readFileSync(folder + "vectors.json", "utf8"));

const hex = (text) => verifier.fromHex(text) ?? assertHex(text);
const assertHex = (text) => {
  throw new Error(`"${text}" is no hex`);
};

/** Members of a policy that this verifier knows; one with others is not judged, as the README demands. */
const KNOWN = new Set(["roots", "boards", "crls", "denied_firmware", "reference", "allow_software_tpm", "challengers", "k", "nonce", "now", "last_seen", "headers", "publication", "published_block"]);
const KNOWN_OUTSIDE = new Set(["name", "file", "policy", "expected", "tier", "reason"]);

export function unknownMembers(vector) {
  // Empty lists and nulls ask for nothing.
  const asks = (value) => value !== null && !(Array.isArray(value) && value.length === 0);
  const policy = Object.entries(vector.policy).filter(([name, value]) => !KNOWN.has(name) && asks(value));
  return [...Object.keys(vector).filter((name) => !KNOWN_OUTSIDE.has(name)), ...policy.map(([name]) => name)];
}

export async function policyOf({ policy }) {
  const text = (path) => ({ name: path, text: readFileSync(folder + path, "latin1") });
  return {
    roots: verifier.loadRoots(policy.roots.map(text)),
    boards: verifier.loadRoots((policy.boards ?? []).map(text)),
    crls: verifier.loadCrls((policy.crls ?? []).map(text)).lists,
    deniedFirmware: verifier.parseDeniedFirmware(new TextEncoder().encode(JSON.stringify(policy.denied_firmware ?? []))),
    references: await Promise.all(policy.reference.map((path) => verifier.readReference(subtle, read(path), [], path))),
    allowSoftwareTpm: policy.allow_software_tpm,
    challengers: policy.challengers.map(hex),
    k: policy.k,
    nonce: policy.nonce === null ? undefined : { cbor: hex(policy.nonce) },
    headers: (policy.headers ?? []).map((rlp) => verifier.parseHeader(hex(rlp))),
    publication: policy.publication ? read(policy.publication) : undefined,
    publishedBlock: policy.published_block ? hex(policy.published_block) : undefined,
    lastSeen: policy.last_seen === null ? undefined : lastSeenOf(policy.last_seen),
  };
}

function lastSeenOf(seen) {
  return {
    evidence: hex(seen.evidence),
    sequence: BigInt(seen.sequence),
    akName: hex(seen.ak_name),
    resetCount: seen.reset_count,
    restartCount: seen.restart_count,
    clock: BigInt(seen.clock),
    firmware: BigInt(seen.firmware),
    pcrs: new Map(Object.entries(seen.pcrs).map(([pcr, value]) => [Number(pcr), hex(value)])),
  };
}

/** "accepted", the first check that fails, or "file", with the verdict where there is one. */
export async function judge(vector) {
  let evidence;
  try {
    evidence = verifier.decodeEvidence(read(vector.file));
  } catch (error) {
    if (!(error instanceof verifier.FormatError)) throw error;
    return { answer: "file", error };
  }
  const verdict = await verifier.verify(subtle, evidence, await policyOf(vector), vector.policy.now);
  return { answer: verifier.firstFailure(verdict)?.name ?? "accepted", verdict };
}
