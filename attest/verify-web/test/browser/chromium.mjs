// Drives a headless Chromium by its own protocol over two pipes: no driver, no port, no dependency.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1100,1000", "--remote-debugging-pipe"];
/** A cold browser on a busy machine takes seconds; this is far above. */
const ANSWER_MILLISECONDS_MAX = 60_000;

export async function open(url) {
  const profile = mkdtempSync(join(tmpdir(), "verify-web-"));
  const browser = spawn(process.env.CHROMIUM ?? "/usr/bin/chromium", [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const protocol = new Protocol(browser);
  const close = async () => {
    const gone = new Promise((resolve) => browser.once("exit", resolve));
    // Asked to go, it takes its child processes along, and they stop writing to the profile.
    if (browser.exitCode === null && browser.pid !== undefined) {
      protocol.call("Browser.close").catch(() => browser.kill("SIGKILL"));
      await gone;
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  };
  try {
    const { targetId } = await protocol.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await protocol.call("Target.attachToTarget", { targetId, flatten: true });
    const call = (method, params = {}) => protocol.call(method, params, sessionId);
    await call("Page.enable");
    await call("DOM.enable");
    const loaded = protocol.once("Page.loadEventFired");
    await call("Page.navigate", { url });
    await loaded;
    return { call, close, evaluate: (expression) => evaluate(call, expression), give: (selector, files) => give(call, selector, files) };
  } catch (error) {
    await close();
    throw error;
  }
}

async function evaluate(call, expression) {
  const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}

/** Puts files into a file field, as a person would. */
async function give(call, selector, files) {
  const { root } = await call("DOM.getDocument");
  const { nodeId } = await call("DOM.querySelector", { nodeId: root.nodeId, selector });
  await call("DOM.setFileInputFiles", { nodeId, files });
}

class Protocol {
  #next = 1;
  #waiting = new Map();
  #events = new Map();
  #rest = "";

  constructor(browser) {
    [this.toBrowser, this.fromBrowser] = [browser.stdio[3], browser.stdio[4]];
    this.toBrowser.on("error", () => {});
    this.fromBrowser.setEncoding("utf8");
    this.fromBrowser.on("data", (text) => this.#read(text));
    const fail = (error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    browser.once("error", fail);
    browser.once("exit", (code) => fail(new Error(`the browser ended with ${code}`)));
  }

  call(method, params, sessionId) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method} was not answered`)), ANSWER_MILLISECONDS_MAX);
      const settle = (then) => (value) => (clearTimeout(timer), then(value));
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.toBrowser.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  once(event) {
    return new Promise((resolve) => this.#events.set(event, resolve));
  }

  #read(text) {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop();
    for (const message of messages.map((each) => JSON.parse(each))) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result);
      this.#events.get(message.method)?.(message.params);
    }
  }
}
