// The first run: the appliance says what is asked, what it proposes and what will happen; this page shows it and sends
// answers.  The code stands behind the # of the address that was scanned, or is typed.
import { at, el, sync, write } from "./draw.js";

let code = decodeURIComponent(location.hash.slice(1));
const answers = {};
// A scanned code does not stay in the browser's history.
if (code) history.replaceState(null, "", location.pathname);

const send = async (what, more = {}) => {
  const answer = await fetch(`/api/v1/first-run/${what}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ code, answers, ...more }) })
    .catch(() => undefined);
  const body = await answer?.json().catch(() => ({}));
  if (answer?.ok) return body;
  throw Object.assign(new Error(body?.error ?? "the appliance does not answer; is the machine on?"), { status: answer?.status });
};

const trouble = (error) => {
  at("trouble").hidden = !error;
  write(at("trouble"), error?.message ?? "");
};

/** One thing at a time, and what went wrong is said. */
let last = Promise.resolve();
const turn = (work) => (last = last.then(async () => {
  write(at("link"), "…");
  try {
    await work();
    trouble();
  } catch (error) {
    trouble(error);
    if (error.status === 403) knock();
  }
  write(at("link"), "");
}));

const knock = () => {
  at("door").hidden = false;
  at("room").hidden = true;
  at("code").focus();
};

const row = (field) => {
  const id = `answer-${field.key}`;
  const input = el("input", { id, autocomplete: "off", spellcheck: "false", list: field.choices.length ? `${id}-choices` : undefined, "aria-describedby": `${id}-help` });
  input.addEventListener("change", () => {
    answers[field.key] = input.value;
    turn(ask);
  });
  const choices = field.choices.length ? el("datalist", { id: `${id}-choices` }, ...field.choices.map((choice) => el("option", { value: choice }))) : undefined;
  return el("div", {}, el("label", { for: id }, field.label), input, el("p", { id: `${id}-help`, class: "soft" }), choices);
};
const renew = (box, { field, problem }) => {
  const [, input, help] = box.children;
  if (document.activeElement !== input) input.value = field.given ?? "";
  input.placeholder = field.proposal ?? (field.needed ? "needed" : "");
  input.toggleAttribute("aria-invalid", Boolean(problem));
  write(help, problem ? `${problem.what}; ${problem.next}` : `${field.help}${field.choices.length ? `: ${field.choices.join(", ")}` : ""}`);
  help.className = problem ? "broken" : "soft";
};

const show = (view) => {
  at("door").hidden = true;
  at("room").hidden = false;
  const of = (key) => view.problems.find((problem) => problem.key === key);
  sync(at("fields"), view.fields.map((field) => ({ key: field.key, field, problem: of(field.key) })), (one) => one.key, (one) => row(one.field), renew);
  const beside = view.problems.filter((problem) => !view.fields.some((field) => field.key === problem.key));
  const lines = [
    ...beside.map((problem) => el("p", { class: "broken" }, `${problem.what}; ${problem.next}`)),
    view.problems.length ? el("p", {}, `${view.problems.length} answer${view.problems.length === 1 ? " is" : "s are"} missing or wrong.`) : el("ul", {}, ...view.will.map((line) => el("li", {}, line))),
    ...view.notices.map((notice) => el("p", { class: "verdict inconclusive" }, el("strong", {}, notice.what), ` ${notice.next}`)),
  ];
  at("then").replaceChildren(...lines);
  at("make").querySelector("button").disabled = view.problems.length > 0;
};

const ask = async () => show(await send("form"));

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  code = at("code").value;
  turn(ask);
});
at("listen").addEventListener("click", () => turn(async () => show(await send("listen"))));
at("make").addEventListener("submit", (event) => {
  event.preventDefault();
  turn(async () => {
    const made = await send("make", { password: at("password").value });
    at("password").value = "";
    at("room").hidden = true;
    at("done").hidden = false;
    const where = made.page ? el("a", { href: made.page }, made.page) : "the address that the machine's own screen shows";
    at("done").replaceChildren(
      el("p", { class: "word" }, "The site is made"),
      el("p", {}, "Its page will be at ", where, ". The user is ", el("code", {}, "admin"), made.password ? ", the password:" : ", the password is yours."),
      ...(made.password ? [el("p", { class: "word" }, el("code", {}, made.password)), el("p", {}, "Write it down: it is shown this once, and nobody can read it out again.")] : []),
    );
  });
});

if (code) turn(ask); else knock();
