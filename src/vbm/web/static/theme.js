// Runs before the first paint, so that a dark screen never flashes white. The choice: "", "light" or "dark".
(() => {
  // the calendar counts its days where the reader is
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  document.cookie = `vbm_zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
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
