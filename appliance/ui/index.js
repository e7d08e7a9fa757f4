// The rack and the chain, as they change.

import { ask, at, el, hostPath, sync, write } from "./draw.js";

// The way a host goes, in order; a stage's place in it is its progress.
const WAY = ["found", "booting", "discovering", "identifying", "challenging", "challenged", "admitting", "verifying", "admitted", "burning-in", "carving", "shaping", "binding", "sealing", "pricing", "approving", "registering", "registered"];
const ENDS = ["registered", "retired", "quarantined"];

const card = (host) => {
  const way = el("div", { class: "way", role: "img" }, ...WAY.map((name) => el("i", { title: name })));
  const burn = el("a", { class: "burn", href: hostPath(host.id, "burn-in") }, "burn-in");
  return el("div", {}, el("div", { class: "pos" }), el("div", { class: "name" }), el("div", { class: "stage" }), way, el("div", { class: "why" }, el("span"), " ", burn));
};

const renew = (box, host) => {
  const [pos, name, stage, way, why] = box.children;
  const [place, ended] = [WAY.indexOf(host.stage), ENDS.includes(host.stage)];
  box.className = "host " + host.stage;
  write(pos, host.position || "–");
  write(name, host.serial + (host.model ? "  ·  " + host.model : ""));
  write(stage, host.stage);
  way.setAttribute("aria-label", host.stage);
  [...way.children].forEach((step, index) => {
    step.className = index < place || ended ? "done" : index === place ? "now" : "";
    if (index === place && host.progress_permille != null) step.style.setProperty("--part", host.progress_permille / 10 + "%");
  });
  const note = host.progress_note ? " — " + host.progress_note : "";
  write(why.children[0], host.stage === "registered" ? "node " + host.node + ", tier " + host.tier : "waits for " + host.why.waiting_for + note);
  why.children[1].hidden = !(ended || place >= WAY.indexOf("burning-in"));
};

const show = (hosts) => {
  const done = hosts.filter((host) => host.stage === "registered").length;
  write(at("count"), hosts.length + " servers, " + done + " ScalerNodes");
  if (hosts.length) sync(at("rack"), hosts, (host) => host.id, card, renew);
  else at("rack").replaceChildren(el("div", {}, "no server seen yet"));
};

const chain = async () => {
  try {
    const chain = await ask("/api/v1/chain");
    write(at("chain"), (chain.development ? "development chain " : "chain ") + chain.chain_id + (chain.head != null ? ", block " + chain.head : ": " + (chain.trouble || "no answer")));
    const code = (text) => el("code", {}, text);
    if (chain.nodes.length) at("nodes").replaceChildren(...chain.nodes.map((node) =>
      el("tr", {}, ...[code(node.node), node.name, node.class + ", " + node.capacity, node.collateral, code(node.unit_root)].map((cell) => el("td", {}, cell)))));
  } catch { write(at("chain"), ""); }
};

const live = new EventSource("/api/v1/live");
live.addEventListener("hosts", (event) => { write(at("link"), ""); show(JSON.parse(event.data)); });
live.onerror = () => { write(at("link"), "the appliance does not answer; trying again"); at("link").className = "gone"; };
chain();
setInterval(chain, 3000);
