// Reference values as CoRIM: the literal bytes that the first verifier's test pins (attest/evidence/tests/corim.rs), signatures, and
// every flipped byte.

import assert from "node:assert/strict";
import test from "node:test";
import { FormatError, fromHex, parseCorim, readReference, toHex } from "../dist/index.js";
import { subtle } from "./vectors.mjs";

const hexed = (text) => toHex(new TextEncoder().encode(text));
const length = (hex, digits) => (hex.length / 2).toString(16).padStart(digits, "0");
const digest = (byte) => `02818201 5820${byte.repeat(32)}`;
const triple = (values) => `82 a100a2 016b${hexed("scalerforge")} 0267${hexed("img-1.2")} 81 ${values}`;
const plain = (text) => text.replaceAll(" ", "");

const comid = plain([
  `a2 01 a10067${hexed("img-1.2")} 04 a100 84`,
  triple(`a2 0063${hexed("uki")} 01 a2 00 a10063${hexed("1.2")} ${digest("11")}`),
  triple(`a2 0004 01 a2 ${digest("44")} 0b63${hexed("off")}`),
  triple(`a2 0004 01 a2 ${digest("45")} 0b62${hexed("on")}`),
  triple(`a2 000b 01 a2 ${digest("bb")} 0b63${hexed("any")}`),
].join(""));
const unsigned = plain(`d901f5 a2 0067${hexed("img-1.2")} 01 81 d901fa 59${length(comid, 4)}${comid}`);

const meta = `a100a10077${hexed("scalerforge image build")}`;
const headerOf = (signer) => plain(`a4 0126 0374${hexed("application/rim+cbor")} 045840${signer} 0858${length(meta, 2)}${meta}`);
const envelope = (signer, signature) =>
  plain(`d284 58${length(headerOf(signer), 2)}${headerOf(signer)} a0 59${length(unsigned, 4)}${unsigned} 5840${signature}`);
const toBeSigned = (signer) =>
  plain(`84 6a${hexed("Signature1")} 58${length(headerOf(signer), 2)}${headerOf(signer)} 40 59${length(unsigned, 4)}${unsigned}`);

const wanted = [[4, ["44".repeat(32), "45".repeat(32)]], [11, ["bb".repeat(32)]]];

test("the pinned bytes are read", () => {
  const { corim, signed } = parseCorim(fromHex(unsigned));
  assert.equal(signed, undefined);
  assert.deepEqual([corim.name, corim.version, corim.uki, [...corim.pcrs]], ["img-1.2", "1.2", "11".repeat(32), wanted]);
  const file = parseCorim(fromHex(envelope("66".repeat(64), "77".repeat(64))));
  assert.deepEqual([...file.corim.pcrs], wanted);
  assert.equal(toHex(file.signed.signer), "66".repeat(64));
  assert.equal(toHex(file.signed.signature), "77".repeat(64));
  assert.equal(toHex(file.signed.signed), toBeSigned("66".repeat(64)));
});

test("whoever names signers believes nothing else", async () => {
  const keys = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
  const signer = new Uint8Array(await subtle.exportKey("raw", keys.publicKey)).slice(1);
  const signature = new Uint8Array(await subtle.sign({ name: "ECDSA", hash: "SHA-256" }, keys.privateKey, fromHex(toBeSigned(toHex(signer)))));
  const good = fromHex(envelope(toHex(signer), toHex(signature)));
  const json = new TextEncoder().encode(`{"name":"a","uki_sha256":"${"00".repeat(32)}","bank":"sha256","pcrs":[]}`);
  const stranger = new Uint8Array(64);
  const ask = (bytes, signers) => readReference(subtle, bytes, signers, "reference").then(({ name }) => name);
  assert.equal(await ask(good, [stranger, signer]), "img-1.2");
  assert.equal(await ask(fromHex(unsigned), []), "img-1.2");
  assert.equal(await ask(json, []), "a");
  const altered = good.slice();
  altered[altered.length - 1] ^= 1;
  for (const [bytes, signers, why] of [[good, [], /not believed/], [good, [stranger], /not believed/], [altered, [signer], /does not hold/],
    [fromHex(unsigned), [signer], /nobody signed/], [json, [signer], /nobody signed/]]) {
    await assert.rejects(ask(bytes, signers), (error) => error instanceof FormatError && why.test(error.message));
  }
});

test("no byte can be missing, and a flipped one says something else or nothing", () => {
  for (const hex of [unsigned, envelope("66".repeat(64), "77".repeat(64))]) {
    const whole = fromHex(hex);
    const said = JSON.stringify(describe(parseCorim(whole)));
    for (let end = 0; end < whole.length; end++) assert.throws(() => parseCorim(whole.slice(0, end)), FormatError);
    for (let place = 0; place < whole.length; place++) {
      for (const mask of [0x01, 0x20, 0x80, 0xff]) {
        const flipped = whole.slice();
        flipped[place] ^= mask;
        try {
          assert.notEqual(JSON.stringify(describe(parseCorim(flipped))), said, `byte ${place}`);
        } catch (error) {
          assert.ok(error instanceof FormatError, `byte ${place}: ${error.stack}`);
        }
      }
    }
  }
});

const describe = ({ corim, signed }) => [corim.name, corim.version, corim.uki, [...corim.pcrs], corim.holdsFor, signed && [signed.signer, signed.signature, signed.signed].map(toHex)];
