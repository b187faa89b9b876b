// Runs before the first paint, so that a dark screen never flashes white. The choice: "", "light" or "dark".
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const choice = () => {
    try { return localStorage.getItem("theme") || ""; } catch { return ""; }
  };
  const apply = () => {
    document.documentElement.dataset.bsTheme = choice() || (dark.matches ? "dark" : "light");
  };
  apply();
  dark.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  document.addEventListener("theme", apply);
})();
