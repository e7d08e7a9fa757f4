// The one SHA-256 that is not the engine's, against the engine's, at every edge of its blocks.

import assert from "node:assert/strict";
import test from "node:test";
import { sha256, toHex } from "../dist/index.js";
import { subtle } from "./vectors.mjs";

test("as WebCrypto says, for every length up to five blocks and some long ones", async () => {
  for (const length of [...Array(321).keys(), 1 << 16, 100_003]) {
    const message = Uint8Array.from({ length }, (_, at) => (31 * at + length) % 251);
    const cut = length >>> 1;
    const wanted = toHex(new Uint8Array(await subtle.digest("SHA-256", message)));
    assert.equal(toHex(sha256(message)), wanted, `${length} bytes`);
    assert.equal(toHex(sha256(message.subarray(0, cut), new Uint8Array(), message.subarray(cut))), wanted, `${length} bytes in parts`);
  }
});
