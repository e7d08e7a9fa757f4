// Altered files, the same in each run.

import { decodeEvidence } from "../dist/index.js";
import { derMutated } from "./dermutate.mjs";

/** A small generator with a fixed start, so that a failure can be had again. */
export function dice(seed) {
  let state = seed >>> 0;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** Lengths and counts are where parsers break: bytes are set to extremes, cut out, repeated. */
export function mutated(bytes, roll) {
  const out = [...bytes];
  for (let left = 1 + roll(3); left > 0; left--) {
    const at = roll(out.length + 1);
    const kind = roll(5);
    if (kind === 0) out[at] = [0, 1, 0x7f, 0x80, 0xff][roll(5)];
    else if (kind === 1) out[at] = roll(256);
    else if (kind === 2) out.splice(at, 1 + roll(4));
    else if (kind === 3) out.splice(at, 0, ...out.slice(at, at + 1 + roll(40)));
    else out.length = Math.min(out.length, at);
  }
  return Uint8Array.from(out, (byte) => byte ?? 0);
}

/** Byte strings inside a file: where they begin in it, and how long they are. */
function parts(file) {
  let evidence;
  try {
    evidence = decodeEvidence(file);
  } catch {
    return [];
  }
  const found = [];
  const walk = (value) => {
    if (value instanceof Uint8Array) {
      if (value.buffer === file.buffer && value.length > 0 && value.length < file.length) found.push([value.byteOffset - file.byteOffset, value.length]);
    } else if (typeof value === "object" && value !== null) {
      for (const inner of Object.values(value)) walk(inner);
    }
  };
  walk(evidence);
  return found;
}

const HEADS = [[23, 0], [0xff, 1], [0xffff, 2]];

/** The file with one of its byte strings replaced, its length written anew: if it was the first that is read there. */
function replaced(file, [at, length], bytes) {
  const headBytes = 1 + (length > 23) + (length > 0xff);
  const shortest = HEADS.find(([most]) => bytes.length <= most);
  if (shortest === undefined) return file;
  const head = shortest[1] === 0 ? [0x40 | bytes.length] : shortest[1] === 1 ? [0x58, bytes.length] : [0x59, bytes.length >> 8, bytes.length & 0xff];
  return Uint8Array.from([...file.subarray(0, at - headBytes), ...head, ...bytes, ...file.subarray(at + length)]);
}

/** Alters one byte string inside the file, and where its length changes, keeps the frame around it whole. */
export function within(file, roll) {
  const choices = parts(file);
  if (choices.length === 0) return mutated(file, roll);
  // Certificates have the richest grammar of all parts: every third time it is one of them.
  const certificates = choices.filter(([at, length]) => file[at] === 0x30 && length > 100);
  const among = certificates.length > 0 && roll(3) === 0 ? certificates : choices;
  const [at, length] = among[roll(among.length)];
  const whole = file.subarray(at, at + length);
  if (whole[0] === 0x30 && length > 100 && roll(4) > 0) return replaced(file, [at, length], derMutated(whole, roll));
  if (roll(2) === 0) {
    const changed = file.slice();
    for (let left = 1 + roll(2); left > 0; left--) changed[at + roll(length)] = roll(4) === 0 ? [0, 1, 0x7f, 0x80, 0xff][roll(5)] : roll(256);
    return changed;
  }
  return replaced(file, [at, length], mutated(whole, roll));
}
