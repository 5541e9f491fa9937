// The cashier's page. What it shows is what GET /v1/screen says, asked again at every event of the till;
// nothing is remembered here but the cart of a shop without a cash program (stand_alone.js).

import { ask, listen, newId, Refused } from "./api.js";
import { askFor, choose, make, refused, sure, tell } from "./dialogs.js";
import { takeBack } from "./returns.js";
import { Counter, SUM_SKU } from "./stand_alone.js";
import { language, money, points, quantity, said, say, speak } from "./words.js";

const at = (id) => document.getElementById(id);
const EVENTS = ["hello", "sale", "card", "scan", "print", "device", "sync", "trouble"];
let shown = null;
let asking = false;
let askAgain = false;
const counter = new Counter(() => render());

/** Ask for everything and show it; events that come meanwhile ask once more. */
async function refresh() {
  if (asking) {
    askAgain = true;
    return;
  }
  asking = true;
  try {
    shown = await ask("GET", "/v1/screen");
    at("away").hidden = true;
    render();
  } catch {
    away();
  }
  asking = false;
  if (askAgain) {
    askAgain = false;
    refresh();
  }
}

function away() {
  at("away").textContent = say("agent_away");
  at("away").hidden = false;
  render();
}

const standsAlone = () => shown?.mode === "stand_alone";
const isAway = () => !at("away").hidden;

/** The sale on the page: in a stand-alone shop the one whose cart lies here. */
function saleShown() {
  const sale = shown?.sale ?? null;
  if (!standsAlone()) return sale;
  return sale && counter.cart?.sale_id === sale.sale_id && counter.cart.lines.length > 0 ? sale : null;
}

function render() {
  if (!shown) return;
  at("shop").textContent = `${shown.shop} · ${shown.till}`;
  at("link").textContent = said(shown.link);
  at("link").className = `lamp ${shown.link.state}`;
  at("devices").replaceChildren(...shown.devices.map(lamp));
  at("troubles").hidden = shown.troubles.length === 0;
  at("troubles").textContent = `⚠ ${shown.troubles.length}`;
  at("troubles").setAttribute("aria-label", say("troubles"));
  at("troubles").title = say("troubles");
  at("language").textContent = say("other_language");
  const sale = saleShown();
  renderWho(sale);
  renderMuch(sale);
  renderActions(sale);
}

/** A device, and what to do about it for whoever touches its lamp. */
function lamp(device) {
  const text = `${say(device.name)}: ${say(`device_${device.state}`)}`;
  if (!device.hint) return make("li", { className: device.state }, text);
  const hint = () => tell(text, said(device.hint));
  return make("li", { className: device.state }, make("button", { type: "button", onclick: hint }, text));
}

function renderWho(sale) {
  const customer = sale ? sale.customer : shown.waiting_card;
  at("card").replaceChildren(...whose(customer, sale));
  at("points").textContent = customer?.found
    ? `${points(customer.available_here)} ${say("available_here")}`
    : "";
  if (customer?.found && customer.provisional) at("points").textContent += ` (${say("provisional")})`;
  if (customer && !sale) at("points").textContent += ` — ${say("card_waits")}`;
  at("messages").replaceChildren(...(sale?.messages ?? []).map((message) => make("li", {}, said(message))));
  const lines = sale?.lines ?? [];
  at("lines").replaceChildren(...lines.map(lineShown));
  at("lines").setAttribute("aria-label", say("lines"));
}

function whose(customer, sale) {
  if (customer) {
    const word = customer.found ? customer.tier ?? "" : say("not_known");
    return [`${customer.card} `, make("small", {}, word)];
  }
  if (sale) return [make("small", {}, say("card_missing"))];
  return [make("small", {}, say(standsAlone() ? "no_sale" : "no_sale_cash"))];
}

function lineShown(line) {
  const called = line.sku === SUM_SKU ? say("sum_line") : line.name;
  const name = make("span", { className: "name" }, called);
  const many = line.quantity === 1000 ? "" : `${quantity(line.quantity)} × ${money(line.price)}`;
  const parts = [name, make("span", { className: "small" }, many)];
  if (line.pay < line.list) parts.push(make("span", { className: "struck" }, money(line.list)));
  parts.push(make("span", {}, money(line.pay)));
  if (standsAlone()) {
    parts.push(make("button", {
      type: "button", className: "quiet", ariaLabel: `${say("quantity")}: ${called}`,
      onclick: () => counter.change(line.id),
    }, "…"));
  }
  return make("li", {}, ...parts);
}

function renderMuch(sale) {
  at("pay-word").textContent = sale ? say("to_pay") : "";
  at("pay").textContent = sale ? money(sale.pay) : "";
  const rows = [];
  const row = (name, value) => rows.push(make("dt", {}, name), make("dd", {}, value));
  if (sale) {
    if (sale.list !== sale.pay) row(say("price"), money(sale.list));
    for (const given of sale.discounts) row(given.title, money(-given.amount));
    if (sale.discounts.length === 0) row(say("no_discounts"), "");
    if (sale.redeemed) row(say("paid_with_points"), money(-sale.redeemed));
    if (sale.earns) row(say("earns"), `+${points(sale.earns)}`);
    if (sale.state === "waiting") row(say("waiting"), "");
  }
  at("sums").replaceChildren(...rows);
  const last = shown.last;
  const print = { printed: "printed", waiting: "print_waiting", failed: "print_failed", unknown: "print_unknown" }[last?.print];
  const end = last?.void ? say("voided") : print ? say(print) : "";
  at("last").textContent = last ? `${say("last_sale")}: ${money(last.pay)}. ${end}` : "";
}

