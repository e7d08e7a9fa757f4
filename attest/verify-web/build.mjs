// Bundles src/ into dist/: cli.js and index.js for Node, and index.html, one file that needs no server and no network.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

mkdirSync("dist", { recursive: true });
const shared = { bundle: true, target: "es2022", legalComments: "none", logLevel: "warning" };
await build({ ...shared, entryPoints: ["src/index.ts", "src/cli.ts"], outdir: "dist", format: "esm", platform: "node", target: "node18" });

if (existsSync("src/page.ts")) {
  const page = await build({ ...shared, entryPoints: ["src/page.ts"], write: false, format: "iife", platform: "browser", minify: true });
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
}
