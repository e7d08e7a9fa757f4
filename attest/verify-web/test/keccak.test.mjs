// Keccak-256 at the edges of its blocks, and a header's shapes.

import assert from "node:assert/strict";
import test from "node:test";
import { FormatError, keccak256, parseHeader, toHex } from "../dist/index.js";

test("known answers", () => {
  const hex = (text) => toHex(keccak256(new TextEncoder().encode(text)));
  // The empty string and "abc": published with every Ethereum library.
  assert.equal(hex(""), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
  assert.equal(hex("abc"), "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
  assert.equal(new Set([134, 135, 136, 137, 271, 272].map((length) => hex("a".repeat(length)))).size, 6);
});

test("what is no header is a typed error", () => {
  const shapes = [[], [0xc0], [0x80], [0xf9, 0x00, 0x01], [0xff], [0xf8, 0x38], [0xc1, 0xc0], [0xc2, 0x81, 0x01], [0xbf, ...Array(8).fill(255)]];
  for (const shape of shapes) assert.throws(() => parseHeader(Uint8Array.from(shape)), FormatError, String(shape));
});
