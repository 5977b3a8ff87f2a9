// Owns who is looking: asks for a name and a password when the balancer wants to know, and says who it is.

import { $, setText, show } from "./dom.js";
import { call } from "./api.js";

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
    await call("POST", "account", { ask: "whoami" });
  } catch (failure) {
    if (failure.status === 401 && !$("login").open) location.reload();
  }
}
