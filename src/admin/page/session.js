// Owns who is looking: asks for a name and a password when the balancer wants to know, says who it is, and what they may do.
// Invariant: what they may not do is not offered. An element says by `data-needs` which right it needs, and the style sheet
// shows it to those who have it.

import { $, setText, show } from "./dom.js";
import { call } from "./api.js";

/** All rights that something on this page needs. A balancer that has not said what they may do refuses what they may not. */
const RIGHTS = ["read", "send", "operate", "admin", "metrics"];

let rights = new Set(RIGHTS);

/** Whether whoever looks has this right. */
export function may(right) { return rights.has(right); }

/**
 * Waits until the balancer answers this page, and asks who is there if it must. Rejects never: a balancer that does not
 * answer is asked by whoever shows what it says.
 */
export async function known() {
  try {
    showUser(await call("POST", "account", { ask: "whoami" }));
  } catch (failure) {
    if (failure.status !== 401) return;
    await logIn();
  }
}

/** Asks for a name and a password until they are right. */
function logIn() {
  const [dialog, error, button] = [$("login"), $("login-error"), $("login-confirm")];
  return new Promise((resolve) => {
    $("login-form").onsubmit = async (event) => {
      event.preventDefault();
      error.textContent = "";
      button.disabled = true;
      try {
        await call("POST", "session", { user: $("login-user").value, password: $("login-password").value });
        $("login-password").value = "";
        dialog.close();
        showUser(await call("POST", "account", { ask: "whoami" }));
        resolve();
      } catch (failure) {
        error.textContent = failure.message;
        $("login-password").select();
      }
      button.disabled = false;
    };
    // Nothing can be shown without it.
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
    $("login-user").focus();
  });
}

function showUser(answer) {
  if (Array.isArray(answer?.rights)) rights = new Set(answer.rights);
  for (const right of RIGHTS) document.body.classList.toggle(`may-not-${right}`, !may(right));
  const user = answer?.user ?? null;
  show($("user"), user !== null);
  if (user === null) return;
  setText($("user").querySelector("span"), `${user}: log out`);
  $("user").onclick = async () => {
    await call("DELETE", "session").catch(() => null);
    location.reload();
  };
}

/** Asks anew who is there if the balancer no longer knows this page. */
export async function stillKnown() {
  try {
    showUser(await call("POST", "account", { ask: "whoami" }));
  } catch (failure) {
    if (failure.status === 401 && !$("login").open) location.reload();
  }
}
