// Goods come back: find the receipt, say what comes back, and tell what to pay out.

import { ask, newId, Refused } from "./api.js";
import { askFor, askQuantities, choose, refused, tell } from "./dialogs.js";
import { money, points, quantity, say } from "./words.js";

const IDENT = /^\S+-\d+-\d+-[0-9a-f]{6}$/i;

/** What was keyed or scanned is the last line of a slip, a card, or a barcode of goods. */
async function find(text) {
  if (IDENT.test(text)) return ask("POST", "/v1/returns/find", { ref: text });
  const bySale = await ask("POST", "/v1/returns/find", { barcode: text });
  if (bySale.sales.length > 0) return bySale;
  try {
    return await ask("POST", "/v1/returns/find", { card: text });
  } catch (problem) {
    if (problem instanceof Refused && problem.status < 500) return { sales: [] };
    throw problem;
  }
}

export async function takeBack(canPrint) {
  const text = await askFor(say("return_title"), { hint: say("return_how") });
  if (text === null) return;
  let sales;
  try {
    ({ sales } = await find(text));
  } catch (problem) {
    // The receipt is another shop's and cannot be had now: the goods are here all the same.
    if (problem instanceof Refused && problem.error.code === "receipt_not_had") return unseen(text, canPrint);
    throw problem;
  }
  if (sales.length === 0) return tell(say("return_none"));
  let sale = sales[0];
  if (sales.length > 1) {
    const picked = await choose(say("return_which"), sales.map((each, n) =>
      [n, `${each.at.slice(0, 16).replace("T", " ")}  ${each.lines.map((line) => line.name).join(", ").slice(0, 40)}`,
        money(each.pay)]));
    if (picked === null) return;
    sale = sales[picked];
  }
  const lines = await askQuantities(say("return_what"), sale.lines.filter((line) => line.left > 0), quantity);
  if (lines === null) return;
  await finish({ return_id: newId("r"), lines, ref: sale.ref, slip: canPrint ? "print" : "lines" });
}

/** By the slip's last line alone: which line of the receipt, and how much; the office settles the points. */
async function unseen(ref, canPrint) {
  const line = await askFor(say("return_line"), { hint: say("return_unseen") });
  if (line === null) return;
  const quantity = await askFor(say("quantity"), { digits: 3, value: "1" });
  if (!quantity) return;
  await finish({ return_id: newId("r"), lines: { [line]: quantity }, ref, slip: canPrint ? "print" : "lines" });
}

async function finish(body) {
  try {
    const done = await repeated(body);
    await (done.pending ? tell(say("return_pending"))
      : tell(say("return_done", { sum: money(done.money), points: points(done.points_back) })));
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    await refused(problem);
  }
}

/** The same question until it is answered: it never takes goods back twice. */
async function repeated(body) {
  for (let again = 0; ; again += 1) {
    try {
      return await ask("POST", "/v1/returns", body);
    } catch (problem) {
      if (problem instanceof Refused && problem.status !== 503) throw problem;
      if (again >= 5) throw problem;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
