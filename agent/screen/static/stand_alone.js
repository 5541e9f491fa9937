// A shop without a cash program: the page itself is one. Its cart lives here and in the browser's storage, so
// that neither a reload nor a restart of the agent loses it; the price always comes from the till.

import { ask, newId, Refused } from "./api.js";
import { askFor, choose, refused, tell } from "./dialogs.js";
import { money, points, say } from "./words.js";

const KEPT = "kopilka.cart";
export const SUM_SKU = "sum";
const AGAIN_MS = 1000;

export class Counter {
  constructor(changed) {
    this.changed = changed;
    const kept = localStorage.getItem(KEPT);
    this.carts = kept ? JSON.parse(kept) : [];
    this.sending = Promise.resolve();
  }

  get cart() {
    return this.carts[0] ?? null;
  }

  keep() {
    localStorage.setItem(KEPT, JSON.stringify(this.carts));
    this.changed();
  }

  begin() {
    const cart = { sale_id: newId("k"), lines: [], redeem: undefined, paying: null };
    this.carts.unshift(cart);
    return cart;
  }

  /** Send the cart (again): after a change, or when the till comes back. One at a time, in order. */
  send() {
    this.sending = this.sending.then(() => this.sendNow()).catch((problem) => {
      if (problem instanceof Refused) refused(problem);
    });
    return this.sending;
  }

  async sendNow() {
    const paying = this.carts.find((each) => each.paying);
    if (paying) await this.finish(paying);
    const cart = this.cart;
    if (!cart || cart.lines.length === 0 || cart.paying) return;
    const body = { lines: cart.lines.map(({ name, ...line }) => line) };
    if (cart.redeem !== undefined) body.redeem = cart.redeem;
    if (cart.tender) body.tenders = [cart.tender];
    cart.quote = await ask("PUT", `/v1/sales/${cart.sale_id}`, body);
    this.keep();
  }

  /** A code was scanned or keyed: goods, one of several, or none. */
  async addCode(code) {
    const { goods } = await ask("POST", "/v1/goods", { barcode: code });
    if (goods.length === 0) return tell(say("no_goods", { code }));
    let one = goods[0];
    if (goods.length > 1) {
      const picked = await choose(say("which_goods"),
        goods.map((each, n) => [n, each.name, each.price === null ? "" : money(each.price)]));
      if (picked === null) return undefined;
      one = goods[picked];
    }
    if (one.price === null) return tell(say("no_price", { name: one.name }));
    let quantity = 1000;
    if (one.weighed) {
      quantity = await askFor(`${one.name}, ${one.unit}`, { digits: 3, hint: say("quantity") });
      if (!quantity) return undefined;
    }
    return this.add({ sku: one.sku, name: one.name, price: one.price, quantity }, !one.weighed);
  }

  async addSum() {
    const price = await askFor(say("add_sum"), { digits: 2, hint: say("sum") });
    if (price) await this.add({ sku: SUM_SKU, name: say("sum_line"), price, quantity: 1000 }, false);
  }

  add(line, together) {
    const cart = this.cart ?? this.begin();
    delete cart.tender;
    const same = cart.lines.find((each) => together && each.sku === line.sku && each.price === line.price);
    if (same) same.quantity += line.quantity;
    else cart.lines.push({ id: String(Math.max(0, ...cart.lines.map((each) => Number(each.id))) + 1), ...line });
    this.keep();
    return this.send();
  }

  async change(id) {
    const line = this.cart?.lines.find((each) => each.id === id);
    if (!line) return;
    const what = await choose(line.name, [["quantity", say("quantity")], ["remove", say("remove")]]);
    if (what === "quantity") {
      const quantity = await askFor(line.name, { digits: 3, hint: say("quantity") });
      if (quantity) line.quantity = quantity;
    }
    if (what === "remove") this.cart.lines = this.cart.lines.filter((each) => each.id !== id);
    if (this.cart.lines.length === 0) return this.drop();
    this.keep();
    await this.send();
  }

  async redeem(amount) {
    if (!this.cart) return;
    this.cart.redeem = amount;
    this.keep();
    await this.send();
  }

  async park() {
    if (!this.cart) return;
    this.carts.push(this.carts.shift());
    if (this.carts.length === 0 || this.carts[0].lines.length > 0) this.begin();
    this.keep();
  }

  async recall() {
    const parked = this.carts.filter((cart) => cart.lines.length > 0);
    const picked = await choose(say("open_sales"), parked.map((cart, n) =>
      [n, `${cart.lines.length} × ${cart.lines[0].name}`, cart.quote ? money(cart.quote.quote.pay) : ""]));
    if (picked === null) return;
    const cart = parked[picked];
    this.carts = [cart, ...this.carts.filter((each) => each !== cart && each.lines.length > 0)];
    this.keep();
    await this.send();
  }

  async drop() {
    const cart = this.carts.shift();
    this.keep();
    if (cart) await ask("POST", `/v1/sales/${cart.sale_id}/void`, { reason: "cancelled at the page" });
    await this.send();
  }

  /** The payment: how, how much was given, and then the commit, repeated until it is answered. */
  async pay(canPrint) {
    const cart = this.cart;
    if (!cart || cart.lines.length === 0) return;
    await this.send();
    if (this.cart !== cart || cart.paying) return;
    const tender = await choose(say("pay"), [["cash", say("pay_cash")], ["card", say("pay_card")]]);
    if (tender === null) return;
    cart.tender = tender;
    await this.send();
    const due = cart.quote.quote.pay;
    if (tender === "cash" && due > 0) {
      const given = await askFor(`${say("to_pay")}: ${money(due)}`, { digits: 2, hint: say("cash_given") });
      if (given === null) return;
      // What was given, so that the customer's display can show the change.
      cart.quote = await ask("PATCH", `/v1/sales/${cart.sale_id}`, { tenders: [{ type: "cash", amount: given }] });
      if (given > due) await tell(`${say("change")}: ${money(given - due)}`);
    }
    cart.paying = {
      quote_id: cart.quote.quote_id, tenders: due > 0 ? [{ type: tender, amount: due }] : [],
      slip: canPrint ? "print" : "lines",
    };
    this.keep();
    await this.send();
  }

  async finish(cart) {
    try {
      const paid = await ask("POST", `/v1/sales/${cart.sale_id}/commit`, cart.paying);
      this.carts = this.carts.filter((each) => each !== cart);
      this.keep();
      const said = [say("earns") + ": " + points(paid.earned)];
      if (paid.slip.mode === "lines") said.push(paid.slip.lines.join("\n"));
      tell(say("paid", { sum: money(paid.pay), ident: paid.ident }), ...said);
    } catch (problem) {
      if (!(problem instanceof Refused) || problem.status === 503) {
        setTimeout(() => this.send(), AGAIN_MS); // the same question: it sells once, however often it is asked
        return;
      }
      cart.paying = null;
      this.keep();
      refused(problem);
      await this.sendNow();
    }
  }
}
