// Every vector: accepted, or refused for exactly the reason it was made for.

import assert from "node:assert/strict";
import test from "node:test";
import { judge, unknownMembers, vectors } from "./vectors.mjs";

for (const vector of vectors) {
  const unknown = unknownMembers(vector);
  const skip = unknown.length > 0 && `this verifier does not know: ${unknown.join(", ")}`;
  test(`${vector.name}: ${vector.reason}`, { skip }, async () => {
    const { answer, verdict, error } = await judge(vector);
    const why = error?.message ?? JSON.stringify(verdict.checks.filter((check) => check.outcome === "fail"), null, 1);
    assert.equal(answer, vector.expected, why);
    if (answer === "accepted") assert.equal(verdict.tier, vector.tier, verdict.why_not_higher);
  });
}
