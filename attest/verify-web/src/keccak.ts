// Keccak-256 as Ethereum names blocks with it: the one hash that WebCrypto does not have.

import type { Bytes } from "./bytes.js";

const RATE = 136;
const ROUNDS = 24;
const MASK = (1n << 64n) - 1n;
/** Rotations of the 25 lanes, x + 5y (FIPS 202, 3.2.2). */
const ROTATIONS = [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14];

/** Round constants, from the shift register that FIPS 202, 3.2.5 defines them by. */
const CONSTANTS: readonly bigint[] = (() => {
  let register = 1;
  const bit = (): boolean => {
    const out = (register & 1) === 1;
    register <<= 1;
    if (register & 0x100) register ^= 0x171;
    return out;
  };
  return Array.from({ length: ROUNDS }, () => {
    let constant = 0n;
    for (let j = 0; j < 7; j++) if (bit()) constant |= 1n << BigInt((1 << j) - 1);
    return constant;
  });
})();

const rotate = (lane: bigint, by: number): bigint => ((lane << BigInt(by)) | (lane >> BigInt(64 - by))) & MASK;

function permute(lanes: bigint[]): void {
  const at = (index: number): bigint => lanes[index] ?? 0n;
  for (const constant of CONSTANTS) {
    const parity = Array.from({ length: 5 }, (_, x) => at(x) ^ at(x + 5) ^ at(x + 10) ^ at(x + 15) ^ at(x + 20));
    const mixed = parity.map((_, x) => (parity[(x + 4) % 5] ?? 0n) ^ rotate(parity[(x + 1) % 5] ?? 0n, 1));
    const moved: bigint[] = new Array<bigint>(25).fill(0n);
    for (let x = 0; x < 5; x++) {
      for (let y = 0; y < 5; y++) {
        moved[y + 5 * ((2 * x + 3 * y) % 5)] = rotate(at(x + 5 * y) ^ (mixed[x] ?? 0n), ROTATIONS[x + 5 * y] ?? 0);
      }
    }
    for (let place = 0; place < 25; place++) {
      const row = 5 * Math.floor(place / 5);
      const [next, second] = [moved[row + ((place + 1) % 5)] ?? 0n, moved[row + ((place + 2) % 5)] ?? 0n];
      lanes[place] = (moved[place] ?? 0n) ^ (~next & MASK & second);
    }
    lanes[0] = at(0) ^ constant;
  }
}

export function keccak256(message: Bytes): Bytes {
  const padded = new Uint8Array(RATE * (Math.floor(message.length / RATE) + 1));
  padded.set(message);
  padded[message.length] = 0x01;
  padded[padded.length - 1] = (padded[padded.length - 1] ?? 0) | 0x80;
  const lanes = new Array<bigint>(25).fill(0n);
  const view = new DataView(padded.buffer);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let lane = 0; lane < RATE / 8; lane++) lanes[lane] = (lanes[lane] ?? 0n) ^ view.getBigUint64(block + 8 * lane, true);
    permute(lanes);
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane++) out.setBigUint64(8 * lane, lanes[lane] ?? 0n, true);
  return new Uint8Array(out.buffer);
}
