// Owns the choice between dark and light: as the system says, until somebody chooses. A classic script in the head, so
// that the page never shows the wrong one first.
(function () {
  const KEY = "bilico-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem(KEY); } catch { /* Storage may be forbidden: then the choice lasts as long as the page. */ }

  function isDark() { return chosen ? chosen === "dark" : system.matches; }
  function show() {
    root.dataset.theme = isDark() ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) button.lastElementChild.textContent = isDark() ? "Light" : "Dark";
  }

  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = isDark() ? "light" : "dark";
      try { localStorage.setItem(KEY, chosen); } catch { /* As above. */ }
      show();
    });
  });
})();
