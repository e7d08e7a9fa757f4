// Lists of makers' certificates.  What cannot be read is skipped and said; a file that was cut off is refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { FormatError, loadCrls, loadRoots } from "../dist/index.js";
import { folder } from "./vectors.mjs";

const rack = readFileSync(`${folder}virtual-rack/rack.pem`, "latin1");
const load = (text) => loadRoots([{ name: "some.pem", text }]);

test("text around certificates is ignored", () => {
  assert.equal(load(rack).certificates.length, 2);
  assert.equal(load(`# a maker\r\n${rack.replaceAll("\n", "\r\n")}\nthe end`).certificates.length, 2);
});

test("one odd certificate costs none of the others", () => {
  const broken = rack.replace("MII", "MI!");
  const other = rack.replace(/MII.{60}/, `MII${"A".repeat(60)}`);
  const empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
  for (const [text, believed] of [[broken, 1], [other, 1], [empty, 0], [rack + empty, 2]]) {
    const { certificates, remarks } = load(text);
    assert.deepEqual([certificates.length, remarks.length], [believed, 1], text.slice(0, 120));
    assert.match(remarks[0], /some\.pem\[\d\]/);
  }
});

test("holes are errors", () => {
  for (const text of ["", "no certificates", rack.slice(0, rack.length - 200)]) assert.throws(() => load(text), FormatError, text.slice(-60));
});

test("revocation lists likewise", () => {
  const text = readFileSync(`${folder}policy/revoked.crl.pem`, "latin1");
  const both = loadCrls([{ name: "a.pem", text }, { name: "b.pem", text: text.replace(/MI.{40}/, `MI${"A".repeat(40)}`) }]);
  assert.deepEqual([both.lists.length, both.remarks.length], [1, 1]);
  assert.throws(() => loadCrls([{ name: "a.pem", text: rack }]), FormatError);
});
