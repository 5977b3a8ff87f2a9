// Owns the one dialog: every change asks here first, says what it will do, and shows here why it failed.

import { $, el, tell } from "./dom.js";

let turn = 0;

/**
 * Asks before something is done.
 *
 * `title`, `lines` (what will happen), `confirm` (the button's word), `danger` (then Cancel has the focus),
 * `field` (`{label, value, hint(text)}`), `run(text)` does it and gives the outcome in words or throws,
 * `home` gets the focus if the button that asked is gone by then.
 */
export function ask({ title, lines, confirm, danger = false, field, run, home }) {
  const [dialog, input, error] = [$("dialog"), $("dialog-input"), $("dialog-error")];
  const opener = document.activeElement;
  // Somebody may close the dialog and open it for something else while an answer is on its way.
  const asked = (turn += 1);
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...lines.map((line) => el("p", {}, line)));
  $("dialog-confirm").textContent = confirm;
  $("dialog-confirm").classList.toggle("danger", danger);
  $("dialog-field").hidden = !field;
  error.textContent = "";
  busy(false);
  if (field) {
    document.querySelector("#dialog-field label").textContent = field.label;
    input.value = field.value;
    input.oninput = () => { $("dialog-hint").textContent = field.hint(input.value); };
    input.oninput();
  }
  $("dialog-cancel").onclick = () => dialog.close();
  $("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = "";
    busy(true);
    const isHere = () => dialog.open && asked === turn;
    try {
      const outcome = await run(input.value);
      if (isHere()) dialog.close();
      tell(outcome);
    } catch (failure) {
      if (!isHere()) return tell(failure.message);
      error.textContent = failure.message;
      busy(false);
      (field ? input : $("dialog-confirm")).focus();
    }
  };
  dialog.onclose = () => {
    // The word that it was closed comes late: by now it may be open for the next question.
    if (dialog.open) return;
    $("dialog-form").onsubmit = (event) => event.preventDefault();
    if (opener.isConnected && !opener.hidden && opener !== document.body) opener.focus();
    else home?.focus();
  };
  dialog.showModal();
  if (field) input.select();
  else $(danger ? "dialog-cancel" : "dialog-confirm").focus();
}

function busy(whether) { $("dialog-confirm").disabled = whether; }
