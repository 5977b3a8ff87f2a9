// Owns the one dialog: every change asks here first, says what it will do, says that it is under way, and shows here why it
// failed. Invariant: whoever stops waiting for an answer is told that the order may have been taken.

import { $, el, setText, tell } from "./dom.js";
import { PATIENCE_MS, PERHAPS } from "./api.js";

/** After so many seconds without an answer the dialog says how long it has waited. */
const SOON_S = 2;

let turn = 0;
let clock;

/**
 * Asks before something is done.
 *
 * `title`, `lines` (what will happen), `confirm` (the button's word), `danger` (then Cancel has the focus),
 * `fields` (up to two `{label, value, hint(text), wrong(text), numeric}`: what is wrong with the text, or nothing),
 * `run(texts, {signal, progress})` does it and gives the outcome in words or throws; `progress(text)` says how far it is,
 * `stopped()` gives what is to be said if somebody stopped waiting,
 * `home` gets the focus if the button that asked is gone by then.
 */
export function ask({ title, lines, confirm, danger = false, fields = [], run, stopped, home }) {
  const [dialog, error, inputs] = [$("dialog"), $("dialog-error"), []];
  const opener = document.activeElement;
  // Somebody may close the dialog and open it for something else while an answer is on its way.
  const asked = (turn += 1);
  let order = null;
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...lines.map((line) => el("p", {}, line)));
  $("dialog-confirm").textContent = confirm;
  $("dialog-confirm").classList.toggle("danger", danger);
  error.textContent = "";
  busy(null);
  $("dialog-fields").replaceChildren(...fields.map((field, place) => {
    const [id, about] = [`dialog-input-${place}`, `dialog-hint-${place}`];
    const hint = el("span", { class: "hint", id: about });
    const input = el("input", { id, type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", "aria-describedby": about });
    input.inputMode = field.numeric ? "numeric" : "text";
    input.value = field.value;
    input.addEventListener("input", () => { error.textContent = ""; hint.textContent = field.hint(input.value); });
    hint.textContent = field.hint(input.value);
    inputs.push(input);
    return el("p", { class: "field" }, el("label", { for: id }, field.label), input, hint);
  }));
  const isHere = () => dialog.open && asked === turn;

  $("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    if (order) return;
    const place = fields.findIndex((field, at) => field.wrong?.(inputs[at].value));
    if (place >= 0) {
      // The rule is said once: as the error, no longer as the hint.
      inputs[place].nextElementSibling.textContent = "";
      error.textContent = fields[place].wrong(inputs[place].value);
      return inputs[place].focus();
    }
    error.textContent = "";
    const mine = order = new AbortController();
    wait();
    const progress = (text) => { if (isHere()) busy(text); };
    try {
      const outcome = await run(inputs.map((input) => input.value), { signal: mine.signal, progress });
      if (mine.signal.aborted) return;
      order = null;
      if (isHere()) dialog.close();
      tell(outcome);
    } catch (failure) {
      if (mine.signal.aborted) return;
      order = null;
      if (!isHere()) return tell(failure.message);
      busy(null);
      error.textContent = failure.message;
      (inputs[0] ?? $("dialog-confirm")).focus();
    }
  };
  $("dialog-cancel").onclick = () => dialog.close();
  dialog.onclose = () => {
    // The word that it was closed comes late: by now it may be open for the next question.
    if (dialog.open) return;
    busy(null);
    if (order) {
      order.abort();
      order = null;
      tell(stopped?.() ?? `You stopped waiting for the balancer. ${PERHAPS}`, "warn");
    }
    $("dialog-form").onsubmit = (event) => event.preventDefault();
    if (opener.isConnected && !opener.hidden && opener !== document.body) opener.focus();
    else home?.focus();
  };
  dialog.showModal();
  if (inputs.length > 0) inputs[0].select();
  else $(danger ? "dialog-cancel" : "dialog-confirm").focus();
}

/** Says that the balancer is asked, and for how long it has said nothing. */
function wait() {
  busy("Asking the balancer …");
  const began = performance.now();
  clock = setInterval(() => {
    const seconds = Math.floor((performance.now() - began) / 1000);
    if (seconds >= SOON_S) setText($("dialog-busy"), `Asking the balancer … no answer for ${seconds} s; this page waits ${PATIENCE_MS / 1000} s.`);
  }, 1000);
}

/** Shows that an order is under way, or no longer. */
function busy(text) {
  clearInterval(clock);
  setText($("dialog-busy"), text ?? "");
  $("dialog-confirm").disabled = text !== null;
  setText($("dialog-cancel"), text === null ? "Cancel" : "Stop waiting");
}
