// Keccak-256 as Ethereum names blocks with it: the one hash that WebCrypto does not have.

import type { Bytes } from "./bytes.js";

const RATE = 136;
const ROUNDS = 24;
/** Rotations of the 25 lanes, x + 5y (FIPS 202, 3.2.2). */
const ROTATIONS = [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14];
/** Where each lane goes: (x, y) to (y, 2x + 3y). */
const PLACES = Array.from({ length: 25 }, (_, lane) => Math.floor(lane / 5) + 5 * ((2 * (lane % 5) + 3 * Math.floor(lane / 5)) % 5));

/** Round constants, low and high half of each, from the shift register that FIPS 202, 3.2.5 defines them by. */
const CONSTANTS: Int32Array = (() => {
  let register = 1;
  const bit = (): boolean => {
    const out = (register & 1) === 1;
    register <<= 1;
    if (register & 0x100) register ^= 0x171;
    return out;
  };
  const halves = new Int32Array(2 * ROUNDS);
  for (let round = 0; round < ROUNDS; round++) {
    for (let j = 0; j < 7; j++) {
      const place = (1 << j) - 1;
      if (bit()) halves[2 * round + (place >>> 5)] = (halves[2 * round + (place >>> 5)] ?? 0) | (1 << (place & 31));
    }
  }
  return halves;
})();

/** Lanes are 64 bits: low half at 2 · lane, high half behind it. */
function permute(lanes: Int32Array, moved: Int32Array, parity: Int32Array): void {
  const at = (of: Int32Array, index: number): number => of[index] as number;
  for (let round = 0; round < ROUNDS; round++) {
    for (let x = 0; x < 10; x++) parity[x] = at(lanes, x) ^ at(lanes, x + 10) ^ at(lanes, x + 20) ^ at(lanes, x + 30) ^ at(lanes, x + 40);
    for (let lane = 0; lane < 25; lane++) {
      const before = 2 * ((lane + 4) % 5);
      const after = 2 * ((lane + 1) % 5);
      const low1 = at(parity, after);
      const high1 = at(parity, after + 1);
      const low = at(lanes, 2 * lane) ^ at(parity, before) ^ ((low1 << 1) | (high1 >>> 31));
      const high = at(lanes, 2 * lane + 1) ^ at(parity, before + 1) ^ ((high1 << 1) | (low1 >>> 31));
      const by = ROTATIONS[lane] as number;
      // Rotations of 32 and more begin by changing the halves.
      const near = by < 32 ? low : high;
      const far = by < 32 ? high : low;
      const rest = by & 31;
      const to = 2 * (PLACES[lane] as number);
      moved[to] = rest === 0 ? near : (near << rest) | (far >>> (32 - rest));
      moved[to + 1] = rest === 0 ? far : (far << rest) | (near >>> (32 - rest));
    }
    for (let lane = 0; lane < 25; lane++) {
      const row = lane - (lane % 5);
      const next = 2 * (row + ((lane + 1) % 5));
      const second = 2 * (row + ((lane + 2) % 5));
      lanes[2 * lane] = at(moved, 2 * lane) ^ (~at(moved, next) & at(moved, second));
      lanes[2 * lane + 1] = at(moved, 2 * lane + 1) ^ (~at(moved, next + 1) & at(moved, second + 1));
    }
    lanes[0] = at(lanes, 0) ^ at(CONSTANTS, 2 * round);
    lanes[1] = at(lanes, 1) ^ at(CONSTANTS, 2 * round + 1);
  }
}

export function keccak256(message: Bytes): Bytes {
  const padded = new Uint8Array(RATE * (Math.floor(message.length / RATE) + 1));
  padded.set(message);
  padded[message.length] = 0x01;
  padded[padded.length - 1] = (padded[padded.length - 1] ?? 0) | 0x80;
  const [lanes, moved, parity] = [new Int32Array(50), new Int32Array(50), new Int32Array(10)];
  const view = new DataView(padded.buffer);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let half = 0; half < RATE / 4; half++) lanes[half] = (lanes[half] as number) ^ view.getInt32(block + 4 * half, true);
    permute(lanes, moved, parity);
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let half = 0; half < 8; half++) out.setInt32(4 * half, lanes[half] as number, true);
  return new Uint8Array(out.buffer);
}
