// Runs before the first paint, as a plain script, so that a chosen theme never flashes the other one.
(() => {
  try {
    const chosen = localStorage.getItem("parley.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; the system's preference then stands.
  }
})();
