// Any bytes at all: a verdict or a typed error, never anything else, and never "accepted" for an altered file.
// VERIFY_WEB_FLIPS=all flips every byte of the registration; by default every 61st, and every byte of the small files.

import assert from "node:assert/strict";
import test from "node:test";
import * as verifier from "../dist/index.js";
import { dice, mutated } from "./mutate.mjs";
import { policyOf, read, subtle, vectors } from "./vectors.mjs";

const of = (name) => vectors.find((vector) => vector.name === name);

async function answer(bytes, policy, now) {
  let evidence;
  try {
    evidence = verifier.decodeEvidence(bytes);
  } catch (error) {
    assert.ok(error instanceof verifier.FormatError, `untyped: ${error.stack}`);
    assert.ok(Number.isInteger(error.offset) && error.field !== "", error.message);
    return "file";
  }
  const verdict = await verifier.verify(subtle, evidence, policy, now);
  return verifier.firstFailure(verdict)?.name ?? "accepted";
}

test("every truncation is refused by a typed error", async () => {
  for (const name of ["good-registration", "rack-registration"]) {
    const file = read(of(name).file);
    const step = name === "rack-registration" ? 7 : 1;
    for (let length = 0; length < file.length; length += step) {
      assert.equal(await answer(file.slice(0, length), await policyOf(of(name)), 0), "file", `${name} cut at ${length}`);
    }
  }
});

/** Which byte is flipped in which way does not matter; that all bits get their turn does. */
const mask = (at) => 1 << at % 8;

async function flips(name, step) {
  const vector = of(name);
  // All challengers are asked for: a statement that policy does not need may be as wrong as it likes.
  const policy = { ...(await policyOf(vector)), k: vector.policy.challengers.length };
  const file = read(vector.file);
  const seen = new Map();
  for (let at = 0; at < file.length; at += step) {
    const altered = file.slice();
    altered[at] ^= mask(at);
    const why = await answer(altered, policy, vector.policy.now);
    assert.notEqual(why, "accepted", `${name}: byte ${at} flipped and nobody minded`);
    seen.set(why, (seen.get(why) ?? 0) + 1);
  }
  return seen;
}

/** Bytes nobody vouches for must not exist in an accepted file, so policy asks for all there is. */
test("no flipped byte is accepted", async () => {
  const all = process.env.VERIFY_WEB_FLIPS === "all";
  for (const [name, step] of [["good-registration", all ? 1 : 5], ["board", all ? 1 : 5], ["ek-rsa", all ? 1 : 11], ["rack-registration", all ? 1 : 61]]) {
    const seen = await flips(name, step);
    console.log(name, JSON.stringify(Object.fromEntries(seen)));
  }
});

test("every part, mutated, leads to a verdict", async () => {
  const rounds = process.env.VERIFY_WEB_FLIPS === "all" ? 1000 : 40;
  const roll = dice(20_260_101);
  for (const name of ["good-registration", "rack-registration"]) {
    const vector = of(name);
    const policy = await policyOf(vector);
    const evidence = verifier.decodeEvidence(read(vector.file));
    for (const part of Object.keys(evidence).filter((key) => !["file", "statement", "statementBytes", "pcrs"].includes(key))) {
      const whole = evidence[part];
      for (let round = 0; round < (whole === undefined ? 0 : rounds); round++) {
        const changed = Array.isArray(whole) ? whole.map((each) => mutated(each, roll)) : mutated(whole, roll);
        const verdict = await verifier.verify(subtle, { ...evidence, [part]: changed }, policy, vector.policy.now);
        assert.ok(["T0", "T1", "T2"].includes(verdict.tier) && verdict.checks.length > 0);
      }
    }
  }
});

