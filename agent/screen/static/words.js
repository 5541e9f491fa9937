// The page's language: sentences from the till, amounts as people write them.

let sentences = {};
export let language = "ru";

/** Load a language's sentences. */
export async function speak(wanted) {
  const answer = await fetch(`/screen/words/${wanted}`);
  sentences = await answer.json();
  language = wanted;
  document.documentElement.lang = wanted;
  document.title = say("title");
}

/** A sentence with its places filled: say("left", {left: 3}). */
export function say(key, places = {}) {
  const text = sentences[key] ?? key;
  return text.replace(/{(\w+)}/g, (whole, name) => places[name] ?? whole);
}

/** A text that the till said in both languages. */
export function said(both) {
  return both ? both[language] ?? both.ru : "";
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, language === "ru" ? "\u00a0" : ",");
}

function decimal(amount, base, digits) {
  const sign = amount < 0 ? "−" : "";
  const size = Math.abs(amount);
  const part = String(size % base).padStart(digits, "0");
  const point = language === "ru" ? "," : ".";
  return { sign, whole: grouped(String(Math.floor(size / base))), part, point };
}

/** 123450 -> "1 234,50 ₽". */
export function money(minor) {
  const { sign, whole, part, point } = decimal(minor, 100, 2);
  return `${sign}${whole}${point}${part}\u00a0${say("currency")}`;
}

/** Hundredths of points; whole ones without decimals. */
export function points(hundredths) {
  const { sign, whole, part, point } = decimal(hundredths, 100, 2);
  return part === "00" ? sign + whole : `${sign}${whole}${point}${part}`;
}

/** Thousandths of a piece or kilogram. */
export function quantity(thousandths) {
  const { whole, part, point } = decimal(thousandths, 1000, 3);
  return part === "000" ? whole : `${whole}${point}${part.replace(/0+$/, "")}`;
}

/** "12,5" -> 1250 (digits = 2) or 12500 (3); null where it is no such number. */
export function parse(text, digits) {
  const found = /^\s*(\d{1,9})(?:[.,](\d+))?\s*$/.exec(text);
  if (!found || (found[2] ?? "").length > digits) return null;
  return Number(found[1]) * 10 ** digits + Number((found[2] ?? "").padEnd(digits, "0") || 0);
}
