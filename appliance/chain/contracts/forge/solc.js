#!/usr/bin/env node
// Poses as the native compiler before forge, which asks for a version and then hands in one standard-JSON question.
// What it asks about is what it may read: imports are resolved by forge, so nothing is looked for here.
const fs = require("fs");
const path = require("path");
const solc = require(path.join(__dirname, "../node_modules/solc"));

if (process.argv.includes("--version")) {
  // forge reads the last line.
  console.log("solc, the solidity compiler commandline interface");
  console.log(`Version: ${solc.version().replace(".Emscripten.clang", ".Linux.g++")}`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  console.error(`cannot do \`${process.argv.slice(2).join(" ")}\`: only --version and --standard-json`);
  process.exit(1);
}
