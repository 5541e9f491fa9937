// Questions to the cashier. Each gives a promise of the answer, or null where the cashier goes back.

import { parse, said, say } from "./words.js";

const dialog = document.getElementById("dialog");

/** An element: make("button", {className: "first"}, "text", child…). */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

let finish = null;

/** Show a dialog; `fill(done)` gives its elements, done(value) ends it. One at a time: a new one ends the old. */
function open(title, fill) {
  finish?.(null);
  return new Promise((resolve) => {
    finish = (value) => {
      finish = null;
      if (dialog.open) dialog.close();
      resolve(value);
    };
    const done = finish;
    dialog.replaceChildren(make("h2", { id: "dialog-title" }, title), ...fill(done));
    dialog.oncancel = (event) => {
      event.preventDefault();
      done(null);
    };
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("input, button.first, button")?.focus();
  });
}

function backButton(done, word = "cancel") {
  return make("button", { type: "button", onclick: () => done(null) }, say(word));
}

/** A text or a number by keyboard or by fingers. `digits`: decimals of a number; null: any text. */
export function askFor(title, { digits = null, value = "", hint = "" } = {}) {
  return open(title, (done) => {
    const input = make("input", {
      value, autocomplete: "off", inputMode: digits === null ? "text" : "decimal", ariaLabel: title,
    });
    const wrong = make("p", { className: "said", hidden: true, role: "alert" });
    const ok = () => {
      const answer = digits === null ? input.value.trim() : parse(input.value, digits);
      if (answer === null || answer === "") {
        input.focus();
        return;
      }
      done(answer);
    };
    input.onkeydown = (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        ok();
      }
    };
    const type = (key) => () => {
      input.value += key;
      input.focus();
    };
    const keys = [..."123456789", digits === null ? "-" : ",", "0"].map((key) =>
      make("button", { type: "button", onclick: type(key) }, key));
    const erase = () => {
      input.value = input.value.slice(0, -1);
      input.focus();
    };
    keys.push(make("button", { type: "button", onclick: erase, ariaLabel: say("erase") }, "⌫"));
    return [
      make("label", {}, hint, input), wrong, make("div", { className: "keys" }, ...keys),
      make("div", { className: "row" }, backButton(done),
        make("button", { type: "button", className: "first", onclick: ok }, say("ok"))),
    ];
  });
}

/** One of several: `choices` = [[value, text, beside]]. */
export function choose(title, choices, { back = "cancel" } = {}) {
  return open(title, (done) => [
    make("div", { className: "choices" }, ...choices.map(([value, text, beside = ""]) =>
      make("button", { type: "button", onclick: () => done(value) },
        make("span", {}, text), make("span", {}, beside)))),
    make("div", { className: "row" }, backButton(done, back)),
  ]);
}

/** Yes or no. */
export function sure(title) {
  return open(title, (done) => [
    make("div", { className: "row" },
      make("button", { type: "button", onclick: () => done(null) }, say("no")),
      make("button", { type: "button", className: "first", onclick: () => done(true) }, say("yes"))),
  ]);
}

/** Tell something, until it is closed. */
export function tell(title, ...lines) {
  return open(title, (done) => [
    ...lines.map((line) => make("p", {}, line)),
    make("div", { className: "row" },
      make("button", { type: "button", className: "first", onclick: () => done(true) }, say("close"))),
  ]);
}

/** Tell what the till has refused, in its own words. */
export function refused(problem) {
  const faults = problem.error?.faults ?? [];
  return tell(said(problem.error) || say("agent_away"), ...faults.slice(0, 5).map(said));
}

/** How much of each line: `lines` = [{id, name, left}] in thousandths; gives {id: thousandths}. */
export function askQuantities(title, lines, show) {
  return open(title, (done) => {
    const inputs = lines.map((line) => make("input", {
      value: "", inputMode: "decimal", autocomplete: "off", ariaLabel: line.name,
    }));
    const put = (line, input, amount) => {
      input.value = show(Math.max(0, Math.min(line.left, amount)));
    };
    const step = (line, input, by) => make("button", {
      type: "button", className: "step", ariaLabel: `${by > 0 ? "+1" : "−1"} ${line.name}`,
      onclick: () => put(line, input, (parse(input.value || "0", 3) ?? 0) + by),
    }, by > 0 ? "+" : "−");
    const rows = lines.map((line, n) => make("div", { className: "row" },
      make("label", {}, `${line.name}, ${say("left", { left: show(line.left) })}`, inputs[n]),
      step(line, inputs[n], -1000), step(line, inputs[n], 1000),
      make("button", {
        type: "button", className: "all", onclick: () => put(line, inputs[n], line.left),
      }, show(line.left))));
    const ok = () => {
      const taken = {};
      for (const [n, line] of lines.entries()) {
        const amount = parse(inputs[n].value || "0", 3);
        if (amount === null) return inputs[n].focus();
        if (amount > 0) taken[line.id] = amount;
      }
      if (Object.keys(taken).length > 0) done(taken);
    };
    return [...rows, make("div", { className: "row" }, backButton(done),
      make("button", { type: "button", className: "first", onclick: ok }, say("return_do")))];
  });
}
