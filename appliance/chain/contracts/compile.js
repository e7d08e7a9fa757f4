// Compiles src/*.sol and writes artifacts/NAME.json = { abi, bytecode, deployedBytecode }.
// `node compile.js check` compiles to memory and fails if a committed artefact differs.
// Nothing is downloaded: the compiler is the pinned npm package, the sources are this folder and OpenZeppelin's.
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const SOURCES = path.join(__dirname, "src");
const ARTIFACTS = path.join(__dirname, "artifacts");

const sources = {};
for (const file of fs.readdirSync(SOURCES).filter((f) => f.endsWith(".sol")).sort()) {
  // Names relative to this folder: the metadata hash in the bytecode must not depend on where the clone lies.
  sources[`src/${file}`] = { content: fs.readFileSync(path.join(SOURCES, file), "utf8") };
}

const input = {
  language: "Solidity",
  sources,
  settings: {
    optimizer: { enabled: true, runs: 200 },
    viaIR: true,
    // Prague, not Osaka: the code then runs on chains without the P-256 precompile too.
    evmVersion: "prague",
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};

function find(name) {
  try {
    return { contents: fs.readFileSync(path.join(__dirname, "node_modules", name), "utf8") };
  } catch (e) {
    return { error: `${name}: ${e.message} (run npm ci first)` };
  }
}

const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
const problems = output.errors || [];
for (const p of problems) console.error(p.formattedMessage);
if (problems.length > 0) process.exit(1); // Warnings stop the build too.

const artifacts = {};
for (const [file, contracts] of Object.entries(output.contracts)) {
  if (!file.startsWith("src/")) continue;
  for (const [name, c] of Object.entries(contracts)) {
    const bytecode = c.evm.bytecode.object;
    if (bytecode === "" || c.abi.every((entry) => entry.type === "error")) continue; // Interfaces and libraries.
    artifacts[`${name}.json`] =
      JSON.stringify({ abi: c.abi, bytecode: `0x${bytecode}`, deployedBytecode: `0x${c.evm.deployedBytecode.object}` }, null, 1) + "\n";
    console.log(`${name}: ${c.evm.deployedBytecode.object.length / 2} bytes of code (limit 24576)`);
  }
}

if (process.argv[2] === "check") {
  const committed = fs.existsSync(ARTIFACTS) ? fs.readdirSync(ARTIFACTS) : [];
  const names = new Set([...committed, ...Object.keys(artifacts)]);
  const differing = [...names].filter((n) => !committed.includes(n) || fs.readFileSync(path.join(ARTIFACTS, n), "utf8") !== artifacts[n]);
  if (differing.length > 0) {
    console.error(`artifacts/ is not what src/ compiles to: ${differing.join(", ")}. Run: node compile.js`);
    process.exit(1);
  }
  console.log("artifacts/ is what src/ compiles to");
} else {
  fs.mkdirSync(ARTIFACTS, { recursive: true });
  for (const [name, text] of Object.entries(artifacts)) fs.writeFileSync(path.join(ARTIFACTS, name), text);
}