/** [word or text, key, what to do, may it be done, is it the first]. */
function actions(sale) {
  const most = sale?.redeem_max ?? 0;
  const all = most > 0 ? say("redeem_all", { points: points(most) }) : say("redeem_nothing");
  const spends = sale !== null && sale.redeem !== null;
  return [
    spends && sale.redeemed > 0
      ? [say("redeem_none"), "F2", () => redeem(null), true, false]
      : [all, "F2", () => redeem("max"), most > 0, true],
    [say("redeem_other"), "F3", redeemOther, most > 0, false],
    [say("without_card"), "F4", () => changeSale({ card: null }), Boolean(sale?.customer), false],
    [say("print_again"), "F8", printAgain, Boolean(shown.last && shown.can_print), false],
  ];
}

function more(sale) {
  const common = [
    [say("return_goods"), "F9", () => takeBack(shown.can_print), true, false],
    [say("register"), "F10", register, true, false],
    [say("key_card"), "F6", keyCard, sale !== null, false],
  ];
  if (!standsAlone()) return common;
  const has = sale !== null;
  return [
    [say("add_goods"), "F1", addGoods, true, false],
    [say("add_sum"), "F7", () => counter.addSum(), true, false],
    [say("parked"), "", () => counter.park(), has, false],
    [say("open_sales"), "", () => counter.recall(), counter.carts.some((cart) => cart.lines.length > 0), false],
    has ? [say("void"), "", dropSale, true, false]
      : [say("void_last"), "", voidLast, Boolean(shown.last) && !shown.last.void, false],
    ...common,
    [say("pay"), "F12", () => counter.pay(shown.can_print), has, true],
  ];
}

let keys = {};
function renderActions(sale) {
  keys = {};
  const fill = (nav, list) => {
    const focused = [...nav.children].indexOf(document.activeElement);
    nav.replaceChildren(...list.map(([text, key, act, may, first]) => {
      const enabled = may && !isAway();
      if (key && enabled) keys[key] = act;
      return make("button", {
        type: "button", disabled: !enabled, className: first && enabled ? "first" : "",
        onclick: () => attempt(act),
      }, text, ...(key ? [make("kbd", {}, key)] : []));
    }));
    if (focused >= 0) nav.children[focused]?.focus();
  };
  fill(at("actions"), actions(sale));
  fill(at("more"), more(sale));
}

/** Do it; what the till refuses is said in its own words, and nothing on the page stands still. */
async function attempt(act) {
  try {
    await act();
  } catch (problem) {
    if (problem instanceof Refused) await refused(problem);
    else away();
  }
  refresh();
}

function changeSale(change) {
  return ask("PATCH", `/v1/sales/${saleShown().sale_id}`, change);
}

function redeem(amount) {
  return standsAlone() ? counter.redeem(amount) : changeSale({ redeem: amount });
}

async function redeemOther() {
  const amount = await askFor(say("how_many_points"), { digits: 2, hint: `${say("available_here")}: ${points(saleShown().redeem_max)}` });
  if (amount !== null) await redeem(amount);
}

async function keyCard() {
  const number = await askFor(say("key_card"), { hint: say("card_number") });
  if (number !== null) await changeSale({ card: number, card_entry: "keyed" });
}

async function register() {
  const number = await askFor(say("register"), { hint: say("card_number") });
  if (number === null) return;
  const card = await ask("POST", "/v1/cards", { number, entry: "keyed" });
  await tell(say("registered", { card: card.card }));
}

async function printAgain() {
  await ask("POST", `/v1/sales/${shown.last.sale_id}/print`, { print_id: newId("p") });
}

async function addGoods() {
  const code = await askFor(say("add_goods"), { hint: say("goods_code") });
  if (code !== null) await counter.addCode(code);
}

async function dropSale() {
  if (await sure(say("void_sure"))) await counter.drop();
}

async function voidLast() {
  const { sale_id: id, pay } = shown.last;
  if (await sure(say("void_last_sure", { sum: money(pay) }))) {
    await ask("POST", `/v1/sales/${id}/void`, { reason: "cancelled at the page" });
  }
}

async function showTroubles() {
  await tell(say("troubles"), ...shown.troubles.map(said));
}

async function otherLanguage() {
  await speak(language === "ru" ? "en" : "ru");
  localStorage.setItem("kopilka.language", language);
  render();
}

function heard(name, data) {
  if (name === "hello" && standsAlone()) counter.send();
  if (name === "scan" && standsAlone()) attempt(() => counter.addCode(data.data));
  refresh();
}

document.addEventListener("keydown", (event) => {
  if (keys[event.key] && !at("dialog").open) {
    event.preventDefault();
    attempt(keys[event.key]);
  }
});
at("troubles").onclick = showTroubles;
at("language").onclick = otherLanguage;

await speak(localStorage.getItem("kopilka.language") ?? "ru");
await refresh();
if (shown && !localStorage.getItem("kopilka.language") && shown.language !== language) {
  await speak(shown.language);
  render();
}
if (standsAlone()) await counter.send();
listen(EVENTS, heard, away);
