// SHA-256 for short inputs.  A log is hashed event by event, hundreds of times, and each trip to WebCrypto's threads and
// back takes longer than the hash.  What is long goes to WebCrypto (`digest` in tpm.ts decides).

import type { Bytes } from "./bytes.js";

/** First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
const K = Int32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
  0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
  0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
  0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
);

/** Square roots of the first eight primes. */
const START = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);

const BLOCK = 64;

/** SHA-256 of the parts as one message. */
export function sha256(...parts: readonly Uint8Array[]): Bytes {
  let length = 0;
  for (const part of parts) length += part.length;
  // The message, a one bit, zeros, and the length in bits: 2^32 bits are never reached here.
  const padded = new Uint8Array(BLOCK * (Math.floor((length + 8) / BLOCK) + 1));
  let at = 0;
  for (const part of parts) {
    padded.set(part, at);
    at += part.length;
  }
  padded[length] = 0x80;
  for (let place = padded.length - 1, left = 8 * length; left > 0; place--, left = Math.floor(left / 256)) padded[place] = left % 256;
  const state = START.slice();
  for (let block = 0; block < padded.length; block += BLOCK) compress(state, padded, block);
  const out = new Uint8Array(32);
  for (let place = 0; place < 32; place++) out[place] = number(state, place >>> 2) >>> (24 - 8 * (place & 3));
  return out;
}

/** One word; the loops below never leave their arrays. */
const number = (array: Int32Array, at: number): number => array[at] as number;

/** Of one block at a time, and filled anew for each. */
const WORDS = new Int32Array(64);

// Written out: this is where the time goes, and it must be fast before the engine has got to know it.
function compress(state: Int32Array, bytes: Uint8Array, block: number): void {
  const words = WORDS;
  for (let t = 0, at = block; t < 16; t++, at += 4) {
    words[t] = ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
  }
  for (let t = 16; t < 64; t++) {
    const x = number(words, t - 15);
    const y = number(words, t - 2);
    const small0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const small1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    words[t] = (number(words, t - 16) + small0 + number(words, t - 7) + small1) | 0;
  }
  let a = number(state, 0);
  let b = number(state, 1);
  let c = number(state, 2);
  let d = number(state, 3);
  let e = number(state, 4);
  let f = number(state, 5);
  let g = number(state, 6);
  let h = number(state, 7);
  for (let t = 0; t < 64; t++) {
    const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + big1 + ((e & f) ^ (~e & g)) + number(K, t) + number(words, t)) | 0;
    const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] = number(state, 0) + a;
  state[1] = number(state, 1) + b;
  state[2] = number(state, 2) + c;
  state[3] = number(state, 3) + d;
  state[4] = number(state, 4) + e;
  state[5] = number(state, 5) + f;
  state[6] = number(state, 6) + g;
  state[7] = number(state, 7) + h;
}
