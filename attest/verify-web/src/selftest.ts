// Before the page takes a file it judges two it knows the answers to.  That shows that this browser's cryptography works,
// and a verdict on the first file takes no longer than on the next: the engine has started its threads and compiled its code.

import type { Bytes } from "./bytes.js";
import { readReference } from "./corim.js";
import { decodeEvidence } from "./evidence.js";
import { loadRoots } from "./load.js";
import { sha256 } from "./sha256.js";
import { firstFailure } from "./verdict.js";
import { verify } from "./verify.js";

/** Put here by build.mjs, from the vectors. */
declare const SELF_TEST: {
  readonly evidence: string;
  readonly roots: string;
  readonly reference: string;
  readonly challengers: readonly string[];
  readonly now: number;
};

const ROUNDS = 6;
const HASHES = 600;

function unpack(base64: string): Bytes {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** Judges a good file, and the same with one bit of its signature turned.  Says what is wrong, or nothing. */
export async function selfTest(subtle: SubtleCrypto): Promise<string | undefined> {
  let value: Bytes = new Uint8Array(32);
  for (let count = 0; count < HASHES; count++) value = sha256(value, value);
  const policy = {
    roots: loadRoots([{ name: "self-test", text: SELF_TEST.roots }]),
    boards: { certificates: [], remarks: [] },
    crls: [],
    deniedFirmware: [],
    references: [await readReference(subtle, unpack(SELF_TEST.reference), [], "self-test")],
    allowSoftwareTpm: false,
    challengers: SELF_TEST.challengers.map((key) => Uint8Array.from(key.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))),
    k: 2,
    nonce: undefined,
    lastSeen: undefined,
    headers: [],
  };
  for (let round = 0; round < ROUNDS; round++) {
    const good = decodeEvidence(unpack(SELF_TEST.evidence));
    const forged = { ...good, signature: good.signature.map((byte, at) => (at === good.signature.length - 1 ? byte ^ 1 : byte)) };
    const [right, wrong] = [await verify(subtle, good, policy, SELF_TEST.now), await verify(subtle, forged, policy, SELF_TEST.now)];
    const failure = firstFailure(right);
    if (failure !== undefined) return `a good file was refused by ${failure.name}`;
    if (firstFailure(wrong)?.name !== "quote-signature") return "a forged signature was not noticed";
    // Other work of the page comes in between.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return undefined;
}
