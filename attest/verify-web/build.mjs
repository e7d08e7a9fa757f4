// Bundles src/ into dist/: cli.js and index.js for Node, and index.html, one file that needs no server and no network.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

mkdirSync("dist", { recursive: true });
const shared = { bundle: true, target: "es2022", legalComments: "none", logLevel: "warning" };
await build({ ...shared, entryPoints: ["src/index.ts", "src/cli.ts"], outdir: "dist", format: "esm", platform: "node", target: "node18" });

/** The vector that the page judges before any other, see src/selftest.ts. */
function selfTest() {
  const folder = "../vectors/";
  const { vectors } = JSON.parse(readFileSync(`${folder}vectors.json`, "utf8"));
  const { file, policy } = vectors.find((vector) => vector.name === "good-registration");
  const base64 = (path) => readFileSync(folder + path).toString("base64");
  return JSON.stringify({
    evidence: base64(file),
    roots: readFileSync(folder + policy.roots[0], "latin1"),
    reference: base64(policy.reference[0]),
    challengers: policy.challengers,
    now: policy.now,
  });
}

const page = await build({ ...shared, entryPoints: ["src/page.ts"], write: false, format: "iife", platform: "browser", minify: true,
  define: { SELF_TEST: selfTest() } });
const script = page.outputFiles[0].text.trim();
const style = readFileSync("src/page.css", "utf8").trim();
// The page may run exactly this script and this style and may connect to nothing: the browser enforces it.
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`;
const html = readFileSync("src/page.html", "utf8")
  .replace("{{policy}}", () => policy)
  .replace("{{style}}", () => style)
  .replace("{{script}}", () => script);
writeFileSync("dist/index.html", html);
