// Proofs of units: every vector (made and judged by appliance/carve, vectors/unit-proofs.json), and altered ones.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { checkUnitProof, fromHex } from "../dist/index.js";
import { folder } from "./vectors.mjs";

const { version, vectors } = JSON.parse(readFileSync(`${folder}unit-proofs.json`, "utf8"));
const bytes = (text) => new TextEncoder().encode(text);

test("the format is known", () => assert.equal(version, 1));

for (const { name, proof, root, expected } of vectors) {
  test(`${name}: ${expected}`, () => assert.equal(checkUnitProof(bytes(proof), fromHex(root)), expected));
}

test("nothing altered is shown", () => {
  const good = vectors.filter(({ expected }) => expected === "shown");
  assert.ok(good.length > 10);
  for (const { name, proof, root } of good) {
    const file = bytes(proof);
    for (let at = 0; at < file.length; at++) {
      const altered = file.slice();
      altered[at] ^= 1 << (at % 7);
      const answer = checkUnitProof(altered, fromHex(root));
      // Case of a hash's digits is the only thing that may change.
      const same = new TextDecoder().decode(altered).toLowerCase() === proof.toLowerCase();
      assert.ok(answer !== "shown" || same, `${name}: byte ${at}`);
    }
  }
});