test("hostile shapes cost no stack and no time", async () => {
  const policy = await policyOf(of("good-registration"));
  const shapes = [
    new Uint8Array(200_000).fill(0x81),
    new Uint8Array(200_000).fill(0xa1),
    new Uint8Array(200_000).fill(0xd2),
    Uint8Array.of(0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    new Uint8Array(5 * 1024 * 1024),
  ];
  for (const shape of shapes) assert.equal(await answer(shape, policy, 0), "file");
});

test("deep JSON is walked, not climbed", async () => {
  const deep = (open, close, count) => new TextEncoder().encode(`{"version":1,"units":[${open.repeat(count)}1${close.repeat(count)}]}`);
  for (const [open, close] of [["[", "]"], ['{"a":', "}"]]) {
    assert.equal((await verifier.unitRootOf(subtle, deep(open, close, 100_000))).length, 32);
    await assert.rejects(verifier.unitRootOf(subtle, deep(open, "", 100_000)), verifier.FormatError);
  }
});

test("unit roots are over the text as it stands", async () => {
  const hash = async (...parts) => new Uint8Array(await subtle.digest("SHA-256", Buffer.concat(parts.map((part) => Buffer.from(part)))));
  const leaf = (text) => hash([0], text);
  const root = (text) => verifier.unitRootOf(subtle, new TextEncoder().encode(text)).then(verifier.toHex);
  const hex = async (bytes) => verifier.toHex(await bytes);
  assert.equal(await root('{"units":[],"version":1}'), "00".repeat(32));
  assert.equal(await root('{"version":1,"units": [ {"b" : 1.0, "a":"\\u00e9"} ] }'), await hex(leaf('{"b" : 1.0, "a":"\\u00e9"}')));
  const [a, b, c] = await Promise.all(["1", '"é"', "[ ]"].map(leaf));
  assert.equal(await root('{"version":1,"units":[1 , "é",\n[ ]]}'), await hex(hash([1], await hash([1], a, b), c)));
  for (const wrong of ["", "[]", "{}", '{"version":2,"units":[]}', '{"version":1.0,"units":[]}', '{"version":1,"units":{}}', '{"version":1,"units":[1,]}',
    '{"version":1,"units":[01]}', '{"version":1,"units":[]} x', '{"version":1,"version":1,"units":[]}', '{"version":1,"units":["\n"]}', '{"version":1,"units":["\\x"]}',
    '{"version":1,"units":[tru]}', '{"version":1,"units":[{"a"}]}', '{"version":1,"units":[{"a":}]}', '{"version":1,"units":[{,}]}', '{"version":1,"units":[1}]}']) {
    await assert.rejects(verifier.unitRootOf(subtle, new TextEncoder().encode(wrong)), verifier.FormatError, wrong);
  }
});

test("no character of a publication can be altered but to show another block", async () => {
  const vector = of("published");
  const policy = await policyOf(vector);
  const evidence = verifier.decodeEvidence(read(vector.file));
  const seen = new Map();
  const ask = async (publication) => {
    const verdict = await verifier.verify(subtle, evidence, { ...policy, publication }, vector.policy.now);
    const answer = verifier.firstFailure(verdict)?.name ?? "accepted";
    seen.set(answer, (seen.get(answer) ?? 0) + 1);
    return { answer, block: verdict.facts.published_block };
  };
  const { answer, block } = await ask(policy.publication);
  assert.equal(answer, "accepted");
  const step = process.env.VERIFY_WEB_FLIPS === "all" ? 1 : 3;
  for (let at = 0; at < policy.publication.length; at += step) {
    for (const replacement of [policy.publication[at] ^ mask(at), "0".charCodeAt(0), "f".charCodeAt(0)]) {
      const altered = policy.publication.slice();
      altered[at] = replacement;
      if (replacement === policy.publication[at]) continue;
      const found = await ask(altered);
      assert.ok(found.answer === "published" || found.block !== block, `character ${at}: ${found.answer}`);
    }
    const { answer } = await ask(policy.publication.slice(0, at));
    assert.equal(answer, "published", `cut at ${at}`);
  }
  console.log("publication", JSON.stringify(Object.fromEntries(seen)));
});
