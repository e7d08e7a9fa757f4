// The pages as the appliance serves them, before views that the core made of result streams (`examples/looks.rs` of
// firmware-checks/burn-in).  It knows the same addresses as appliance/server/src/pages.rs.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const UI = fileURLToPath(new URL("../", import.meta.url));
const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const TYPES = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", html: "text/html; charset=utf-8" };

/** Makes the stories; the gate has built the program, elsewhere cargo does. */
const stories = (folder) => {
  const built = process.env.SCALERFORGE_LOOKS;
  if (built) execFileSync(built, [folder]);
  else execFileSync("cargo", ["run", "--quiet", "-p", "firmware-checks-burn-in", "--example", "looks", "--", folder], { cwd: ROOT });
};

const route = (path) => {
  if (path === "/models") return "models.html";
  if (path === "/stake") return "stake.html";
  // The appliance has it at `/`, as long as there is no site.
  if (path === "/first-run") return "first-run.html";
  if (/^\/hosts\/[^/]+\/burn-in$/.test(path)) return "burn-in.html";
  if (/^\/hosts\/[^/]+\/burn-in\/report$/.test(path)) return "report.html";
  return /^\/ui\/[a-z-]+\.(js|css)$/.test(path) ? path.slice(4) : undefined;
};

/** What is at stake, as `StakeView` of appliance/api has it; a test of the server reads this file too. */
export const stake = () => JSON.parse(readFileSync(join(UI, "test/stake.json"), "utf8"));

/** A what-if and its answer, as the core made them for the template of numbers; a test of the server keeps the file. */
export const whatIf = () => JSON.parse(readFileSync(join(UI, "test/what-if.json"), "utf8"));

/** The first run as `appliance/first-run` answers: two questions of its nineteen, and a LAN that somebody has. */
const firstRun = (what, { code, answers, password }) => {
  if (code !== "k7qx-29fd") return [403, { error: "this is not the code on the machine's own screen" }];
  const field = (key, label, needed, proposal, choices = []) => ({ key, label, help: `help for ${key}`, needed, given: answers[key] ?? null, proposal: proposal ?? null, choices });
  const fields = [field("site.name", "Name of the site", true), field("lan.mode", "What the appliance does there", true, "proxy", ["proxy", "full"])];
  const problems = [];
  if (!answers["site.name"]) problems.push({ key: "site.name", what: "has no answer, and nothing can be proposed", next: "write a name, as in rack-7" });
  if (answers["lan.mode"] === "full") problems.push({ key: "lan.mode", what: "10.0.0.3 gives addresses on eth0", next: "write `proxy`" });
  if (what === "make") return problems.length || (password && password.length < 12) ? [422, { error: "the admin's password has 5 characters; take one of 12 to 256" }] : [200, { password: password ? null : "abcd-efgh-jkmn-pqrs", page: "https://10.0.0.9/" }];
  const will = problems.length ? [] : [`The site is called ${answers["site.name"]}, in the region eu-west.`];
  return [200, { fields, problems, will, notices: problems.length ? [] : [{ what: "this machine has no TPM", next: "switch it on <b>now</b>" }], page: null }];
};

/** Starts it.  `shown` says which story is shown instead of another: so a burn-in goes on while somebody looks. */
export const start = async () => {
  const folder = mkdtempSync(join(tmpdir(), "burn-in-pages-"));
  stories(folder);
  const shown = new Map();
  // Pages that look at the stake, and what they have acknowledged.
  const lookers = new Set();
  const acknowledged = [];
  // What-ifs that were asked.
  const asked = [];
  const tell = (view) => lookers.forEach((one) => one.write(`event: stake\ndata: ${JSON.stringify(view)}\n\n`));
  const server = createServer((request, answer) => {
    const { pathname } = new URL(request.url, "http://appliance");
    if (pathname === "/api/v1/stake/live") {
      answer.writeHead(200, { "content-type": "text/event-stream" });
      lookers.add(answer.on("close", () => lookers.delete(answer)));
      return answer.write(`event: stake\ndata: ${JSON.stringify(stake())}\n\n`);
    }
    const step = pathname.match(/^\/api\/v1\/first-run\/([a-z]+)$/)?.[1];
    if (step && request.method === "POST") {
      let body = "";
      return request.on("data", (part) => (body += part)).on("end", () => {
        const [status, said] = firstRun(step, JSON.parse(body));
        answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(said));
      });
    }
    if (pathname === "/api/v1/chain/what-if") {
      const say = (status, body) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      if (request.method === "GET") return say(200, { numbers: whatIf().numbers, machines: [{ serial: "SCF<b>4820018", class: "storage-nvme", capacity: 42 }], passports: [{ number: "7", passport: { value_icnt: "50", decay_days: 1440, staked: "2026-11-22" } }] });
      let body = "";
      return request.on("data", (part) => (body += part)).on("end", () => {
        asked.push(JSON.parse(body));
        const nothing = asked.at(-1).numbers.node.capacity === 0;
        say(nothing ? 422 : 200, nothing ? { error: "nothing can be reckoned: the capacity is 0" } : whatIf().view);
      });
    }
    const alert = pathname.match(/^\/api\/v1\/chain\/alerts\/([^/]+)\/acknowledge$/)?.[1];
    if (alert && request.method === "POST") {
      acknowledged.push(decodeURIComponent(alert));
      return answer.writeHead(200, { "content-type": "application/json" }).end("[]");
    }
    const file = route(pathname);
    if (file) return answer.writeHead(200, { "content-type": TYPES[file.split(".").pop()] }).end(readFileSync(UI + file));
    const host = pathname.match(/^\/api\/v1\/hosts\/([a-z-]+)\/burn-in$/)?.[1];
    const story = pathname === "/api/v1/burn-in/models" ? "models" : shown.get(host) ?? host;
    const json = (status, body) => answer.writeHead(status, { "content-type": "application/json" }).end(body);
    if (story === "silent") return json(503, JSON.stringify({ error: "the store is busy" }));
    try {
      return json(200, readFileSync(join(folder, `${story}.json`)));
    } catch {
      return json(404, JSON.stringify({ error: "no burn-in" }));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const stop = () => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { url, shown, stop, tell, acknowledged, asked, story: (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) };
};
