// Lists of makers' certificates: whole or refused.  A hole in such a list would be noticed by nobody.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { FormatError, loadRoots } from "../dist/index.js";
import { folder } from "./vectors.mjs";

const rack = readFileSync(`${folder}virtual-rack/rack.pem`, "latin1");
const load = (text) => loadRoots([{ name: "some.pem", text }]);

test("text around certificates is ignored", () => {
  assert.equal(load(rack).certificates.length, 2);
  assert.equal(load(`# a maker\r\n${rack.replaceAll("\n", "\r\n")}\nthe end`).certificates.length, 2);
});

test("holes are errors", () => {
  const half = rack.slice(0, rack.length - 200);
  const broken = rack.replace("MII", "MI!");
  const empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
  for (const text of ["", "no certificates", half, broken, empty, rack + empty]) assert.throws(() => load(text), FormatError, text.slice(-60));
});
